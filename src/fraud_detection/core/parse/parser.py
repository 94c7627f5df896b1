"""Decode an event by the declared schema, by name, and count every drift.

Unknown fields are ignored, declared aliases followed, harmless changes of type
repaired: each is counted.  A missing optional value is missing, never zero.  A missing
or impossible required value raises RejectError with the reason and the path; nothing
else is ever raised, whatever the bytes are.
"""

from __future__ import annotations

import json
import math
from typing import Final

import msgspec

from fraud_detection.core.errors import RejectError
from fraud_detection.core.events import Label, Transaction
from fraud_detection.core.lenient_json import BOM, object_of, read_object
from fraud_detection.core.parse.declared_fields import declared_fields
from fraud_detection.core.parse.drift import LABEL_KIND, SchemaDrift
from fraud_detection.core.parse.identity import LABEL_ID_FIELD
from fraud_detection.core.parse.labels import LabelReader
from fraud_detection.core.parse.oversize import MAX_EVENT_BYTES, MAX_STORED_EVENT_BYTES, too_large
from fraud_detection.core.parse.times import TimeBounds, date_of, date_part_columns, time_reader
from fraud_detection.core.parse.values import (
    FieldReader,
    Missing,
    as_id,
    as_number,
    categories_of,
    ids_of,
    numbers_of,
)
from fraud_detection.core.project_schema import Schema

LABEL_EVENT: Final = "label"
MAX_AMOUNT: Final = 1e15
POLE: Final = 90.0
DATE_LINE: Final = 180.0
BOM_DETAIL: Final = "byte-order mark"


class Parser:
    """Turns raw events into transactions and labels, and keeps the tallies in `drift`.

    category_encoding: category -> known values; without one no value counts as unknown.
    textual: the source holds nothing but text (CSV), so that text is no drift of type.
    """

    def __init__(
        self,
        schema: Schema,
        category_encoding: dict[str, dict[str, float]] | None = None,
        *,
        textual: bool = False,
    ) -> None:
        """Resolve the schema once."""
        self.textual: bool = textual
        known = category_encoding or {}
        self.drift: SchemaDrift = SchemaDrift()
        self.schema: Schema = schema
        self.missing: Missing = Missing(schema.missing)
        self.declared: set[str] = declared_fields(schema)
        self.type_is_free: bool = "type" not in self.declared
        self.has_id: bool = schema.transaction_id.field is not None
        self.id_reader: FieldReader = self._reader(
            schema.transaction_id.field or LABEL_ID_FIELD, schema.transaction_id.aliases
        )
        self.time_reader: FieldReader = self._reader(schema.event_time.field or "", schema.event_time.aliases)
        self.read_time = time_reader(schema.event_time)
        self.bounds: TimeBounds = TimeBounds(schema.event_time)
        # The time of the current event, or of the last one whose time could be read.
        self.time_in_hand: int = -1
        self.entities: list[FieldReader] = [
            self._reader(e.field, e.aliases, e.keep) for e in schema.entities.values()
        ]
        self.required: list[bool] = [entity.required for entity in schema.entities.values()]
        self.numbers: list[FieldReader] = [
            self._reader(n.field, n.aliases, n.keep) for n in schema.numbers.values()
        ]
        self.categories: list[FieldReader] = [
            self._reader(c.field, c.aliases, c.keep) for c in schema.categories.values()
        ]
        self.known: list[dict[str, float]] = [known.get(name, {}) for name in schema.categories]
        self.labels: LabelReader = LabelReader(schema, self.bounds, self.missing)
        amount = schema.amount
        self.amount: FieldReader | None = (
            self._reader(amount.field, amount.aliases, amount.keep) if amount else None
        )
        self.scale: int = 10**amount.decimals if amount else 1
        self.minimum: float = -MAX_AMOUNT if amount is None or amount.minimum is None else amount.minimum
        self.maximum: float = MAX_AMOUNT if amount is None or amount.maximum is None else amount.maximum
        place = () if schema.place is None else (schema.place.latitude, schema.place.longitude)
        self.position: list[FieldReader] = [self._reader(field, ()) for field in place]

    def parse(self, raw: bytes, identity: str | None = None) -> Transaction | Label:
        """Decode one JSON event; raise RejectError if it can never be decided.

        identity stands in where there is no id: the event's offset in its source, see `identity`.
        """
        event = self.decode(raw)
        if self.is_label(event):
            return self.label(event)
        if identity is None and not self.has_id:
            raise ValueError("an event of a schema without ids is known by its offset: give its identity")
        return self.record(event, identity)

    def is_label(self, event: dict[str, object]) -> bool:
        """Return whether the event is a label; a schema that declares `type` uses that field itself."""
        return self.type_is_free and event.get("type") == LABEL_EVENT

    def decode(self, raw: bytes) -> dict[str, object]:
        """Return the named values of one JSON event; raise RejectError if there are none."""
        if len(raw) > MAX_EVENT_BYTES:
            self.drift.events += 1
            raise self._rejected(RejectError(too_large(raw)))
        try:
            event = msgspec.json.decode(raw)
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            return self._decode_loosely(raw, error)
        if not isinstance(event, dict):
            self.drift.events += 1
            kind = type(event).__name__
            raise self._rejected(RejectError(f"expected a JSON object, got {kind}"))
        return event

    def _decode_loosely(self, raw: bytes, error: Exception) -> dict[str, object]:
        """Read what a strict reader refuses: an undeclared value must not stop a payment."""
        try:
            event = read_object(raw)
        except RejectError as refused:
            self.drift.events += 1
            raise self._rejected(refused) from None
        self.drift.count("loose", "$", self.time_in_hand, BOM_DETAIL if raw[:3] == BOM else str(error))
        return event

    def stored_form(self, raw: bytes) -> bytes:
        """Return what is stored of a payment: all of it; of a large one the declared fields, as read.

        Values that are no text, number or boolean are not stored either: they count as missing.
        """
        if len(raw) <= MAX_STORED_EVENT_BYTES:
            return raw
        declared = {
            name: value
            for name, value in object_of(raw).items()
            if name in self.declared and isinstance(value, (str, int, float))
        }
        # Unlike the quicker encoder it writes whatever was read, NaN and halves of emoji too.
        return json.dumps(declared).encode()

    def record(self, event: dict[str, object], identity: str | None = None) -> Transaction:
        """Read a payment from named values."""
        self.drift.events += 1
        try:
            return self._transaction(event, identity)
        except RejectError as error:
            raise self._rejected(error) from None

    def label(self, event: dict[str, object]) -> Label:
        """Read a label event: the transaction's id, the verdict, and when it became known."""
        self.drift.labels += 1
        try:
            return self._label(event)
        except RejectError as error:
            raise self._rejected(error, LABEL_KIND) from None

    def _label(self, event: dict[str, object]) -> Label:
        verdict = self.labels.verdict(event)
        if verdict is None:
            raise RejectError("a label needs a verdict that the schema declares", f"$.{self.labels.field}")
        known_at = self.labels.stated_known_at(event)
        if known_at is None:
            raise RejectError("a label needs the time it became known", f"$.{self.labels.known_at_field}")
        return Label(
            self._identity(event, None),
            verdict,
            known_at,
            self.labels.source(event),
            happened_at=self.labels.happened_at(event, known_at),
        )

    def _transaction(self, event: dict[str, object], identity: str | None) -> Transaction:
        try:
            time_ms = self._event_time(event)
        finally:
            # Also where the time cannot be read: a field of a new name explains one that is missing.
            unknown = self.drift.count_unknown(event, self.declared, self.time_in_hand)
        return Transaction(
            self._identity(event, identity),
            time_ms,
            self._amount(event, time_ms),
            ids_of(self.entities, self.required, event, time_ms),
            numbers_of(self.numbers, event, time_ms, self.textual),
            categories_of(self.categories, self.known, event, time_ms),
            self._place(event, time_ms),
            self._sent_at(event),
            unknown,
        )

    def _event_time(self, event: dict[str, object]) -> int:
        date_parts = self.schema.event_time.date_parts
        if date_parts is not None:
            values = [
                None if name is None else self._part(event.get(name))
                for name in date_part_columns(date_parts)
            ]
            time_ms = date_of(values, date_parts.year, self.schema.event_time.utc_offset_hours)
            self.bounds.check(time_ms, date_parts.year, "a date")
            self.time_in_hand = time_ms
            return time_ms
        reader = self.time_reader
        value = reader.find(event, self.time_in_hand)
        if value is None:
            raise RejectError("a required value is missing", f"$.{reader.field}")
        try:
            time_ms = self.read_time(value)
        except RejectError as error:
            raise RejectError(error.reason, f"$.{reader.field}") from None
        self.bounds.check(time_ms, reader.field, value)
        self.time_in_hand = time_ms
        if not self.textual and self.schema.event_time.format == "auto" and not isinstance(value, str):
            self.drift.count("repaired", reader.field, time_ms, value)
        return time_ms

    def _part(self, value: object) -> object:
        return None if self.missing.matches(value) else value

    def _identity(self, event: dict[str, object], identity: str | None) -> str:
        if not self.has_id and identity is not None:
            return identity
        reader = self.id_reader
        value = reader.find(event, self.time_in_hand)
        if value is None and identity is not None:
            return identity  # rows without an id are no copies of one another
        text = as_id(value)
        if text is None:
            raise RejectError("a required value is missing or is no id", f"$.{reader.field}")
        return text

    def _amount(self, event: dict[str, object], time_ms: int) -> int | None:
        reader = self.amount
        if reader is None:
            return None
        value = reader.find(event, time_ms)
        if value is None:
            raise RejectError("a required value is missing", f"$.{reader.field}")
        amount = as_number(value)
        if math.isnan(amount) or math.isinf(amount) or isinstance(value, bool):
            raise RejectError(f"expected a number, got {value!r:.60}", f"$.{reader.field}")
        if not self.minimum <= amount <= self.maximum or abs(amount) * self.scale > MAX_AMOUNT:
            bounds = f"{self.minimum:g} .. {self.maximum:g}"
            raise RejectError(f"an impossible amount: {value!r:.60} is outside {bounds}", f"$.{reader.field}")
        if not self.textual and isinstance(value, str):
            self.drift.count("repaired", reader.field, time_ms, value)
        return round(amount * self.scale)

    def _place(self, event: dict[str, object], time_ms: int) -> tuple[float, float] | None:
        if not self.position:
            return None
        latitude, longitude = numbers_of(self.position, event, time_ms, self.textual)
        if math.isnan(latitude) or math.isnan(longitude):
            return None
        if not (-POLE <= latitude <= POLE and -DATE_LINE <= longitude <= DATE_LINE):
            self.drift.count("unreadable", self.position[0].field, time_ms, (latitude, longitude))
            return None
        return (latitude, longitude)

    def _sent_at(self, event: dict[str, object]) -> int | None:
        if self.schema.sent_at is None:
            return None
        number = as_number(event.get(self.schema.sent_at))
        return int(number) if abs(number) < 2**62 else None

    def _rejected(self, error: RejectError, kind: str = "quarantined") -> RejectError:
        self.drift.count(kind, error.path.removeprefix("$."), self.time_in_hand, error.reason)
        return error

    def _reader(self, field: str, aliases: tuple[str, ...], keep: tuple[str, ...] = ()) -> FieldReader:
        return FieldReader(field, aliases, self.drift, self.missing.but(keep) if keep else self.missing)
