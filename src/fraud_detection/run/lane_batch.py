"""A batch of one shard: its records, which of them a retry has to look at, and which are begun."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet

import msgspec

from fraud_detection.adapters.dynamodb_ledger import Unsaved
from fraud_detection.events import Action, Decision, Quarantined
from fraud_detection.pipeline import Decided, Learned, Noted, Outcome, Repeated
from fraud_detection.ports import ProfileKey


class Record(msgspec.Struct, frozen=True):
    """One record of the shard; arrived_s is Kinesis' clock, seconds since 1970."""

    number: str
    data: bytes
    arrived_s: float

    @property
    def sequence(self) -> int:
        """Return the number as one that can be compared."""
        return int(self.number)


def begun(records: Sequence[Record], outcomes: Sequence[Outcome]) -> list[Unsaved]:
    """Return the events of a batch that change profiles, or may have begun to in an earlier delivery."""
    found: list[Unsaved] = []
    for record, outcome in zip(records, outcomes, strict=True):
        if isinstance(outcome, Decided):
            found.append(Unsaved(record.number, outcome.payment.transaction_id))
        elif isinstance(outcome, Learned):
            found.append(Unsaved(record.number, outcome.label.transaction_id, record.data))
        elif isinstance(outcome, Repeated):
            found.append(
                Unsaved(record.number, outcome.transaction_id, record.data if outcome.is_label else b"")
            )
    return found


def counts_as_declined(decision: Decision) -> bool:
    """Tell whether a limiter counts a decision as a decline; one that was let through may be."""
    instead = decision.let_through
    return (decision.action if instead is None else instead.instead_of) is Action.DECLINE


def touches(outcome: Outcome, keys: AbstractSet[ProfileKey]) -> bool:
    """Tell whether an event may have to change one of the profiles again."""
    if isinstance(outcome, Quarantined | Noted):
        return False
    if isinstance(outcome, Repeated):
        # It may be one whose decision was kept by a delivery that failed; whose it is, is not known here.
        return True
    ids = outcome.payment.entities if isinstance(outcome, Decided) else outcome.ids or ()
    return any((index, one) in keys for index, one in enumerate(ids) if one is not None)
