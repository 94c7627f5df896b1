"""The chain of what a state file has kept: each row carries a hash over itself and the row before it.

Whoever changes, removes or adds a row breaks it there, or has to make every later link anew; then the last
link is no longer the one that somebody noted elsewhere.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator, Sequence

import msgspec

START = b""
"""Before the first link."""

ROWS = """
    SELECT seq, 0, seq, transaction_id, event_time, action, score, reasons, policy, bundle, entities, event,
           features, setup, instead_of, share, chain FROM decisions
    UNION ALL
    SELECT seq, 1, transaction_id, fraud, known_at, source, corrects, happened_at, noted,
           NULL, NULL, NULL, NULL, NULL, NULL, NULL, chain FROM labels
    UNION ALL
    SELECT seq, 2, reason, path, event,
           NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, chain FROM quarantine
    ORDER BY 1"""
KINDS = ("decision", "label", "refused event")

_ENCODER = msgspec.msgpack.Encoder()


class Link(msgspec.Struct, frozen=True):
    """One row of the chain: its number, what it is, the link it carries, and the one it should carry."""

    seq: int
    kind: str
    carried: bytes
    expected: bytes


def link(before: bytes, row: Sequence[object]) -> bytes:
    """Return the link of a row, 32 bytes.

    >>> link(START, (1, "t1")) == link(START, (1, "t1")), link(START, (1, "t1")) == link(b"x", (1, "t1"))
    (True, False)
    """
    return hashlib.blake2b(before + _ENCODER.encode(row), digest_size=32).digest()


def label_content(  # noqa: PLR0913, PLR0917 - the columns of a row
    seq: int,
    transaction_id: str,
    fraud: bool,  # noqa: FBT001 - a column
    known_at: int,
    source: str,
    corrects: int | None,
    happened_at: int | None,
    noted: bool,  # noqa: FBT001 - a column
) -> tuple[object, ...]:
    """Return what of a label is linked: all but the number at which it was applied, which may come later."""
    return (seq, transaction_id, int(fraud), known_at, source, corrects, happened_at, int(noted))


def links(db: sqlite3.Connection) -> Iterator[Link]:
    """Yield every row of the tables in order; after a broken one the chain goes on from what it carries."""
    before = START
    for seq, kind, *row, carried in db.execute(ROWS):
        expected = link(before, _content(kind, seq, row))
        yield Link(seq, KINDS[kind], carried, expected)
        before = carried


def _content(kind: int, seq: int, row: list[object]) -> Sequence[object]:
    if kind == 0:
        return row
    return (seq, *row[:7]) if kind == 1 else (seq, *row[:3])
