"""Count how the events differ from the declared schema: what, since when, in what share.

>>> drift = SchemaDrift()
>>> drift.events = 4
>>> drift.count("alias", "amount", 1_000, "amt")
>>> drift.count("alias", "amount", 5_000, "amt")
>>> row = drift.rows()[0]
>>> row.kind, row.field, row.count, row.share, row.first_time, row.example
('alias', 'amount', 2, 0.5, 1000, 'amt')
"""

from __future__ import annotations

import datetime as dt

import msgspec

KINDS = {
    "unknown_field": "a field that the schema does not declare: ignored",
    "alias": "a value that was found under a declared alias: followed",
    "repaired": "a value of another type than declared: read all the same",
    "unreadable": "an optional value that could not be read: taken as missing",
    "missing": "an optional value that is not there: taken as missing, never as zero",
    "unknown_category": "a category that training has not seen: taken as unknown",
    "quarantined": "a record without a required value, or with an impossible one: set aside whole",
}
MOST_FIELDS = 2_000
"""How many different drifts are told apart; hostile field names must not fill the memory."""


class DriftRow(msgspec.Struct, frozen=True):
    """One kind of drift in one field; times are event times in ms, -1 where the event had none."""

    kind: str
    field: str
    count: int
    share: float
    first_time: int
    last_time: int
    example: str


class _Tally(msgspec.Struct):
    count: int
    first_time: int
    last_time: int
    example: str


class SchemaDrift:
    """The tallies of one parser.  `events` counts every event, drifted or not."""

    def __init__(self) -> None:
        """Start with nothing counted."""
        self.events = 0
        self._tallies: dict[tuple[str, str], _Tally] = {}

    def count(self, kind: str, field: str, time_ms: int, example: object) -> None:
        """Count one deviation of `field`, seen in an event of `time_ms`."""
        tally = self._tallies.get((kind, field))
        if tally is None:
            if len(self._tallies) >= MOST_FIELDS:
                field = "(others)"
            tally = self._tallies.setdefault(
                (kind, field), _Tally(0, time_ms, time_ms, repr(example)[:60].strip("'"))
            )
        tally.count += 1
        if time_ms >= 0:
            tally.first_time = time_ms if tally.first_time < 0 else min(tally.first_time, time_ms)
            tally.last_time = max(tally.last_time, time_ms)

    def rows(self) -> list[DriftRow]:
        """Return the tallies, most frequent first."""
        rows = [
            DriftRow(
                kind, field, t.count, t.count / max(self.events, 1), t.first_time, t.last_time, t.example
            )
            for (kind, field), t in self._tallies.items()
        ]
        return sorted(rows, key=lambda row: (-row.count, row.kind, row.field))

    def dump(self) -> bytes:
        """Return the whole content for a store."""
        return msgspec.json.encode([self.events, [[*key, tally] for key, tally in self._tallies.items()]])

    def restore(self, content: bytes) -> None:
        """Take back what `dump` returned."""
        self.events, tallies = msgspec.json.decode(content, type=tuple[int, list[tuple[str, str, _Tally]]])
        self._tallies = {(kind, field): tally for kind, field, tally in tallies}


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
