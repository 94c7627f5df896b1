"""A change to what decides, written in the same YAML as production, and laid over a project.

It holds blocks of the project file and nothing else: what is tried on history is what can go
live.  Nothing is decided here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from fraud_detection.answering import PolicySettings, RuleSettings
from fraud_detection.config import Project
from fraud_detection.errors import ConfigError
from fraud_detection.project_file import contradictions
from fraud_detection.strict import Count, Money, Settings, Share, decode, read_yaml

ADVICE = "a change is a YAML file with blocks of the project file, see docs/backtest.md"


class PolicyChange(Settings, frozen=True):
    """The keys of `policy` that are to be other; the rest stays."""

    name: str | UnsetType = UNSET
    review_at: Share | UnsetType | None = UNSET
    decline_at: Share | UnsetType | None = UNSET
    review_capacity_per_day: Money | UnsetType | None = UNSET
    reasons: Count | UnsetType = UNSET


class Change(Settings, frozen=True):
    """What is to be other, who wants it, and why.

    bundle: another model, as a path from the file of the change.
    rules: one with the name of a standing rule takes its place, others come behind.
    without_rules: names of rules that are taken away.
    """

    name: str
    owner: str = ""
    reason: str = ""
    bundle: str | None = None
    policy: PolicyChange = PolicyChange()
    rules: tuple[RuleSettings, ...] = ()
    without_rules: tuple[str, ...] = ()


def load_change(path: Path) -> Change:
    """Read the file of a change; raise ConfigError with the path of what is wrong.

    The path of a bundle is returned as seen from here.
    """
    change = decode(read_yaml(path, ADVICE), Change, str(path))
    if change.bundle is None:
        return change
    return msgspec.structs.replace(change, bundle=str(path.parent / change.bundle))


def apply_change(project: Project, change: Change) -> Project:
    """Return the project with the change laid over it; raise ConfigError when they do not fit.

    >>> from fraud_detection.config import Schema, TimeSource
    >>> project = Project(project="shop", schema=Schema(event_time=TimeSource(field="t")))
    >>> stricter = PolicyChange(review_at=0.2, decline_at=0.6)
    >>> changed = apply_change(project, Change(name="stricter", policy=stricter))
    >>> changed.policy.review_at, changed.policy.name, apply_change(project, Change(name="none")) == project
    (0.2, 'by-money', True)
    >>> apply_change(project, Change(name="milder", without_rules=("burst",)))
    Traceback (most recent call last):
    ...
    fraud_detection.errors.ConfigError: milder: there is no `burst` to take away (there are: none) - at \
`$.without_rules`
    """
    changed = msgspec.structs.replace(
        project,
        policy=_policy(project.policy, change.policy),
        rules=_merged(project.rules, change.rules, change.without_rules, _Place(change.name, "rules")),
    )
    for problem, place in contradictions(changed):
        raise ConfigError(f"{change.name}: {problem} - at `{place}`")
    return changed


def described(project: Project, change: Change) -> Iterator[str]:
    """Yield what a change alters in a project, a sentence each.

    >>> from fraud_detection.config import Schema, TimeSource
    >>> project = Project(project="shop", schema=Schema(event_time=TimeSource(field="t")))
    >>> burst = RuleSettings(name="burst", when="card_count_1h >= 10", action="review")
    >>> list(described(project, Change(name="c", policy=PolicyChange(review_at=0.2), rules=(burst,))))
    ['review_at: 0.2 in place of what training chose', 'new rule burst: review when card_count_1h >= 10']
    """
    for key, value in _given(change.policy).items():
        yield f"{key}: {_said(key, value)} in place of {_said(key, getattr(project.policy, key))}"
    there = {rule.name for rule in project.rules}
    for rule in change.rules:
        kind = "rule" if rule.name in there else "new rule"
        yield f"{kind} {rule.name}: {rule.action} when {' '.join(rule.when.split())}"
    for name in change.without_rules:
        yield f"without the rule {name}"
    if change.bundle is not None:
        yield f"the bundle at {change.bundle}"


def _said(key: str, value: object) -> str:
    if value is None:
        return "no limit" if key == "review_capacity_per_day" else "what training chose"
    return str(value)


class _Named(Protocol):
    @property
    def name(self) -> str: ...


T = TypeVar("T", bound=_Named)


class _Place(msgspec.Struct, frozen=True):
    """Which block of which change is looked at."""

    change: str
    block: str

    def error(self, words: str, key: str) -> ConfigError:
        return ConfigError(f"{self.change}: {words} - at `$.{key}`")


def _policy(standing: PolicySettings, change: PolicyChange) -> PolicySettings:
    return msgspec.structs.replace(standing, **_given(change))


def _given(change: PolicyChange) -> dict[str, object]:
    return {name: value for name, value in msgspec.structs.asdict(change).items() if value is not UNSET}


def _merged(
    standing: tuple[T, ...], given: Sequence[T], without: Sequence[str], place: _Place
) -> tuple[T, ...]:
    """Lay named settings over others: equal names in place, new ones behind, unwanted ones away."""
    for problem in _problems([one.name for one in standing], [one.name for one in given], without, place):
        raise problem
    new = {one.name: one for one in given}
    kept = [new.pop(one.name, one) for one in standing if one.name not in without]
    return (*kept, *new.values())


def _problems(
    standing: Sequence[str], given: Sequence[str], without: Sequence[str], place: _Place
) -> Iterator[ConfigError]:
    for name in without:
        if name not in standing:
            there = ", ".join(standing) or "none"
            words = f"there is no `{name}` to take away (there are: {there})"
            yield place.error(words, f"without_{place.block}")
        if name in given:
            yield place.error(f"`{name}` is given and taken away at once", f"without_{place.block}")
    for position, name in enumerate(given):
        if name in given[:position]:
            yield place.error(f"the name `{name}` stands twice", f"{place.block}[{position}].name")
