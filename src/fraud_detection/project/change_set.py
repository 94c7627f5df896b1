"""A change to what decides, written in the YAML of the project file and merged into it.

It holds blocks of the project file and nothing else, so that a change that was backtested can be released
unchanged.  Nothing is decided here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal, TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from fraud_detection.core.decision_settings import (
    ControlGroupSettings,
    DeclineCapSettings,
    ListEntry,
    ListSettings,
    RuleSettings,
)
from fraud_detection.core.decoding import Count, Money, Name, Settings, Share, decode, to_plain
from fraud_detection.core.errors import ConfigError
from fraud_detection.core.project_schema import Project
from fraud_detection.project.loader import contradictions
from fraud_detection.project.yaml_file import read_yaml

ADVICE = "a change is a YAML file with blocks of the project file, see docs/backtest.md"


class PolicyChange(Settings, frozen=True):
    """The keys of `policy` that are to be other; the rest stays."""

    name: str | UnsetType = UNSET
    review_at: Share | UnsetType | None = UNSET
    decline_at: Share | UnsetType | None = UNSET
    review_capacity_per_day: Money | UnsetType | None = UNSET
    reasons: Count | UnsetType = UNSET


class Change(Settings, frozen=True):
    """What is to change, who wants it, and why.

    bundle: another model, as a path from the file of the change.
    rules, lists: one with the name of a current one takes its place, others come behind.
    without_rules, without_lists: names of those that are taken away.
    entries, without_entries: list -> entries that come onto it, and values that go from it.
    decline_cap, control_group: the whole block; null takes it away.
    """

    name: str
    owner: str = ""
    reason: str = ""
    bundle: str | None = None
    policy: PolicyChange = PolicyChange()
    rules: tuple[RuleSettings, ...] = ()
    without_rules: tuple[str, ...] = ()
    lists: tuple[ListSettings, ...] = ()
    without_lists: tuple[str, ...] = ()
    entries: dict[Name, tuple[ListEntry, ...]] = msgspec.field(default_factory=dict)
    without_entries: dict[Name, tuple[str, ...]] = msgspec.field(default_factory=dict)
    decline_cap: DeclineCapSettings | UnsetType | None = UNSET
    control_group: ControlGroupSettings | UnsetType | None = UNSET


def load_change(path: Path) -> Change:
    """Read the file of a change; raise ConfigError with the path of what is wrong.

    The path of a bundle is returned as seen from here.
    """
    change = decode(read_yaml(path, ADVICE), Change, str(path))
    if change.bundle is None:
        return change
    return msgspec.structs.replace(change, bundle=str(path.parent / change.bundle))


def apply_change(project: Project, change: Change) -> Project:
    """Return the project with the change applied; raise ConfigError when they do not fit.

    >>> from fraud_detection.core.project_schema import Schema, TimeSource
    >>> project = Project(project="shop", schema=Schema(event_time=TimeSource(field="t")))
    >>> stricter = PolicyChange(review_at=0.2, decline_at=0.6)
    >>> changed = apply_change(project, Change(name="stricter", policy=stricter))
    >>> changed.policy.review_at, changed.policy.name, apply_change(project, Change(name="none")) == project
    (0.2, 'by-money', True)
    >>> apply_change(project, Change(name="milder", without_rules=("burst",)))
    Traceback (most recent call last):
    ...
    fraud_detection.core.errors.ConfigError: there is no `burst` to take away (there are: none) - at \
`$.without_rules`
    """
    rules = _merged(project.rules, change.rules, change.without_rules, _Block("rules", "name"))
    lists = _merged(project.lists, change.lists, change.without_lists, _Block("lists", "name"))
    changed = msgspec.structs.replace(
        project,
        policy=_replaced(project.policy, msgspec.structs.asdict(change.policy)),
        rules=rules,
        lists=_with_entries(lists, change),
    )
    changed = _replaced(changed, {"decline_cap": change.decline_cap, "control_group": change.control_group})
    for problem, json_path in contradictions(changed):
        raise ConfigError(f"{problem} - at `{json_path}`")
    return changed


def described(project: Project, change: Change) -> Iterator[str]:
    """Yield what a change alters in a project, a sentence each.

    >>> from fraud_detection.core.project_schema import Schema, TimeSource
    >>> project = Project(project="shop", schema=Schema(event_time=TimeSource(field="t")))
    >>> burst = RuleSettings(name="burst", when="card_count_1h >= 10", action="review")
    >>> list(described(project, Change(name="c", policy=PolicyChange(review_at=0.2), rules=(burst,))))
    ['review_at: 0.2 in place of what training chose', 'new rule burst: review when card_count_1h >= 10']
    """
    for key, value in _given(msgspec.structs.asdict(change.policy)).items():
        yield f"{key}: {_as_text(key, value)} in place of {_as_text(key, getattr(project.policy, key))}"
    yield from _described_names(project, change)
    for key, block in _given(
        {"decline_cap": change.decline_cap, "control_group": change.control_group}
    ).items():
        message = ", ".join(f"{name} {value}" for name, value in to_plain(block).items()) if block else "none"
        yield f"{key}: {message}"
    if change.bundle is not None:
        yield f"the bundle at {change.bundle}"


def _described_names(project: Project, change: Change) -> Iterator[str]:
    rules, lists = ({settings.name for settings in block} for block in (project.rules, project.lists))
    for rule in change.rules:
        kind = "rule" if rule.name in rules else "new rule"
        yield f"{kind} {rule.name}: {rule.action} when {' '.join(rule.when.split())}"
    for settings in change.lists:
        kind = "list" if settings.name in lists else "new list"
        yield f"{kind} {settings.name}: {settings.kind} {len(settings.entries):,} values of {settings.of}"
    for name, entries in change.entries.items():
        yield f"onto the list {name}: {', '.join(entry.value for entry in entries)}"
    for name, values in change.without_entries.items():
        yield f"off the list {name}: {', '.join(values)}"
    for name in change.without_rules:
        yield f"without the rule {name}"
    for name in change.without_lists:
        yield f"without the list {name}"


def _as_text(key: str, value: object) -> str:
    if value is None:
        return "no limit" if key == "review_capacity_per_day" else "what training chose"
    return str(value)


T = TypeVar("T")
S = TypeVar("S", bound=msgspec.Struct)


class _Block(msgspec.Struct, frozen=True):
    """A block of named settings: its path, and the key of each setting."""

    path: str
    key: Literal["name", "value"]

    def keys(self, settings: Sequence[object]) -> list[str]:
        return [str(getattr(setting, self.key)) for setting in settings]


def _replaced(current: S, new: Mapping[str, object]) -> S:
    return msgspec.structs.replace(current, **_given(new))


def _given(fields: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in fields.items() if value is not UNSET}


def _with_entries(lists: Sequence[ListSettings], change: Change) -> tuple[ListSettings, ...]:
    """Put entries onto lists and take others off."""
    names = {value_list.name for value_list in lists}
    for block, wanted in (("entries", change.entries), ("without_entries", change.without_entries)):
        for name in wanted:
            if name not in names:
                there = ", ".join(sorted(names)) or "none"
                raise ConfigError(f"there is no list `{name}` (there are: {there}) - at `$.{block}.{name}`")
    return tuple(_with_own_entries(value_list, change) for value_list in lists)


def _with_own_entries(value_list: ListSettings, change: Change) -> ListSettings:
    block = _Block(f"entries.{value_list.name}", "value")
    new, without = change.entries.get(value_list.name, ()), change.without_entries.get(value_list.name, ())
    return msgspec.structs.replace(value_list, entries=_merged(value_list.entries, new, without, block))


def _merged(
    current: tuple[T, ...], new_settings: Sequence[T], without: Sequence[str], block: _Block
) -> tuple[T, ...]:
    """Lay settings over others: equal keys in place, new ones behind, unwanted ones away."""
    there, own = block.keys(current), block.keys(new_settings)
    for problem in _problems(there, own, without, block.path):
        raise ConfigError(problem)
    new = dict(zip(own, new_settings, strict=True))
    merged = [
        new.pop(key, setting) for key, setting in zip(there, current, strict=True) if key not in without
    ]
    return (*merged, *new.values())


def _problems(current: Sequence[str], new: Sequence[str], without: Sequence[str], path: str) -> Iterator[str]:
    for key in without:
        if key not in current:
            there = ", ".join(current) or "none"
            yield f"there is no `{key}` to take away (there are: {there}) - at `$.without_{path}`"
        if key in new:
            yield f"`{key}` is given and taken away at once - at `$.without_{path}`"
    for position, key in enumerate(new):
        if key in new[:position]:
            yield f"`{key}` appears twice - at `$.{path}[{position}]`"
