"""The request door: payments that wait for their answer, decided together with whoever else waits.

While one batch is decided, the next requests arrive; they become the next batch.  So a payment alone is
decided at once, and many share the cost of a commit.  A payment is answered only after its commit: a
process that is killed has lost no answer that it gave.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Sequence

import msgspec

from fraud_detection.adapters.event_sources import Batch
from fraud_detection.adapters.sqlite_outputs import told_of
from fraud_detection.errors import RetryError
from fraud_detection.events import Decision, Label, Quarantined
from fraud_detection.metrics import LatencyHistogram
from fraud_detection.pipeline import Decided, Learned, Outcome, Repeated
from fraud_detection.run.embedded import EmbeddedDoor

LOG = logging.getLogger(__name__)

SOURCE = "requests"
MOST_WAITING = 2_000
MOST_A_BATCH = 256
REMEMBERED = 50_000


class FullError(RetryError):
    """Too many events wait already: ask again in a moment."""


class Told(msgspec.Struct, frozen=True):
    """A decision as it is told: with the event's time in ms, and whether it was made before."""

    decision: Decision
    event_time: int
    repeated: bool = False


Answer = Told | Label | Quarantined | Repeated
"""Repeated is a payment of history, which was never decided here, or a label that tells nothing new."""


class RequestDoor:
    """Takes events one by one from an event loop, and answers each when its batch is committed.

    most_waiting: events that may wait; one more is refused at once, because it would wait too long.
    waits: from being taken to being answered.
    """

    def __init__(self, door: EmbeddedDoor, most_waiting: int = MOST_WAITING) -> None:
        """Take the engine with its state."""
        self.door = door
        self.most_waiting = most_waiting
        self.refused = 0
        self.waits = LatencyHistogram()
        self._waiting: list[tuple[bytes, asyncio.Future[Answer], float]] = []
        self._recent: OrderedDict[str, Told] = OrderedDict()
        self._due = False

    @property
    def waiting(self) -> int:
        """Return how many events wait."""
        return len(self._waiting)

    def submit(self, events: Sequence[bytes]) -> list[asyncio.Future[Answer]]:
        """Take events, all or none; raise FullError when too many wait already."""
        if len(self._waiting) + len(events) > self.most_waiting:
            self.refused += len(events)
            raise FullError(f"{len(self._waiting):,} events wait already; ask again in a moment")
        loop, now = asyncio.get_running_loop(), time.perf_counter()
        futures = [loop.create_future() for _ in events]
        self._waiting += zip(events, futures, [now] * len(events), strict=True)
        if not self._due:
            self._due = True
            # Behind the requests that the loop has read already: they belong to the same batch.
            loop.call_soon(self._decide)
        return futures

    def find(self, transaction_id: str) -> Told | None:
        """Return the decision on a payment; None where it was never decided."""
        recent = self._recent.get(transaction_id)
        if recent is not None:
            return recent
        stored = told_of(self.door.site, transaction_id)
        return None if stored is None else Told(*stored)

    def _decide(self) -> None:
        batch, self._waiting = self._waiting[:MOST_A_BATCH], self._waiting[MOST_A_BATCH:]
        self._due = bool(self._waiting)
        loop = asyncio.get_running_loop()
        if self._due:
            loop.call_soon(self._decide)
        try:
            outcomes = self.door.take(Batch([event for event, _, _ in batch], None, 0), SOURCE)
        except RetryError as error:
            for _, future, _ in batch:
                _settle(future, error)
            return
        now = time.perf_counter()
        for (_, future, taken), outcome in zip(batch, outcomes, strict=True):
            self.waits.add(now - taken)
            _settle(future, self._told(outcome))
        # Behind the answers, which the loop writes first.
        loop.call_soon(self._catch_up)

    def _catch_up(self) -> None:
        try:
            self.door.catch_up()
        except RetryError as error:
            LOG.warning("%s; nothing is lost: the decisions are in the journal", error)

    def _told(self, outcome: Outcome) -> Answer:
        if isinstance(outcome, Decided):
            told = Told(outcome.decision, outcome.payment.event_time)
            self._remember(told)
            return told
        if isinstance(outcome, Learned):
            return outcome.label
        if isinstance(outcome, Repeated) and not outcome.is_label:
            before = self.find(outcome.transaction_id)
            return outcome if before is None else msgspec.structs.replace(before, repeated=True)
        return outcome

    def _remember(self, told: Told) -> None:
        self._recent[told.decision.transaction_id] = told
        if len(self._recent) > REMEMBERED:
            self._recent.popitem(last=False)


def _settle(future: asyncio.Future[Answer], answer: Answer | RetryError) -> None:
    if future.done():
        # Whoever asked has gone; the decision stands, and is told when they ask again.
        return
    if isinstance(answer, RetryError):
        future.set_exception(answer)
    else:
        future.set_result(answer)
