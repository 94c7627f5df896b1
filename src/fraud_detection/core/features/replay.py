"""Replay history through the feature code that serves, with every label applied when it became known."""

from __future__ import annotations

import heapq
import logging
import math
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from fraud_detection.core.errors import NOT_OF_ONE_EVENT, Failure
from fraud_detection.core.events import HISTORY, Label, Transaction
from fraud_detection.core.features.profile_cache import Ids, ProfileCache

LOG = logging.getLogger(__name__)


class HistoricalPayment(msgspec.Struct, frozen=True):
    """A payment of history with its label: None where none ever came; known_at in ms.

    corrections: verdicts that each took the one before back, with the time they became known.
    dated: of the label and each correction the date that it bears, where one of them was ingested later than
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
        transaction_id, labels = self.payment.transaction_id, [(self.fraud, self.known_at), *self.corrections]
        if not self.dated:
            return [Label(transaction_id, fraud, known_at, HISTORY) for fraud, known_at in labels]
        return [
            Label(transaction_id, fraud, dated, HISTORY, ingested_at=known_at - 1)
            for (fraud, known_at), dated in zip(labels, self.dated, strict=True)
        ]

    def with_labels(self, separate: Sequence[Label]) -> HistoricalPayment:
        """Return the payment with labels that came apart from it, as a stream would have learned them."""
        current: list[Label] = []
        for label in sorted([*self.labels(), *separate], key=lambda label: label.available_from):
            if label.supersedes(current[-1] if current else None):
                current.append(label)
        if not current:
            return self
        first, *later = [(label.fraud, label.available_from) for label in current]
        is_late = any(label.known_at < label.available_from for label in current)
        dated = tuple(label.known_at for label in current) if is_late else ()
        return HistoricalPayment(self.payment, first[0], first[1], tuple(later), dated)

    def known_by(self, as_of: int) -> HistoricalPayment:
        """Return the payment as it was known at a moment in ms: without labels that became known later."""
        if self.fraud is None or self.known_at > as_of:
            return HistoricalPayment(self.payment, None, self.known_at)
        later = tuple(correction for correction in self.corrections if correction[1] <= as_of)
        return HistoricalPayment(self.payment, self.fraud, self.known_at, later, self.dated[: 1 + len(later)])

    def current_label(self) -> tuple[bool | None, int]:
        """Return the current label at the end of history, and when it became known in ms."""
        return self.corrections[-1] if self.corrections else (self.fraud, self.known_at)


class PendingLabel(msgspec.Struct, frozen=True, order=True):
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


def pending_labels(historical: HistoricalPayment, number: int) -> list[PendingLabel]:
    """Return the labels of a payment; labels of equal time are applied in the order of their numbers.

    number: of the first of them.
    """
    pending: list[PendingLabel] = []
    for label in historical.labels():
        supersedes_known_at = pending[-1].known_at if pending else None
        fields = (
            label.transaction_id,
            historical.payment.entities,
            label.fraud,
            label.known_at,
            supersedes_known_at,
        )
        pending.append(PendingLabel(label.available_from, number + len(pending), *fields))
    return pending


def extract_or_missing(profile_cache: ProfileCache, payment: Transaction) -> list[float]:
    """Return the features of a historical payment, then update its profiles.

    All are missing where extraction raises an error, as they are when serving; the error is logged.
    """
    try:
        return profile_cache.extract_and_update(payment)
    except NOT_OF_ONE_EVENT:
        raise
    except Exception as error:  # noqa: BLE001 - whatever it is, it is logged, and ends at one payment
        return missing_row(payment, error, len(profile_cache.extractor.definitions))


def missing_row(payment: Transaction, error: Exception, features: int) -> list[float]:
    """Log an error in the features of a historical payment; return a row of missing values."""
    log_missing(payment.transaction_id, Failure(payment.transaction_id, b"", error).trace)
    return [math.nan] * features


def log_missing(transaction_id: str, trace: str) -> None:
    """Log that a historical payment has no features, because of an error of this program."""
    LOG.error(
        "internal error in the features of historical payment %s: its features are missing. "
        "Please report it:\n%s",
        transaction_id,
        trace,
        extra={"event": "internal_error"},
    )


class Replay:
    """Replays payments in order; applies before each the labels that were known by then.

    After the last payment `pending_labels` is a heap of the labels that become known later.
    """

    def __init__(self, profile_cache: ProfileCache) -> None:
        """Take the profiles to update."""
        self.profile_cache = profile_cache
        self.pending_labels: list[PendingLabel] = []
        self.seen = 0

    def rows(self, history: Iterable[HistoricalPayment]) -> Iterator[list[float]]:
        """Yield one feature row a payment, as it would have been served."""
        for historical in history:
            self.apply_labels_until(historical.payment.event_time)
            row = extract_or_missing(self.profile_cache, historical.payment)
            self.hold_labels_back(historical)
            yield row

    def apply_labels_until(self, time_ms: int) -> None:
        """Apply every label that was known at `time_ms`."""
        pending = self.pending_labels
        while pending and pending[0].available_from <= time_ms:
            label = heapq.heappop(pending)
            self.profile_cache.apply_label(
                label.ids, label.known_at, fraud=label.fraud, supersedes_known_at=label.supersedes_known_at
            )

    def still_pending(self) -> list[Label]:
        """Return the labels that are not applied yet, latest first."""
        return [
            Label(pending.transaction_id, pending.fraud, pending.known_at, HISTORY)
            for pending in sorted(self.pending_labels, reverse=True)
        ]

    def hold_labels_back(self, historical: HistoricalPayment) -> None:
        """Schedule the labels of a payment for when they become known."""
        for label in pending_labels(historical, self.seen):
            self.seen += 1
            heapq.heappush(self.pending_labels, label)
