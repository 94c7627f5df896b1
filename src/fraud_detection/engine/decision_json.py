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
    """Return one line; `row` is the event's place in its source, counted from 1, where it has one."""
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


def encode_logged(told: tuple[Decision, int] | Label | Quarantined) -> bytes:
    """Return the line of a decision (with the event's time in ms), of a label, or of a refusal."""
    return encode(_record(told)) + b"\n"


def _record(told: tuple[Decision, int] | Label | Quarantined, delivery: Delivery | None = None) -> Record:
    if isinstance(told, Conflict):
        return conflict_record(told, delivery)
    if isinstance(told, Quarantined):
        return quarantine_record(told, delivery)
    return label_record(told, delivery) if isinstance(told, Label) else decision_record(*told, delivery)
