"""Ports of the engine: profile store, scorer and deduplication index, with three methods at most each."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

import msgspec

from fraud_detection.core.events import Label

if TYPE_CHECKING:
    import numpy as np

ProfileKey = tuple[int, str]
"""Position of the entity in the schema, and the entity's id."""


class StateStore(Protocol):
    """Persistent store of the entities' profiles, as opaque bytes."""

    def load(self, keys: Sequence[ProfileKey]) -> dict[ProfileKey, bytes]:
        """Return the profiles that exist; keys without one are left out."""

    def save(self, profiles: Mapping[ProfileKey, bytes]) -> set[ProfileKey]:
        """Store profiles; return the keys that another writer has changed since they were loaded.

        Those are not stored.  Raises RetryError when the store is busy or unavailable.
        """


class Scorer(Protocol):
    """A model: rows of features in, calibrated probabilities out."""

    def score(self, rows: Sequence[Sequence[float]], explained: Collection[int] = ()) -> list[float]:
        """Return one probability in [0, 1] a row, in order.

        explained: indexes of rows whose contributions will be needed whatever their score is; a remote scorer
        requests them in the same call.
        """

    def contributions(self, rows: Sequence[Sequence[float]]) -> Sequence[Sequence[float]] | np.ndarray:
        """Return exact SHAP values, shape (rows, features), in log-odds; weak ones may be left at 0."""


class FirstDelivery(msgspec.Struct, frozen=True, gc=False):
    """The first payment that was processed under an id, to compare a later one with.

    event: raw bytes; empty for a historical payment, of which only the digest of its content is stored.
    """

    event: bytes = b""
    digest: bytes = b""


class BatchState(msgspec.Struct):
    """Deduplication and label state of one batch: loaded once, updated in place while the batch runs.

    already_processed: payments that were decided or are part of the loaded history, with the sequence number
    of the event where it may be redelivered because its decision was stored and its profiles were not, else
    0.  entities: of labelled payments, where known.  labels: earlier labels in order of arrival, also of
    payments still to come.  redundant: labels that changed nothing.  declined: of the payments that may be
    redelivered, those that count as declined, approved in the control group or not.  first: the first
    delivery of each payment in `already_processed`.
    """

    already_processed: dict[str, int]
    entities: dict[str, tuple[str | None, ...]]
    labels: dict[str, list[Label]]
    redundant: dict[str, list[Label]] = {}
    declined: set[str] = set()
    first: dict[str, FirstDelivery] = {}

    def has_label(self, label: Label) -> bool:
        """Return whether the same label is known."""
        labels = (*self.labels.get(label.transaction_id, ()), *self.redundant.get(label.transaction_id, ()))
        return any(label.is_same_as(known) for known in labels)

    def current_label(self, transaction_id: str) -> Label | None:
        """Return the current label of a payment."""
        labels = self.labels.get(transaction_id)
        return labels[-1] if labels else None

    def labels_up_to(self, transaction_id: str, sequence: int) -> list[tuple[Label, int | None]]:
        """Return the labels up to an event, each with the known_at of the one that it supersedes.

        Why the one before is the one to subtract.  `labels` has only those that superseded the current one
        when they came (`Label.supersedes`): each has the other verdict than the one before it, and is no
        older. So they form one row in which verdicts alternate, one stands at a time, and it is the latest.
        Its time and the opposite of the correction's verdict are all that a risk window needs: a bucket has
        equal values, and whichever of them is subtracted, the same is left.  Where that bucket was
        forgotten, the label was forgotten with it, or never entered, and nothing is subtracted.  The
        pairs depend only on the order of the payment's labels, so a profile that takes them in again after a
        restart, or in another process, takes back the same ones.
        """
        known = self.labels.get(transaction_id)
        if known is None:
            return []
        labels = [label for label in known if label.sequence <= sequence]
        return list(zip(labels, [None, *(label.known_at for label in labels)], strict=False))


class DedupIndex(Protocol):
    """Index of processed payments and labels: no payment is decided twice, and labels find their payment."""

    def batch_state(self, payments: Sequence[str], labelled: Sequence[str]) -> BatchState:
        """Load the state of the payments of a batch, and of the payments that its labels are about."""
