"""Hash chain of a state file: each row carries a SHA-256 over itself and the hash of the row before.

Changing, removing or adding a row breaks the chain there, unless every later hash is recomputed; then the
chain head is no longer the one that was anchored elsewhere.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import cast

import msgspec

START = b""
"""Before the first row."""

ROWS = """
    SELECT seq, 0, seq, transaction_id, event_time, action, score, reasons, policy, bundle, entities, event,
           features, config_id, counterfactual_action, sampling_rate, caller, notes, chain FROM decisions
    UNION ALL
    SELECT seq, 1, transaction_id, fraud, known_at, source, supersedes_known_at, happened_at, redundant,
           caller, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, chain FROM labels
    UNION ALL
    SELECT seq, 2, reason, path, event, transaction_id,
           NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, chain FROM quarantine
    ORDER BY 1"""
KINDS = ("decision", "label", "quarantined event")

_ENCODER = msgspec.msgpack.Encoder()
# SHA-256, for which processors have instructions; a copy costs less than to look for the algorithm again.
_EMPTY = hashlib.sha256()


class ChainEntry(msgspec.Struct, frozen=True):
    """One row of the chain: its number, its kind, the hash it carries, and the hash it should carry.

    about: the payment; of a quarantined event the reason.  config_id: of a decision; else empty.
    """

    seq: int
    kind: str
    about: str
    config_id: str
    carried: bytes
    expected: bytes


def chain_hash(previous: bytes, row: Sequence[object]) -> bytes:
    """Return the chain hash of a row, 32 bytes: SHA-256 over the previous hash and the row.

    >>> first = chain_hash(START, (1, "t1"))
    >>> first == chain_hash(START, (1, "t1")), first == chain_hash(b"x", (1, "t1"))
    (True, False)
    """
    made = _EMPTY.copy()
    made.update(previous + _ENCODER.encode(row))
    return made.digest()


def label_content(  # noqa: PLR0913, PLR0917 - the columns of a row
    seq: int,
    transaction_id: str,
    fraud: bool,  # noqa: FBT001 - a column
    known_at: int,
    source: str,
    supersedes_known_at: int | None,
    happened_at: int | None,
    redundant: bool,  # noqa: FBT001 - a column
    caller: str,
) -> tuple[object, ...]:
    """Return the columns of a label that are hashed: all but the number at which it was applied."""
    return (
        seq,
        transaction_id,
        int(fraud),
        known_at,
        source,
        supersedes_known_at,
        happened_at,
        int(redundant),
        caller,
    )


def chain_entries(db: sqlite3.Connection, waiting: Iterable[Sequence[object]] = ()) -> Iterator[ChainEntry]:
    """Yield every row in order; after a tampered row the chain continues from the hash that it carries.

    waiting: rows that are not in the tables yet, as `ROWS` has them, where columns may be fewer.
    """
    previous = START
    for row in chain(db.execute(ROWS), waiting):
        kind, carried = cast("int", row[1]), row[-1]
        expected = chain_hash(previous, _content(kind, row))
        # Of what is no link at all nothing can follow: the next row is checked as if this one were intact.
        previous = carried if isinstance(carried, bytes) else expected
        yield ChainEntry(
            cast("int", row[0]),
            KINDS[kind],
            str(row[3] if kind == 0 else row[2]),
            str(row[13]) if kind == 0 else "",
            carried if isinstance(carried, bytes) else START,
            expected,
        )


def _content(kind: int, row: Sequence[object]) -> Sequence[object]:
    if kind == 0:
        return row[2:-1]
    return (row[0], *row[2:10]) if kind == 1 else (row[0], *row[2:6])


def as_text(raw: bytes) -> str | bytes:
    r"""Return text as SQLite stores it; what is no valid text any more stays bytes, and breaks the chain.

    >>> as_text(b"t1"), as_text(b"t\xff")
    ('t1', b't\xff')
    """
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw
