"""The ports kept in plain memory: for files that are scored once, for replay, and for tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fraud_detection.core.events import Label
from fraud_detection.core.ports import First, Known, ProfileKey

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


class MemoryLedger:
    """A Ledger that grows with the payments it has seen; `note` enters them."""

    def __init__(self) -> None:
        """Start empty."""
        self._entities: dict[str, Ids] = {}
        self._first: dict[str, First] = {}
        self._labels: dict[str, list[Label]] = {}
        self._noted: dict[str, list[Label]] = {}

    def note_payment(self, transaction_id: str, ids: Ids, first: First) -> None:
        """Enter a payment that was decided, or is of warmed-up history."""
        self._entities[transaction_id] = ids
        self._first[transaction_id] = first

    def note_label(self, label: Label) -> None:
        """Enter a label, whether its payment has come or not."""
        self._labels.setdefault(label.transaction_id, []).append(label)

    def note_beside(self, label: Label) -> None:
        """Enter a label that changed nothing."""
        self._noted.setdefault(label.transaction_id, []).append(label)

    def look_up(self, payments: Sequence[str], told_of: Sequence[str]) -> Known:
        """Return what is known of these payments, and of those that labels speak of."""
        return Known(
            {one: 0 for one in payments if one in self._entities},
            {one: self._entities[one] for one in told_of if one in self._entities},
            {one: [*self._labels[one]] for one in (*payments, *told_of) if one in self._labels},
            {one: [*self._noted[one]] for one in told_of if one in self._noted},
            first={one: self._first[one] for one in payments if one in self._first},
        )
