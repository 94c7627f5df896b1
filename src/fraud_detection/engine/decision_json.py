"""What became of events as lines of JSON, for files and pipes."""

from __future__ import annotations

from fraud_detection.core.decision_record import (
    Delivery,
    Record,
    conflict_record,
    decision_record,
    duplicate_record,
    encode,
    label_record,
    quarantine_record,
)
from fraud_detection.core.events import Conflict, Decision, Label, Quarantined
from fraud_detection.core.outcomes import Decided, Duplicate, Forbidden, Outcome


def outcome_line(outcome: Outcome, row: int | None = None) -> bytes:
    """Return one line; `row` is the event's row number in its source, counted from 1, where it has one."""
    delivery = None if row is None else Delivery(row)
    if isinstance(outcome, Decided):
        return encode(decision_record(outcome.decision, outcome.payment.event_time, delivery)) + b"\n"
    if isinstance(outcome, Duplicate):
        return encode(duplicate_record(outcome.transaction_id, delivery)) + b"\n"
    if isinstance(outcome, Forbidden):
        raise TypeError(
            f"{outcome.transaction_id}: only a caller with a key can lack a role, and has no line"
        )
    return encode(_record(outcome if isinstance(outcome, Quarantined) else outcome.label, delivery)) + b"\n"


def encode_logged(item: tuple[Decision, int] | Label | Quarantined) -> bytes:
    """Return the line of a decision (with the event's time in ms), of a label, or of a refusal."""
    return encode(_record(item)) + b"\n"


def _record(item: tuple[Decision, int] | Label | Quarantined, delivery: Delivery | None = None) -> Record:
    if isinstance(item, Conflict):
        return conflict_record(item, delivery)
    if isinstance(item, Quarantined):
        return quarantine_record(item, delivery)
    return label_record(item, delivery) if isinstance(item, Label) else decision_record(*item, delivery)
