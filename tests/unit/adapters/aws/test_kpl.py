"""Aggregates of the Kinesis Producer Library: taken apart in order, or refused for what is broken in them."""

from __future__ import annotations

from base64 import b64decode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraud_detection.adapters.aws.kpl import MAX_EVENTS, AggregateError, Part, is_aggregate, take_apart
from tests.unit.adapters.aws.kpl_aggregates import MAGIC, aggregate, field, message, sealed, varint

BY_THE_LIBRARY = b64decode(
    "84mawgoGY2FyZC0xCgZjYXJkLTIKBGvDqXkSCTEyMzQ1Njc4ORoLCAAaB3sibiI6MX0aHAgBEAAaFnsibiI6Miwibm"
    "FtZSI6ImNhZsOpIn0aDwgAGgsA/yBub3QganNvbhqHAQgCGoIBeHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4"
    "eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eH"
    "h4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eLmOlZ6Bm3+ehwIBROHJa7A="
)
"""What aws-kinesis-agg 1.2.3 made of four events, the second of them with an explicit hash key."""


def test_what_the_published_library_aggregates_is_unpacked_in_order() -> None:
    assert take_apart(BY_THE_LIBRARY) == [
        Part("card-1", b'{"n":1}'),
        Part("card-2", '{"n":2,"name":"café"}'.encode()),
        Part("card-1", b"\x00\xff not json"),
        Part("kéy", b"x" * 130),
    ]


@given(st.lists(st.tuples(st.text("abcé", min_size=1), st.binary(max_size=300)), min_size=1, max_size=20))
def test_each_event_comes_out_as_it_went_in(events: list[tuple[str, bytes]]) -> None:
    assert take_apart(aggregate(events)) == [Part(*event) for event in events]


@given(st.binary(max_size=200))
def test_no_bytes_between_magic_and_checksum_do_more_than_be_refused(content: bytes) -> None:
    data = sealed(content)
    assert is_aggregate(data)
    try:
        parts = take_apart(data)
    except AggregateError as error:
        assert str(error)  # noqa: PT017 - either is right
    else:
        assert sum(len(part.data) for part in parts) < len(data)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (MAGIC + b"short", "too few"),
        (aggregate([("k", b"{}")])[:-1], "checksum"),
        (aggregate([("k", b"{}" * 50)])[:40], "checksum"),
        (sealed(field(1, b"k")), "no event"),
        (sealed(field(1, b"k") + field(3, field(1, 1) + field(3, b"{}"))), "names partition key 1 of 1"),
        (sealed(field(1, b"k") + field(3, field(1, 0))), "no content"),
        (sealed(field(1, b"k") + field(3, 7)), "a number stands"),
        (sealed(field(1, b"\xff") + message([("k", b"")])), "not UTF-8"),
        (sealed(message([("k", b"")]) + varint(3 << 3 | 2) + varint(1 << 60)), "beyond its end"),
        (sealed(b"\x80" * 12), "longer than ten bytes"),
        (sealed(b"\x80"), "has no end"),
        (sealed(b"\x0b"), "unknown kind"),
        (sealed(field(1, b"k") + field(3, field(1, 0) + field(3, b"")) * (MAX_EVENTS + 1)), "more than"),
    ],
)
def test_what_is_broken_is_said(data: bytes, expected: str) -> None:
    with pytest.raises(AggregateError, match=expected):
        take_apart(data)


def test_fields_of_later_versions_are_passed_over() -> None:
    later = varint(9 << 3 | 1) + bytes(8) + varint(10 << 3 | 5) + bytes(4) + field(11, 5) + field(12, b"x")
    assert take_apart(sealed(later + message([("k", b"{}")]))) == [Part("k", b"{}")]
