"""The declared content of a payment: what has to agree where two events have the same id.

When an event was sent is no content: a copy is sent later.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import msgspec

from fraud_detection.core.events import Transaction
from fraud_detection.core.project_schema import Schema

DIGEST_BYTES = 16


def content_digest(payment: Transaction) -> bytes:
    """Return a digest of the declared content, equal for equal content.

    >>> from math import nan
    >>> one, copy = Transaction("t1", 7, 100, ("c1",), (nan,)), Transaction("t2", 7, 100, ("c1",), (nan,))
    >>> content_digest(one) == content_digest(copy)
    True
    """
    return hashlib.blake2b(msgspec.msgpack.encode(_content(payment)), digest_size=DIGEST_BYTES).digest()


def differing_fields(schema: Schema, first: Transaction, second: Transaction) -> tuple[str, ...]:
    """Return the declared fields in which two payments differ, by their names in an event."""
    if _content(first) == _content(second):
        return ()
    pairs = zip(_values(schema, first), _values(schema, second), strict=True)
    return tuple(name for (name, mine), (_, yours) in pairs if mine != yours)


def _content(payment: Transaction) -> tuple[object, ...]:
    numbers = tuple(_number(number) for number in payment.numbers)
    return (
        payment.event_time,
        payment.amount,
        payment.entities,
        numbers,
        payment.categories,
        payment.place and tuple(_number(number) for number in payment.place),
    )


def _number(value: float) -> float | None:
    """Return a number that is equal to itself, and 0 without a sign."""
    return None if value != value else value + 0.0  # noqa: PLR0124 - NaN is not itself


def _values(schema: Schema, payment: Transaction) -> Iterator[tuple[str, object]]:
    time_fields = schema.event_time
    yield (
        time_fields.field or (time_fields.date_parts.year if time_fields.date_parts else "event_time"),
        (payment.event_time),
    )
    yield schema.amount.field if schema.amount else "amount", payment.amount
    yield from zip([source.field for source in schema.entities.values()], payment.entities, strict=True)
    yield from zip(
        [source.field for source in schema.numbers.values()], map(_number, payment.numbers), strict=True
    )
    yield from zip([source.field for source in schema.categories.values()], payment.categories, strict=True)
    if schema.place is not None:
        latitude, longitude = payment.place or (None, None)
        yield schema.place.latitude, latitude
        yield schema.place.longitude, longitude
