"""Arrival schedule of payments and labels: most on time, some late, some duplicated, some malformed.

Simulated time only; `stream` turns indices in this order into times of sending.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from fraud_detection.simulator.columns import Block, Table, joined
from fraud_detection.simulator.settings import HOUR, MINUTE, SECOND, Codes, Ints

_LATE = (2 * MINUTE, 6 * HOUR)
_DUPLICATE_DELAY = (SECOND, 30 * MINUTE)


class ArrivalKind(enum.IntEnum):
    """How an event arrives: on time, late, duplicated or malformed; or it is a label."""

    ON_TIME = 0
    LATE = 1
    DUPLICATE = 2
    MALFORMED = 3
    LABEL = 4


@dataclass(frozen=True, slots=True)
class Schedule(Table):
    """Payments in the order of arrival.  at: simulated ms.  arrival_kind: an `ArrivalKind`."""

    at: Ints
    arrival_kind: Ints
    block: Block

    @classmethod
    def none(cls) -> Schedule:
        """Return an empty schedule."""
        empty = np.empty(0, dtype=np.int64)
        return cls(empty, empty, Block.none())

    def in_order(self) -> Schedule:
        """Return the schedule sorted by time."""
        return self.pick(np.argsort(self.at, kind="stable"))

    def until(self, moment: int) -> tuple[Schedule, Schedule]:
        """Return those before a moment, and the others."""
        index = int(np.searchsorted(self.at, moment))
        return self.pick(slice(index)), self.pick(slice(index, None))


@dataclass(frozen=True, slots=True)
class Faults:
    """Which share of payments arrives late, comes as a duplicate, and comes a second time malformed."""

    late: float
    duplicates: float
    broken: float


def schedule_of(block: Block, rng: np.random.Generator, faults: Faults) -> Schedule:
    """Return when the payments of a day arrive; late ones and repetitions may be of the next day."""
    count, draws = len(block), rng.random((3, len(block)))
    late = draws[0] < faults.late
    at = block.payments.time + np.where(late, rng.integers(*_LATE, count), 0)
    first = Schedule(at, np.where(late, ArrivalKind.LATE, ArrivalKind.ON_TIME), block)
    second, broken = first.pick(draws[1] < faults.duplicates), first.pick(draws[2] < faults.broken)
    duplicates = replace(
        second,
        at=second.at + rng.integers(*_DUPLICATE_DELAY, len(second)),
        arrival_kind=np.full_like(second.arrival_kind, ArrivalKind.DUPLICATE),
    )
    return joined(
        [
            first,
            duplicates,
            replace(broken, arrival_kind=np.full_like(broken.arrival_kind, ArrivalKind.MALFORMED)),
        ]
    )


@dataclass(frozen=True, slots=True)
class KnownLabels(Table):
    """Labels: of which payment of which card, what it was, and when that becomes known."""

    known_at: Ints
    code: Codes
    is_fraud: Ints
    card: Ints
    issue: Ints


class Labels:
    """Labels that are not known yet."""

    def __init__(self, wanted: Literal["all", "fraud", "none"]) -> None:
        """Take which labels are sent at all."""
        empty = np.empty(0, dtype=np.int64)
        self._wanted = wanted
        self._waiting = KnownLabels(empty, empty.astype(np.uint64), empty, empty, empty)

    def add(self, block: Block, begins: int = 0) -> None:
        """Schedule the labels of a block; those known before `begins` are in the history already."""
        wanted = {"all": block.is_fraud >= 0, "fraud": block.is_fraud > 0, "none": block.is_fraud < 0}
        chosen = wanted[self._wanted] & (block.known_at >= begins)
        card, issue = block.payments.card[chosen], block.payments.issue[chosen]
        new = KnownLabels(block.known_at[chosen], block.code[chosen], block.is_fraud[chosen], card, issue)
        self._waiting = joined([self._waiting, new])

    def until(self, moment: int) -> KnownLabels:
        """Return, and forget, the labels that become known before a moment, in order."""
        ready = self._waiting.known_at < moment
        known = self._waiting.pick(ready)
        self._waiting = self._waiting.pick(~ready)
        return known.pick(np.argsort(known.known_at, kind="stable"))
