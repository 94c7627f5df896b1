"""Say how events differ from the declared schema: what, since when, in what share."""

from __future__ import annotations

import datetime as dt

import msgspec

KINDS = {
    "unknown_field": "a field that the schema does not declare: ignored",
    "alias": "a value that was found under a declared alias: followed",
    "repaired": "a value of another type than declared: read all the same",
    "loose": "an event with a value that strict JSON forbids: read all the same",
    "unreadable": "an optional value that could not be read: taken as missing",
    "missing": "an optional value that is not there: taken as missing, never as zero",
    "unknown_category": "a category that training has not seen: taken as unknown",
    "quarantined_label": "a label without a verdict, an id or a possible time: quarantined whole",
    "quarantined": "a record without a required value, or with an impossible one: quarantined whole",
}


class DriftRow(msgspec.Struct, frozen=True):
    """One kind of drift in one field; times are event times in ms, -1 where the event had none."""

    kind: str
    field: str
    count: int
    share: float
    first_time: int
    last_time: int
    example: str


def describe(row: DriftRow) -> str:
    """Return the row as one sentence.

    >>> describe(DriftRow("unknown_field", "tier", 2, 0.5, 0, 0, "gold"))
    'tier: a field that the schema does not declare: ignored; 2 events (50 %), since 1970-01-01 00:00 (gold)'
    """
    since = "" if row.first_time < 0 else f", since {_minute(row.first_time)}"
    seen = f"{row.count:,} events ({100 * row.share:.3g} %){since}"
    return f"{row.field}: {KINDS[row.kind]}; {seen} ({row.example})"


def _minute(time_ms: int) -> str:
    return dt.datetime.fromtimestamp(time_ms / 1000, dt.UTC).strftime("%Y-%m-%d %H:%M")
