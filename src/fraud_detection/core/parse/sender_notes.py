"""Notes of a response for its sender, besides the decision: unknown fields, and entities that are missing.

A misspelt key is decided all the same, without that entity; only the response can show it.
"""

from __future__ import annotations

import difflib

import msgspec

from fraud_detection.core.events import Decision, Transaction
from fraud_detection.core.parse.declared_fields import declared_fields
from fraud_detection.core.parse.drift import MAX_UNKNOWN_FIELDS
from fraud_detection.core.project_schema import Schema

MAX_KNOWN_FIELDS = 1_000
"""So many names are compared with the declared ones; hostile names must not cost time for ever."""
CLOSE = 0.8


class Notes:
    """Adds notes to the decisions that need some; most need none, and are returned as they are.

    >>> from fraud_detection.core.project_schema import EntitySource, TimeSource
    >>> from fraud_detection.core.events import Action
    >>> schema = Schema(TimeSource(field="at"), entities={"card": EntitySource(field="ENTITY_ID")})
    >>> bare = Decision("t1", Action.APPROVE, 0.1, (), "p", "b")
    >>> Notes(schema).on(Transaction("t1", 5, None, (None,), unknown=("ENTITTY_ID",)), bare).notes
    ('unknown field `ENTITTY_ID` (did you mean `ENTITY_ID`?)', 'no card: `ENTITY_ID` is missing')
    """

    def __init__(self, schema: Schema) -> None:
        """Resolve the schema once."""
        self._missing = [
            f"no {name}: `{entity.field}` is missing" for name, entity in schema.entities.items()
        ]
        self._declared = {name.lower(): name for name in sorted(declared_fields(schema))}
        self._known: dict[str, str] = {}

    def on(self, payment: Transaction, decision: Decision) -> Decision:
        """Return the decision on a payment, with notes where there are any."""
        if not payment.unknown and None not in payment.entities:
            return decision
        notes = [self._unknown(name) for name in payment.unknown[:MAX_UNKNOWN_FIELDS]]
        if len(payment.unknown) > MAX_UNKNOWN_FIELDS:
            notes.append("more fields are unknown")
        notes += [
            message
            for message, entity_id in zip(self._missing, payment.entities, strict=True)
            if entity_id is None
        ]
        return msgspec.structs.replace(decision, notes=tuple(notes))

    def _unknown(self, name: str) -> str:
        known = self._known.get(name)
        if known is not None:
            return known
        # What is no text in UTF-8 could not be written.
        message = f"unknown field `{name.encode(errors='replace').decode()}`"
        if len(self._known) >= MAX_KNOWN_FIELDS:
            return message
        near = difflib.get_close_matches(name.lower(), self._declared, 1, CLOSE)
        self._known[name] = message + (f" (did you mean `{self._declared[near[0]]}`?)" if near else "")
        return self._known[name]
