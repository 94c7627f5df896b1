"""Decisions as lines of JSON, for files and pipes."""

from __future__ import annotations

import datetime as dt

import msgspec

from fraud_detection.events import Quarantined
from fraud_detection.pipeline import Decided, Outcome, Repeated


def outcome_line(outcome: Outcome, row: int) -> bytes:
    """Return one line; `row` is the event's place in its source, counted from 1.

    A quarantined event has `quarantined` (the reason) and `path` in place of an action.
    """
    if isinstance(outcome, Decided):
        return _decision_line(outcome)
    if isinstance(outcome, Quarantined):
        return _line({"row": row, "quarantined": outcome.reason, "path": outcome.path})
    if isinstance(outcome, Repeated):
        return _line({"row": row, "transaction_id": outcome.transaction_id, "repeated": True})
    label = outcome.label
    return _line(
        {
            "row": row,
            "transaction_id": label.transaction_id,
            "label": "fraud" if label.fraud else "legitimate",
        }
    )


def iso(time_ms: int) -> str:
    """Return the time in ISO 8601, UTC.

    >>> iso(1767225600123)
    '2026-01-01T00:00:00.123Z'
    """
    moment = dt.datetime.fromtimestamp(time_ms // 1000, dt.UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{time_ms % 1000:03d}Z"


def _decision_line(decided: Decided) -> bytes:
    decision = decided.decision
    return _line(
        {
            "transaction_id": decision.transaction_id,
            "event_time": iso(decided.payment.event_time),
            "action": decision.action.label,
            "score": decision.score,
            "reasons": [{"code": reason.code, "words": reason.words} for reason in decision.reasons],
            "policy": decision.policy,
            "bundle": decision.bundle,
        }
    )


def _line(content: dict[str, object]) -> bytes:
    return msgspec.json.encode(content) + b"\n"
