"""Logged decisions of state files as history: payments, labels and sampling weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from fraud_detection.adapters.sqlite.logged_decisions import LoggedDecision, LoggedDecisionReader
from fraud_detection.core.errors import ConfigError
from fraud_detection.core.events import Action

DECIMALS = 2


class ControlGroupEligibility(msgspec.Struct, frozen=True):
    """Which payments a configuration could assign to its control group.

    max_amount: in minor units.  deny_lists: names of lists that deny; a payment on one is never assigned.
    """

    max_amount: int
    deny_lists: frozenset[str]

    def is_eligible(self, amount: int | None, codes: Sequence[str]) -> bool:
        """Return whether a payment of that amount, decided for these reasons, could be assigned."""
        return amount is not None and amount <= self.max_amount and self.deny_lists.isdisjoint(codes)


def weight_of(
    decision: LoggedDecision, amount: int | None, eligibility: ControlGroupEligibility | None
) -> float:
    """Return the sampling weight of a logged decision in training and evaluation.

    A payment of the control group has 1 / sampling rate.  One that was stopped and was eligible for the
    control
    group has 0: the control group represents it, and its own label comes from people who saw the score.  Any
    other has 1.

    >>> stopped = LoggedDecision("t1", 0, 1, 0.7, "[]", "b", b"", b"", "s", None, None)
    >>> eligibility = ControlGroupEligibility(max_amount=5_000, deny_lists=frozenset())
    >>> weight_of(stopped, 100, eligibility), weight_of(stopped, 9_999, eligibility)
    (0.0, 1.0)
    >>> weight_of(stopped, 100, None)
    1.0
    >>> assigned = msgspec.structs.replace(stopped, action=0, counterfactual_action=1, sampling_rate=0.01)
    >>> weight_of(assigned, 100, eligibility)
    100.0
    """
    if decision.sampling_rate is not None:
        return 1.0 / decision.sampling_rate
    if decision.action == Action.APPROVE or eligibility is None:
        return 1.0
    return 0.0 if eligibility.is_eligible(amount, decision.codes) else 1.0


def eligibility_of(content: bytes, name: str) -> ControlGroupEligibility | None:
    """Return the control group of a configuration, None without one; raise ConfigError if unreadable."""
    try:
        project = msgspec.json.decode(content, type=_Configuration).project
    except msgspec.DecodeError as error:
        raise ConfigError(f"configuration {name}: cannot be read: {error}") from None
    if project.control_group is None:
        return None
    decimals = DECIMALS if project.schema.amount is None else project.schema.amount.decimals
    deny_lists = frozenset(value_list.name for value_list in project.lists if value_list.kind == "deny")
    return ControlGroupEligibility(round(project.control_group.max_amount * 10**decimals), deny_lists)


def state_files(named: Sequence[Path]) -> list[Path]:
    """Return the named state files, or those of the workers under that name.

    Raises ConfigError for a name that has neither.
    """
    files: list[Path] = []
    for path in named:
        shards = sorted(path.parent.glob(f"{path.stem}.worker-*-of-*{path.suffix}"))
        if not path.exists() and not shards:
            raise ConfigError(f"{path}: no such state file; name one of `fraud run` or `fraud serve`")
        files += [path] if path.exists() else shards
    return list(dict.fromkeys(files))


class DecisionHistory:
    """Logged decisions of one state file, each with the control group of its configuration."""

    def __init__(self, path: Path) -> None:
        """Open the file; raise ConfigError when it is none of this version."""
        self.reader = LoggedDecisionReader(path)
        self._eligibility = {
            name: eligibility_of(content, name) for name, content in self.reader.configurations.items()
        }

    def decisions(self) -> Iterator[tuple[LoggedDecision, ControlGroupEligibility | None]]:
        """Yield each decision with the eligibility for its control group; close the file after the last."""
        for decision in self.reader.decisions():
            yield decision, self._eligibility.get(decision.config_id)
        self.reader.close()


class _ControlGroup(msgspec.Struct, frozen=True):
    max_amount: float


class _Amount(msgspec.Struct, frozen=True):
    decimals: int = DECIMALS


class _Schema(msgspec.Struct, frozen=True):
    amount: _Amount | None = None


class _List(msgspec.Struct, frozen=True):
    name: str
    kind: str


class _Project(msgspec.Struct, frozen=True):
    """Of a project file of any version the parts that say who could be assigned to the control group."""

    schema: _Schema
    control_group: _ControlGroup | None = None
    lists: tuple[_List, ...] = ()


class _Configuration(msgspec.Struct, frozen=True):
    project: _Project
