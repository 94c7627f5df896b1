"""Read the label of an event: fraud or not, and when it became known."""

from __future__ import annotations

from typing import Final

from fraud_detection.core.errors import RejectError
from fraud_detection.core.id_text import canonical_id
from fraud_detection.core.parse.times import TimeBounds, time_reader
from fraud_detection.core.parse.values import Missing
from fraud_detection.core.project_schema import Schema

MAX_SOURCE_LENGTH: Final = 40


class LabelReader:
    """Reads labels by the declared schema; without one, nothing is ever known."""

    def __init__(self, schema: Schema, bounds: TimeBounds, missing: Missing) -> None:
        """Resolve the schema once; times are written as the event time is."""
        self.missing: Missing = missing
        source = schema.label
        self.declared: bool = source is not None
        self.field: str = "label" if source is None else source.field
        self.positive: set[str] = set() if source is None else {text.lower() for text in source.positive}
        self.negative: set[str] = set() if source is None else {text.lower() for text in source.negative}
        self.in_rows: bool = source is not None and source.known_at is not None
        known_at = None if source is None else source.known_at
        self.known_at_field: str = "label_known_at" if known_at is None else known_at
        self.delay_ms: int = 0 if source is None else source.delay.ms
        self.read_time = time_reader(schema.event_time)
        self.bounds: TimeBounds = bounds

    def verdict(self, event: dict[str, object]) -> bool | None:
        """Return whether the event's label is fraud; None without a verdict."""
        if not self.declared:
            return None
        value = event.get(self.field)
        text = str(value).strip().lower()
        if isinstance(value, float) and text not in self.positive and text not in self.negative:
            text = canonical_id(text)
        if text in self.positive:
            return True
        return False if text in self.negative else None

    def states_known_at(self, event: dict[str, object]) -> bool:
        """Return whether a row of history states when its label became known."""
        value = event.get(self.known_at_field)
        return self.in_rows and value is not None and not self.missing.matches(value)

    def known_at(self, event: dict[str, object], event_time: int) -> int:
        """Return when the label of a row of history became known, in ms: never before its payment."""
        stated = self.stated_known_at(event) if self.in_rows else None
        return event_time + self.delay_ms if stated is None else max(stated, event_time)

    def source(self, event: dict[str, object]) -> str:
        """Return the label's source; raise RejectError for what is no short text."""
        value = event.get("source")
        if value is None or self.missing.matches(value):
            return "feed"
        if not isinstance(value, str) or len(value) > MAX_SOURCE_LENGTH:
            raise RejectError(
                f"the source of a label is a word such as chargeback, of at most {MAX_SOURCE_LENGTH} letters",
                "$.source",
            )
        return value

    def happened_at(self, event: dict[str, object], known_at: int) -> int | None:
        """Return when the labelled fraud was found or claimed (`happened_at`), in ms; None where absent."""
        value = event.get("happened_at")
        if value is None or self.missing.matches(value):
            return None
        try:
            happened_at: int = self.read_time(value)
        except RejectError as error:
            raise RejectError(error.reason, "$.happened_at") from None
        if happened_at > known_at:
            raise RejectError("a label cannot be known before it happened", "$.happened_at")
        return happened_at

    def stated_known_at(self, event: dict[str, object]) -> int | None:
        """Return the stated time at which the label became known, in ms; None where absent."""
        value = event.get(self.known_at_field)
        if value is None or self.missing.matches(value):
            return None
        try:
            known_at: int = self.read_time(value)
        except RejectError as error:
            raise RejectError(error.reason, f"$.{self.known_at_field}") from None
        self.bounds.check(known_at, self.known_at_field, value)
        return known_at
