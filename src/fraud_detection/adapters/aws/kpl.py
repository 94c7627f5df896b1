"""Deaggregate records of the Kinesis Producer Library: many events in one record of Kinesis.

An aggregate is four magic bytes, a protobuf message, and the MD5 of that message.  Only that one message is
read here, because a function that starts cold should not have to load protobuf for three kinds of fields.
Whatever a broken aggregate claims, no more is read than its own bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import msgspec

MAGIC = b"\xf3\x89\x9a\xc2"
"""Not UTF-8, so no event of JSON begins so."""
DIGEST_BYTES = 16
MAX_EVENTS = 1 << 16
"""An aggregate of 1 MiB has so many events only if none has more than ten bytes."""
MAX_VARINT_BYTES = 70
KEYS, RECORDS = 1, 3
KEY_INDEX, DATA = 1, 3
"""Explicit hash keys (2 in both) say to which shard an event was to go; it is there already."""
VARINT, FIXED_64, BYTES, FIXED_32 = 0, 1, 2, 5


class AggregateError(ValueError):
    """An aggregate that cannot be taken apart, and why."""


class Part(msgspec.Struct, frozen=True, gc=False):
    """One event of an aggregate, with the partition key that its producer gave."""

    key: str
    data: bytes


def is_aggregate(data: bytes) -> bool:
    """Return whether the bytes of a record begin as an aggregate does.

    >>> is_aggregate(b'{"amount": 1}'), is_aggregate(MAGIC)
    (False, True)
    """
    return data.startswith(MAGIC)


def take_apart(data: bytes) -> list[Part]:
    """Return the events of an aggregate, in their order; raise AggregateError with the reason."""
    message, digest = data[len(MAGIC) : -DIGEST_BYTES], data[-DIGEST_BYTES:]
    if len(data) < len(MAGIC) + DIGEST_BYTES:
        raise AggregateError(f"its {len(data)} bytes are too few to hold a checksum")
    if hashlib.md5(message, usedforsecurity=False).digest() != digest:
        raise AggregateError("its checksum does not fit: it was cut off or changed on the way")
    keys: list[str] = []
    events: list[tuple[int, bytes]] = []
    for field, value in _fields(message):
        if field == KEYS:
            keys.append(_text(value))
        elif field == RECORDS:
            events.append(_record(value))
            if len(events) > MAX_EVENTS:
                raise AggregateError(f"it holds more than {MAX_EVENTS:,} events")
    if not events:
        raise AggregateError("it holds no event")
    return [Part(_key(keys, index), content) for index, content in events]


def _record(value: int | bytes) -> tuple[int, bytes]:
    """Return the index of an event's partition key, and its bytes."""
    index: int | None = None
    content: bytes | None = None
    for field, inner in _fields(_bytes(value)):
        if field == KEY_INDEX and isinstance(inner, int):
            index = inner
        elif field == DATA:
            content = _bytes(inner)
    if index is None or content is None:
        raise AggregateError("one of its events has no partition key or no content")
    return index, content


def _key(keys: list[str], index: int) -> str:
    if index >= len(keys):
        raise AggregateError(f"an event names partition key {index} of {len(keys)}")
    return keys[index]


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yield the number and the value of each field; those of other kinds are passed over."""
    at, end = 0, len(message)
    while at < end:
        tag, at = _varint(message, at)
        kind = tag & 7
        if kind == VARINT:
            number, at = _varint(message, at)
            yield tag >> 3, number
            continue
        if kind == BYTES:
            size, at = _varint(message, at)
        elif kind in (FIXED_64, FIXED_32):
            size = 8 if kind == FIXED_64 else 4
        else:
            raise AggregateError(f"a field of it is of the unknown kind {kind}")
        if at + size > end:
            raise AggregateError("a field of it reaches beyond its end")
        if kind == BYTES:
            yield tag >> 3, message[at : at + size]
        at += size


def _varint(message: bytes, at: int) -> tuple[int, int]:
    """Return a number of seven bits a byte, the lowest first, and where the next field begins."""
    number = 0
    for shift in range(0, MAX_VARINT_BYTES, 7):
        if at >= len(message):
            raise AggregateError("a number of it has no end")
        byte = message[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:  # noqa: PLR2004 - the bit that says that more follows
            return number, at
    raise AggregateError("a number of it is longer than ten bytes")


def _bytes(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise AggregateError("a number stands where bytes should")
    return value


def _text(value: int | bytes) -> str:
    try:
        return _bytes(value).decode()
    except UnicodeDecodeError:
        raise AggregateError("a partition key of it is not UTF-8") from None
