"""Which fields of an event the schema declares; any other is unknown."""

from __future__ import annotations

import msgspec

from fraud_detection.core.project_schema import Schema


def declared_fields(schema: Schema) -> set[str]:
    """Return every field that the schema names, by its own name or an alias."""
    sources = [*schema.entities.values(), *schema.numbers.values(), *schema.categories.values()]
    names = {name for source in sources for name in (source.field, *source.aliases)}
    names |= {*schema.ignored, *schema.transaction_id.aliases, *schema.event_time.aliases}
    if schema.amount is not None:
        names |= {schema.amount.field, *schema.amount.aliases}
    if schema.event_time.date_parts is not None:
        names |= {part for part in msgspec.structs.astuple(schema.event_time.date_parts) if part}
    if schema.place is not None:
        names |= {schema.place.latitude, schema.place.longitude}
    if schema.label is not None:
        names |= {schema.label.field, schema.label.known_at or ""}
    names |= {schema.transaction_id.field or "", schema.event_time.field or "", schema.sent_at or ""}
    return {name for name in names if name}
