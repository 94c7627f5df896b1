"""Send history through the same code that serves, with every label held back until it was known."""

from __future__ import annotations

import heapq
import logging
import math
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from fraud_detection.core.errors import NOT_OF_ONE_EVENT, Failure
from fraud_detection.core.events import HISTORY, Label, Transaction
from fraud_detection.core.features.profile_cache import FeatureMemory, Ids

LOG = logging.getLogger(__name__)


class PastPayment(msgspec.Struct, frozen=True):
    """A payment of history with its label: None where none ever came; known_at in ms.

    corrections: verdicts that each took the one before back, with the time they became known.
    dated: of the label and each correction the date that it bears, where one of them was told later than
    that; else empty.  Risk windows count by it, as they did live.
    """

    payment: Transaction
    fraud: bool | None
    known_at: int
    corrections: tuple[tuple[bool, int], ...] = ()
    dated: tuple[int, ...] = ()

    def labels(self) -> list[Label]:
        """Return what was known of the payment, in the order in which it became known."""
        if self.fraud is None:
            return []
        one, told = self.payment.transaction_id, [(self.fraud, self.known_at), *self.corrections]
        if not self.dated:
            return [Label(one, fraud, known_at, HISTORY) for fraud, known_at in told]
        return [
            Label(one, fraud, dated, HISTORY, ingested_at=known_at - 1)
            for (fraud, known_at), dated in zip(told, self.dated, strict=True)
        ]

    def with_labels(self, told: Sequence[Label]) -> PastPayment:
        """Return the payment with labels that came apart from it, as a stream would have learned them."""
        current: list[Label] = []
        for label in sorted([*self.labels(), *told], key=lambda label: label.available_from):
            if label.supersedes(current[-1] if current else None):
                current.append(label)
        if not current:
            return self
        first, *later = [(label.fraud, label.available_from) for label in current]
        is_late = any(label.known_at < label.available_from for label in current)
        dated = tuple(label.known_at for label in current) if is_late else ()
        return PastPayment(self.payment, first[0], first[1], tuple(later), dated)

    def known_by(self, as_of: int) -> PastPayment:
        """Return the payment as somebody knew it at a moment in ms: without what became known later."""
        if self.fraud is None or self.known_at > as_of:
            return PastPayment(self.payment, None, self.known_at)
        later = tuple(one for one in self.corrections if one[1] <= as_of)
        return PastPayment(self.payment, self.fraud, self.known_at, later, self.dated[: 1 + len(later)])

    def current_label(self) -> tuple[bool | None, int]:
        """Return the verdict that stands at the end of history, and when it became known in ms."""
        return self.corrections[-1] if self.corrections else (self.fraud, self.known_at)


class DueLabel(msgspec.Struct, frozen=True, order=True):
    """A label on its way: it may be learned from `available_from` on, and counts at `known_at`.

    supersedes_known_at: when the label that it supersedes became known.
    """

    available_from: int
    number: int
    transaction_id: str
    ids: Ids
    fraud: bool
    known_at: int
    supersedes_known_at: int | None = None


def due_labels(past: PastPayment, number: int) -> list[DueLabel]:
    """Return the labels of a payment; equal times are learned in the order of their numbers.

    number: of the first of them.
    """
    due: list[DueLabel] = []
    for label in past.labels():
        supersedes_known_at = due[-1].known_at if due else None
        told = (label.transaction_id, past.payment.entities, label.fraud, label.known_at, supersedes_known_at)
        due.append(DueLabel(label.available_from, number + len(due), *told))
    return due


def observed(memory: FeatureMemory, payment: Transaction) -> list[float]:
    """Return the features of a past payment, then remember it.

    All are missing where they raise an error, as they are for the live payment; the log says which.
    """
    try:
        return memory.observe(payment)
    except NOT_OF_ONE_EVENT:
        raise
    except Exception as error:  # noqa: BLE001 - whatever it is, it is told, and ends at one payment
        return missing(payment, error, len(memory.extractor.definitions))


def missing(payment: Transaction, error: Exception, features: int) -> list[float]:
    """Report an error with the features of a past payment, and return so many of which all are missing."""
    LOG.error(
        "an error of the program with the features of past payment %s: they are missing, others are made. "
        "Please report it:\n%s",
        payment.transaction_id,
        Failure(payment.transaction_id, b"", error).trace,
        extra={"event": "internal_error"},
    )
    return [math.nan] * features


class Replay:
    """Replays payments in the order given; before each, the labels that were known by then.

    After the last payment `due` still holds the labels that become known later, as a heap.
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
            row = observed(self.memory, past.payment)
            self.expect(past)
            yield row

    def learn_until(self, time_ms: int) -> None:
        """Learn every label that was known at `time_ms`."""
        due = self.due
        while due and due[0].available_from <= time_ms:
            label = heapq.heappop(due)
            self.memory.learn(
                label.ids, label.known_at, fraud=label.fraud, supersedes_known_at=label.supersedes_known_at
            )

    def still_due(self) -> list[Label]:
        """Return the labels that are held back, the latest first."""
        return [
            Label(due.transaction_id, due.fraud, due.known_at, HISTORY)
            for due in sorted(self.due, reverse=True)
        ]

    def expect(self, past: PastPayment) -> None:
        """Hold the labels of a payment back until they were known."""
        for label in due_labels(past, self.seen):
            self.seen += 1
            heapq.heappush(self.due, label)
