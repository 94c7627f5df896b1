"""The seams: what the engine needs of the world, in three methods at most each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np

    from fraud_detection.events import Label

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


class Ledger(Protocol):
    """What has already been taken in, so that nothing is decided twice and labels find their payment."""

    def taken_in(self, transaction_ids: Sequence[str]) -> set[str]:
        """Return those of the ids that have been decided before, or are of warmed-up history."""

    def entities(self, transaction_ids: Sequence[str]) -> dict[str, tuple[str | None, ...]]:
        """Return the entities of those payments that are known, decided or of warmed-up history."""

    def labels(self, transaction_ids: Sequence[str]) -> dict[str, list[Label]]:
        """Return the labels that have come for these payments, also for payments still to come, in order."""
