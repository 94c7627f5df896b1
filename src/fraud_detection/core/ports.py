"""The seams: what the engine needs of the world, in three methods at most each."""

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
    """Where the entities' profiles rest between payments, as opaque bytes."""

    def load(self, keys: Sequence[ProfileKey]) -> dict[ProfileKey, bytes]:
        """Return the profiles that exist; absent keys are simply absent."""

    def save(self, profiles: Mapping[ProfileKey, bytes]) -> set[ProfileKey]:
        """Store all but those that somebody else has changed since they were loaded; return these.

        Raises RetryError when the store is busy or away.
        """


class Scorer(Protocol):
    """A model: rows of features in, calibrated probabilities out."""

    def score(self, rows: Sequence[Sequence[float]], explained: Collection[int] = ()) -> list[float]:
        """Return one probability in [0, 1] a row, in order.

        explained: places of rows whose contributions will be asked for whatever their score is; who has to
        ask far away asks for them at once.
        """

    def contributions(self, rows: Sequence[Sequence[float]]) -> Sequence[Sequence[float]] | np.ndarray:
        """Return exact SHAP values, shape (rows, features), in log-odds; weak ones may be left at 0."""


class First(msgspec.Struct, frozen=True, gc=False):
    """What is kept of a payment that was taken in, for comparing it with one that has the same id.

    event: as it came; empty for a payment of history, of which the digest of its content is kept.
    """

    event: bytes = b""
    digest: bytes = b""


class Known(msgspec.Struct):
    """What a ledger knows of the payments and labels of a batch; its asker keeps it up meanwhile.

    taken_in: payments that were decided before or are of warmed-up history; each with the number of its
    event where that may come again because its decision was kept but not its profiles, else with 0.
    entities: of payments that labels speak of, where they are known.  labels: that have come before, in
    the order in which they came; of payments still to come too.  redundant: labels that changed nothing.
    declined: of the payments whose event may come again, those that were declined, or would have been without
    the control group. first: the payments in `taken_in`, as they came.
    """

    taken_in: dict[str, int]
    entities: dict[str, tuple[str | None, ...]]
    labels: dict[str, list[Label]]
    redundant: dict[str, list[Label]] = {}
    declined: set[str] = set()
    first: dict[str, First] = {}

    def has(self, label: Label) -> bool:
        """Tell whether the same label came before."""
        told = (*self.labels.get(label.transaction_id, ()), *self.redundant.get(label.transaction_id, ()))
        return any(label.is_same_as(one) for one in told)

    def current_label(self, transaction_id: str) -> Label | None:
        """Return the current label of a payment."""
        told = self.labels.get(transaction_id)
        return told[-1] if told else None

    def labels_up_to(self, transaction_id: str, sequence: int) -> list[tuple[Label, int | None]]:
        """Return the labels up to an event, each with the known_at of the one that it supersedes.

        Why the one before is the one to subtract.  `labels` has only those that superseded the current one
        when they came (`Label.supersedes`): each has the other verdict than the one before it, and is no
        older. So they form one row in which verdicts alternate, one stands at a time, and it is the latest.
        Its time and the opposite of the correction's verdict are all that a risk window needs: a pane counts
        equal values, and whichever of them is subtracted, the same is left.  Where the pane of that time has
        been forgotten, the label was forgotten with it, or never entered, and nothing is subtracted.  The
        pairs depend only on the order of the payment's labels, so a profile that takes them in again after a
        restart, or in another process, takes back the same ones.
        """
        known = self.labels.get(transaction_id)
        if known is None:
            return []
        told = [one for one in known if one.sequence <= sequence]
        return list(zip(told, [None, *(one.known_at for one in told)], strict=False))


class Ledger(Protocol):
    """What has already been taken in, so that nothing is decided twice and labels find their payment."""

    def look_up(self, payments: Sequence[str], told_of: Sequence[str]) -> Known:
        """Return what is known of these payments, and of those that labels of the batch speak of."""
