"""The ports in plain memory: for files that are scored once, for replay, and for tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fraud_detection.core.events import Label
from fraud_detection.core.ports import BatchState, FirstDelivery, ProfileKey

Ids = tuple[str | None, ...]


class MemoryStore:
    """A StateStore that forgets everything when the process ends."""

    def __init__(self) -> None:
        """Start empty."""
        self._profiles: dict[ProfileKey, bytes] = {}

    def load(self, keys: Sequence[ProfileKey]) -> dict[ProfileKey, bytes]:
        """Return the profiles that exist."""
        return {key: self._profiles[key] for key in keys if key in self._profiles}

    def save(self, profiles: Mapping[ProfileKey, bytes]) -> set[ProfileKey]:
        """Keep all of them."""
        self._profiles.update(profiles)
        return set()


class MemoryDedupIndex:
    """A DedupIndex that grows with the payments it has seen; `add_payment` and `add_label` enter them."""

    def __init__(self) -> None:
        """Start empty."""
        self._entities: dict[str, Ids] = {}
        self._first: dict[str, FirstDelivery] = {}
        self._labels: dict[str, list[Label]] = {}
        self._redundant: dict[str, list[Label]] = {}

    def add_payment(self, transaction_id: str, ids: Ids, first: FirstDelivery) -> None:
        """Enter a payment that was decided, or is of warmed-up history."""
        self._entities[transaction_id] = ids
        self._first[transaction_id] = first

    def add_label(self, label: Label) -> None:
        """Add a label, whether its payment has arrived or not."""
        self._labels.setdefault(label.transaction_id, []).append(label)

    def add_redundant_label(self, label: Label) -> None:
        """Enter a label that changed nothing."""
        self._redundant.setdefault(label.transaction_id, []).append(label)

    def batch_state(self, payments: Sequence[str], labelled: Sequence[str]) -> BatchState:
        """Load deduplication and label state of these payments, and of the labelled ones."""
        return BatchState(
            {transaction_id: 0 for transaction_id in payments if transaction_id in self._entities},
            {
                transaction_id: self._entities[transaction_id]
                for transaction_id in labelled
                if transaction_id in self._entities
            },
            {
                transaction_id: [*self._labels[transaction_id]]
                for transaction_id in (*payments, *labelled)
                if transaction_id in self._labels
            },
            {
                transaction_id: [*self._redundant[transaction_id]]
                for transaction_id in labelled
                if transaction_id in self._redundant
            },
            first={
                transaction_id: self._first[transaction_id]
                for transaction_id in payments
                if transaction_id in self._first
            },
        )
