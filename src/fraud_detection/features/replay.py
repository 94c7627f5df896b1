"""Send history through the same code that serves, with every label held back until it was known."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator

import msgspec

from fraud_detection.events import Transaction
from fraud_detection.features.memory import FeatureMemory, Ids


class PastPayment(msgspec.Struct, frozen=True):
    """A payment of history with its label: None where none ever came; known_at in ms."""

    payment: Transaction
    fraud: bool | None
    known_at: int


class DueLabel(msgspec.Struct, frozen=True, order=True):
    """A label on its way: it may be learned from `known_at` on."""

    known_at: int
    number: int
    transaction_id: str
    ids: Ids
    fraud: bool


class Replay:
    """Replays payments in the order given; before each, the labels that were known by then.

    After the last payment `due` still holds the labels that become known later.
    """

    def __init__(self, memory: FeatureMemory) -> None:
        """Feed `memory`."""
        self.memory = memory
        self.due: list[DueLabel] = []
        self.seen = 0

    def rows(self, history: Iterable[PastPayment]) -> Iterator[list[float]]:
        """Yield one feature row a payment, as it would have been served."""
        for past in history:
            self.learn_until(past.payment.event_time)
            row = self.memory.observe(past.payment)
            self._expect(past)
            yield row

    def learn_until(self, time_ms: int) -> None:
        """Learn every label that was known at `time_ms`."""
        due = self.due
        while due and due[0].known_at <= time_ms:
            label = heapq.heappop(due)
            self.memory.learn(label.ids, label.known_at, fraud=label.fraud)

    def _expect(self, past: PastPayment) -> None:
        if past.fraud is not None:
            payment = past.payment
            self.seen += 1
            label = DueLabel(past.known_at, self.seen, payment.transaction_id, payment.entities, past.fraud)
            heapq.heappush(self.due, label)
