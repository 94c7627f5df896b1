"""What is read by hand is what the library of MessagePack reads."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraud_detection.core.features.packed import Cursor, array_head, items

EDGES = [sign * (1 << bits) + off for bits in range(64) for off in (-1, 0, 1) for sign in (1, -1)]
INTEGERS = st.integers(-(1 << 63), (1 << 64) - 1) | st.sampled_from(
    [edge for edge in EDGES if -(1 << 63) <= edge < 1 << 64]
)


@given(st.lists(INTEGERS, max_size=40))
def test_integers_are_read_as_the_library_wrote_them(integers: list[int]) -> None:
    content = msgspec.msgpack.encode(integers)
    cursor = Cursor(b"before" + content + b"after", len(b"before"))
    assert cursor.integers() == integers
    assert cursor.at == len(b"before") + len(content)


@pytest.mark.parametrize("length", [0, 1, 15, 16, 300, 65_535, 65_536])
def test_the_head_of_an_array_is_that_of_the_library(length: int) -> None:
    content = msgspec.msgpack.encode([0] * length)
    assert array_head(length) + bytes(length) == content
    assert Cursor(content, 0).length() == length


@given(st.lists(INTEGERS, max_size=15))
def test_items_are_what_follows_the_head(integers: list[int]) -> None:
    assert array_head(len(integers)) + items(integers) == msgspec.msgpack.encode(integers)


@given(st.integers(0, 1 << 300), st.floats(allow_nan=False))
def test_numbers_of_streams_and_fractions_are_read(number: int, real: float) -> None:
    content = msgspec.msgpack.encode([str(number), min(number, (1 << 64) - 1), real])
    cursor = Cursor(content, 0)
    cursor.length()
    assert (cursor.number(), cursor.number(), cursor.real()) == (number, min(number, (1 << 64) - 1), real)


@pytest.mark.parametrize("other", [None, True, 0.5, "text", {}])
def test_what_is_no_integer_or_no_array_is_refused(other: object) -> None:
    content = msgspec.msgpack.encode(other)
    with pytest.raises(ValueError, match="cannot be read: byte 0 is 0x"):
        Cursor(content, 0).integer()
    with pytest.raises(ValueError, match="expected an array"):
        Cursor(content, 0).length()
