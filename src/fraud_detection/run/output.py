"""Decisions as lines of JSON, for files and pipes."""

from __future__ import annotations

import datetime as dt
from functools import lru_cache

import msgspec

from fraud_detection.events import Decision, Label, Quarantined
from fraud_detection.pipeline import Decided, Outcome, Repeated

DAY_MS = 86_400_000
EPOCH = dt.date(1970, 1, 1)


def outcome_line(outcome: Outcome, row: int | None = None) -> bytes:
    """Return one line; `row` is the event's place in its source, counted from 1, where it has one.

    A quarantined event has `quarantined` (the reason) and `path` in place of an action.
    """
    if isinstance(outcome, Decided):
        return told_line((outcome.decision, outcome.payment.event_time), row)
    if isinstance(outcome, Repeated):
        return _line({**_row(row), "transaction_id": outcome.transaction_id, "repeated": True})
    return told_line(outcome if isinstance(outcome, Quarantined) else outcome.label, row)


def told_line(told: tuple[Decision, int] | Label | Quarantined, row: int | None = None) -> bytes:
    """Return the line of a decision (with the event's time in ms), of a label, or of a refusal."""
    if isinstance(told, Quarantined):
        return _line({**_row(row), "quarantined": told.reason, "path": told.path})
    if isinstance(told, Label):
        verdict = "fraud" if told.fraud else "legitimate"
        return _line({**_row(row), "transaction_id": told.transaction_id, "label": verdict})
    return _decision_line(*told)


def iso(time_ms: int) -> str:
    """Return the time in ISO 8601, UTC.

    >>> iso(1767225600123)
    '2026-01-01T00:00:00.123Z'
    """
    days, of_day = divmod(time_ms, DAY_MS)
    seconds, ms = divmod(of_day, 1000)
    return f"{_date(days)}T{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}.{ms:03d}Z"


@lru_cache(maxsize=64)
def _date(days: int) -> str:
    """Return the date so many days after 1970-01-01; most payments of a minute share it."""
    return (EPOCH + dt.timedelta(days)).isoformat()


def _row(row: int | None) -> dict[str, object]:
    return {} if row is None else {"row": row}


def _decision_line(decision: Decision, event_time: int) -> bytes:
    return _line(
        {
            "transaction_id": decision.transaction_id,
            "event_time": iso(event_time),
            "action": decision.action.label,
            "score": decision.score,
            "reasons": [{"code": reason.code, "words": reason.words} for reason in decision.reasons],
            "policy": decision.policy,
            "bundle": decision.bundle,
            **_beside(decision),
        }
    )


def _beside(decision: Decision) -> dict[str, object]:
    """Return what only some decisions have: what they were let through instead of, and with which share."""
    let = decision.let_through
    told: dict[str, object] = {"setup": decision.setup} if decision.setup else {}
    if let is None:
        return told
    return told | {"let_through": {"instead_of": let.instead_of.label, "share": let.share}}


def _line(content: dict[str, object]) -> bytes:
    return msgspec.json.encode(content) + b"\n"
