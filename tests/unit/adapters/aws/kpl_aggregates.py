"""Aggregates as a producer makes them: from the published format, not from the code that reads them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

MAGIC = bytes([0xF3, 0x89, 0x9A, 0xC2])


def varint(number: int) -> bytes:
    """Return a number of seven bits a byte."""
    more = number >> 7
    return bytes([number & 0x7F | (0x80 if more else 0)]) + (varint(more) if more else b"")


def field(number: int, content: bytes | int) -> bytes:
    """Return a field with its tag."""
    if isinstance(content, int):
        return varint(number << 3) + varint(content)
    return varint(number << 3 | 2) + varint(len(content)) + content


def message(events: Sequence[tuple[str, bytes]]) -> bytes:
    """Return the protobuf message of these events, each key once in the table, with hash keys and tags."""
    keys = list(dict.fromkeys(key for key, _ in events))
    table = b"".join(field(1, key.encode()) for key in keys) + field(2, b"12345")
    tag = field(1, b"colour") + field(2, b"blue")
    return table + b"".join(
        field(3, field(1, keys.index(key)) + field(2, 0) + field(3, data) + field(4, tag))
        for key, data in events
    )


def sealed(content: bytes) -> bytes:
    """Return a message between the magic bytes and its checksum."""
    return MAGIC + content + hashlib.md5(content, usedforsecurity=False).digest()


def aggregate(events: Sequence[tuple[str, bytes]]) -> bytes:
    """Return an aggregate of these events."""
    return sealed(message(events))
