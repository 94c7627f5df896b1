"""Integers as MessagePack, read one after another from bytes and written in pieces.

Compiled code reads an integer here in a few nanoseconds and makes no object of it; decoding a profile by a
library makes hundreds of them.  What is written is written by that library: this only cuts and joins it.

>>> cursor = Cursor(msgspec.msgpack.encode([1, -1, 300, 1 << 40]), 0)
>>> [cursor.integer() for _ in range(cursor.length())]
[1, -1, 300, 1099511627776]
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

if TYPE_CHECKING:
    from mypy_extensions import i64

ENCODER: Final[Any] = msgspec.msgpack.Encoder()

# First bytes of MessagePack (github.com/msgpack/msgpack, spec.md).
MAX_FIX_INTEGER: Final = 0x7F
FIX_ARRAY: Final = 0x90
FIX_STRING: Final = 0xA0
NOTHING_FIXED: Final = 0xC0
FLOAT_64: Final = 0xCB
UINT_8: Final = 0xCC
UINT_16: Final = 0xCD
UINT_32: Final = 0xCE
UINT_64: Final = 0xCF
INT_8: Final = 0xD0
INT_64: Final = 0xD3
STRING_8: Final = 0xD9
ARRAY_16: Final = 0xDC
ARRAY_32: Final = 0xDD
FIX_NEGATIVE: Final = 0xE0
MAX_FIX_ARRAY: Final = 15
MAX_ARRAY_16: Final = 0xFFFF


class Cursor:
    """A place in bytes of MessagePack, which moves on with everything that is read."""

    def __init__(self, content: bytes, at: int) -> None:
        """Begin at an index."""
        self.content: bytes = content
        self.at: i64 = at

    def integer(self) -> int:
        """Read an integer."""
        content = self.content
        at: i64 = self.at
        first: i64 = content[at]
        if first <= MAX_FIX_INTEGER:
            self.at = at + 1
            return first
        if first == UINT_8:
            self.at = at + 2
            return content[at + 1]
        if first == UINT_16:
            self.at = at + 3
            high: i64 = content[at + 1]
            return high << 8 | content[at + 2]
        if first == UINT_32:
            self.at = at + 5
            value: i64 = content[at + 1]
            value = value << 8 | content[at + 2]
            value = value << 8 | content[at + 3]
            return value << 8 | content[at + 4]
        if first == UINT_64 and content[at + 1] <= MAX_FIX_INTEGER:
            self.at = at + 9
            long: i64 = 0
            for index in range(at + 1, at + 9):
                long = long << 8 | content[index]
            return long
        return self._rare(first)

    def length(self) -> int:
        """Read the head of an array; return how many items follow."""
        content = self.content
        at: i64 = self.at
        first: i64 = content[at]
        size: i64 = 0
        if FIX_ARRAY <= first < FIX_STRING:
            self.at = at + 1
            return first - FIX_ARRAY
        if first == ARRAY_16:
            size = 2
        elif first == ARRAY_32:
            size = 4
        else:
            raise ValueError(f"a profile cannot be read: byte {at} is {first:#x}, expected an array")
        self.at = at + 1 + size
        return int.from_bytes(content[at + 1 : at + 1 + size], "big")

    def integers(self) -> list[int]:
        """Read an array of integers."""
        return [self.integer() for _ in range(self.length())]

    def number(self) -> int:
        """Read an integer, or one that is written as text because it is too long."""
        content = self.content
        at: i64 = self.at
        first: i64 = content[at]
        if FIX_STRING <= first < NOTHING_FIXED:
            start, size = at + 1, first - FIX_STRING
        elif first == STRING_8:
            start, size = at + 2, content[at + 1]
        else:
            return self.integer()
        self.at = start + size
        return int(content[start : start + size])

    def real(self) -> float:
        """Read a number with a fraction."""
        # It is rare: the library may do it.
        start = self.at
        self.at = start + 9
        value: float = msgspec.msgpack.decode(self.content[start : start + 9])
        return value

    def _rare(self, first: int) -> int:
        """Read an integer that is negative or takes all bits of eight bytes."""
        at = self.at
        if first >= FIX_NEGATIVE:
            self.at = at + 1
            return first - 256
        if first != UINT_64 and not INT_8 <= first <= INT_64:
            raise ValueError(f"a profile cannot be read: byte {at} is {first:#x}, expected an integer")
        size = 8 if first == UINT_64 else 1 << (first - INT_8)
        self.at = at + 1 + size
        return int.from_bytes(self.content[at + 1 : at + 1 + size], "big", signed=first != UINT_64)


def array_head(length: int) -> bytes:
    """Return what stands before so many items."""
    if length <= MAX_FIX_ARRAY:
        return bytes([FIX_ARRAY + length])
    if length <= MAX_ARRAY_16:
        return b"\xdc" + length.to_bytes(2, "big")
    return b"\xdd" + length.to_bytes(4, "big")


def items(integers: list[int]) -> bytes:
    """Return at most fifteen integers without the head of their array."""
    encoded: bytes = ENCODER.encode(integers)
    return encoded[1:]
