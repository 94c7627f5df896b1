"""The seams: what the engine needs of the world, in three methods at most each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

import msgspec

from fraud_detection.events import Label

if TYPE_CHECKING:
    import numpy as np

ProfileKey = tuple[int, str]
"""Position of the entity in the schema, and the entity's id."""


class StateStore(Protocol):
    """Where the entities' profiles rest between payments, as opaque bytes."""

    def load(self, keys: Sequence[ProfileKey]) -> dict[ProfileKey, bytes]:
        """Return the profiles that exist; absent keys are simply absent."""

    def save(self, profiles: Mapping[ProfileKey, bytes]) -> None:
        """Store all of them, or none and raise RetryError."""


class Scorer(Protocol):
    """A model: rows of features in, calibrated probabilities out."""

    def score(self, rows: Sequence[Sequence[float]]) -> list[float]:
        """Return one probability in [0, 1] a row, in order."""

    def contributions(self, rows: Sequence[Sequence[float]]) -> np.ndarray:
        """Return exact SHAP values, shape (rows, features), in log-odds."""


class Known(msgspec.Struct):
    """What a ledger knows of the payments and labels of a batch; its asker keeps it up meanwhile.

    taken_in: ids of payments that were decided before or are of warmed-up history.  entities: of payments
    that labels speak of, where they are known.  labels: that have come before, in the order in which they
    came; of payments still to come too.
    """

    taken_in: set[str]
    entities: dict[str, tuple[str | None, ...]]
    labels: dict[str, list[Label]]

    def standing(self, transaction_id: str) -> Label | None:
        """Return the label of a payment that stands so far."""
        told = self.labels.get(transaction_id)
        return told[-1] if told else None


class Ledger(Protocol):
    """What has already been taken in, so that nothing is decided twice and labels find their payment."""

    def look_up(self, payments: Sequence[str], told_of: Sequence[str]) -> Known:
        """Return what is known of these payments, and of those that labels of the batch speak of."""
