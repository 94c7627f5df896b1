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

from typing import Final

from fraud_detection.core.parse.drift_report import DriftRow

MAX_FIELDS: Final = 2_000
"""How many different drifts are distinguished; hostile field names must not fill the memory."""

MAX_NAME_LENGTH: Final = 100
"""Characters of a field's name that are stored; longer ones are distinguished by those."""
MAX_EXAMPLE_LENGTH: Final = 60
MAX_UNKNOWN_FIELDS: Final = 5
"""Unknown fields of one event that are named in its answer; one more stands for the rest."""
MAX_FIELD_NAME_LENGTH: Final = 60

LABEL_KIND: Final = "quarantined_label"

TallyRow = tuple[str, str, int, int, int, str]
"""A stored tally: kind, field, count, first and last time in ms, example."""


class _Tally:
    """One deviation; a plain class, because it is touched for nearly every event."""

    def __init__(self, count: int, first_time: int, last_time: int, example: str) -> None:
        self.count: int = count
        self.first_time: int = first_time
        self.last_time: int = last_time
        self.example: str = example


def _shown(example: object) -> str:
    """Return an example, cut before it is written out where it may be long."""
    if isinstance(example, str):
        example = example[:MAX_EXAMPLE_LENGTH]
    return repr(example)[:MAX_EXAMPLE_LENGTH].strip("'")


class SchemaDrift:
    """The tallies of one parser.  `events` counts every event but labels, `labels` those, drifted or not."""

    def __init__(self) -> None:
        """Start with nothing counted."""
        self.events: int = 0
        self.labels: int = 0
        self._tallies: dict[tuple[str, str], _Tally] = {}
        self._changed: set[tuple[str, str]] = set()

    def count(self, kind: str, field: str, time_ms: int, example: object) -> None:
        """Count one deviation of `field`, seen in an event of `time_ms`."""
        if len(field) > MAX_NAME_LENGTH:
            field = field[:MAX_NAME_LENGTH] + "..."
        tally = self._tallies.get((kind, field))
        if tally is None:
            if len(self._tallies) >= MAX_FIELDS:
                field = "(others)"
            tally = self._tallies.setdefault((kind, field), _Tally(0, time_ms, time_ms, _shown(example)))
        tally.count += 1
        self._changed.add((kind, field))
        if time_ms >= 0:
            tally.first_time = time_ms if tally.first_time < 0 else min(tally.first_time, time_ms)
            tally.last_time = max(tally.last_time, time_ms)

    def count_unknown(self, event: dict[str, object], declared: set[str], time_ms: int) -> tuple[str, ...]:
        """Count the fields of an event that are not declared; return the first of their names, cut."""
        names: list[str] = []
        for key, value in event.items():
            if key not in declared:
                self.count("unknown_field", str(key), time_ms, value)
                if len(names) <= MAX_UNKNOWN_FIELDS:
                    names.append(str(key)[:MAX_FIELD_NAME_LENGTH])
        return tuple(names)

    def rows(self) -> list[DriftRow]:
        """Return the tallies, most frequent first."""
        rows = [
            DriftRow(kind, field, t.count, t.count / self._out_of(kind), t.first_time, t.last_time, t.example)
            for (kind, field), t in self._tallies.items()
        ]
        return sorted(rows, key=lambda row: (-row.count, row.kind, row.field))

    def _out_of(self, kind: str) -> int:
        return max(self.labels if kind == LABEL_KIND else self.events, 1)

    def pop_changes(self) -> list[TallyRow]:
        """Return the tallies that changed since the last call, for a store."""
        rows: list[TallyRow] = []
        for kind, field in self._changed:
            tally = self._tallies[kind, field]
            rows.append((kind, field, tally.count, tally.first_time, tally.last_time, tally.example))
        self._changed.clear()
        return rows

    def restore(self, events: int, labels: int, tallies: list[TallyRow]) -> None:
        """Take back what a store has kept."""
        self.events = events
        self.labels = labels
        self._tallies = {}
        for kind, field, count, first_time, last_time, example in tallies:
            self._tallies[kind, field] = _Tally(count, first_time, last_time, example)
