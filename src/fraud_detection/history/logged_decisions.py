"""What a live system has decided is the history of tomorrow: payments, labels, weights of state files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from fraud_detection.adapters.sqlite.decided_payments import PastDecision, StatePast
from fraud_detection.core.errors import ConfigError
from fraud_detection.core.events import Action

DECIMALS = 2


class Lot(msgspec.Struct, frozen=True):
    """By which lot payments were let through when a configuration answered.

    maximum: in minor units.  final: names of lists that deny; what stands on them is never let through.
    """

    maximum: int
    final: frozenset[str]

    def could_choose(self, amount: int | None, codes: Sequence[str]) -> bool:
        """Tell whether a payment of that amount, answered for these reasons, could have been let through."""
        return amount is not None and amount <= self.maximum and self.final.isdisjoint(codes)


def weight_of(decision: PastDecision, amount: int | None, lot: Lot | None) -> float:
    """Return for how many payments a decided one stands in what is learned and measured.

    Each payment whose outcome could be seen stands for 1 / the probability that it was seen.  One that was
    stopped where a lot could have let it through stands for none: those that were let through stand for it,
    and what is said of it comes from people who saw the score.  Where no lot could, there is nobody else to
    stand for it, and it counts by what label it has.

    >>> stopped = PastDecision("t1", 0, 1, 0.7, "[]", "b", b"", b"", "s", None, None)
    >>> lot = Lot(maximum=5_000, final=frozenset())
    >>> weight_of(stopped, 100, lot), weight_of(stopped, 9_999, lot), weight_of(stopped, 100, None)
    (0.0, 1.0, 1.0)
    >>> through = msgspec.structs.replace(stopped, action=0, instead_of=1, share=0.01)
    >>> weight_of(through, 100, lot)
    100.0
    """
    if decision.share is not None:
        return 1.0 / decision.share
    if decision.action == Action.APPROVE or lot is None:
        return 1.0
    return 0.0 if lot.could_choose(amount, decision.codes) else 1.0


def lot_of(content: bytes, name: str) -> Lot | None:
    """Return the control group of a configuration, None without one; raise ConfigError if unreadable."""
    try:
        project = msgspec.json.decode(content, type=_Configuration).project
    except msgspec.DecodeError as error:
        raise ConfigError(f"configuration {name}: cannot be read: {error}") from None
    if project.let_through is None:
        return None
    decimals = DECIMALS if project.schema.amount is None else project.schema.amount.decimals
    final = frozenset(one.name for one in project.lists if one.kind == "deny")
    return Lot(round(project.let_through.maximum_amount * 10**decimals), final)


def state_files(named: Sequence[Path]) -> list[Path]:
    """Return the state files that are meant: those named, or those of the workers under that name.

    Raises ConfigError for a name that has neither.
    """
    found: list[Path] = []
    for path in named:
        shards = sorted(path.parent.glob(f"{path.stem}.worker-*-of-*{path.suffix}"))
        if not path.exists() and not shards:
            raise ConfigError(f"{path}: no such state file; name one of `fraud run` or `fraud serve`")
        found += [path] if path.exists() else shards
    return list(dict.fromkeys(found))


class Decided:
    """One state file, with the lots of the configurations that answered."""

    def __init__(self, path: Path) -> None:
        """Open the file; raise ConfigError when it is none of this version."""
        self.past = StatePast(path)
        self._lots = {name: lot_of(content, name) for name, content in self.past.configurations.items()}

    def decisions(self) -> Iterator[tuple[PastDecision, Lot | None]]:
        """Yield each decision with the lot that was drawn for it; close the file after the last."""
        for decision in self.past.decisions():
            yield decision, self._lots.get(decision.config_id)
        self.past.close()


class _Let(msgspec.Struct, frozen=True):
    maximum_amount: float


class _Amount(msgspec.Struct, frozen=True):
    decimals: int = DECIMALS


class _Schema(msgspec.Struct, frozen=True):
    amount: _Amount | None = None


class _List(msgspec.Struct, frozen=True):
    name: str
    kind: str


class _Project(msgspec.Struct, frozen=True):
    """Of a project file of any version what tells who could be let through."""

    schema: _Schema
    let_through: _Let | None = None
    lists: tuple[_List, ...] = ()


class _Configuration(msgspec.Struct, frozen=True):
    project: _Project
