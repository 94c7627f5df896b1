"""Quarantined events of a state file: equal ones have one row, with a count and its first and last time.

Two are equal when all their bytes are, and they are refused at the same field, as a conflict with the same
payment, or for an error of the program.  The text of the reason is not compared: for a large event it holds
the offset.

An event that comes again from the same origin changes nothing.  Of a merged event nothing is stored but its
origin, 16 bytes of a hash; random identities never come again, and leave not even that.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Sequence

import msgspec

from fraud_detection.core.events import INTERNAL_ERROR, Quarantined
from fraud_detection.core.outcomes import Outcome
from fraud_detection.core.parse.identity import is_random
from fraud_detection.core.parse.oversize import TruncatedEvent

DIGEST_BYTES = 16

_ENCODER = msgspec.msgpack.Encoder()


class Arrival(msgspec.Struct, frozen=True, gc=False):
    """A quarantined event that came.

    row: the number of the row that has it.  at: when it came, in ms since 1970.  digest: of the event.
    origin: a hash of the event
    and its identity; empty where that never comes again.  counted: it came from that origin before.
    """

    row: int
    at: int
    digest: bytes
    origin: bytes
    counted: bool


class SqliteQuarantine:
    """Finds the rows of quarantined events, in the tables and among what is not in them yet."""

    def __init__(self, database: sqlite3.Connection) -> None:
        """Look into the tables of this connection."""
        self._db = database
        self._rows: dict[bytes, int] = {}
        self._origins: set[bytes] = set()
        self._outcomes: Sequence[Outcome] = ()
        self._known_by: Sequence[str | None] | None = None
        self._identities: dict[int, str | None] | None = None
        self._at = 0

    def start_batch(
        self, outcomes: Sequence[Outcome], identities: Sequence[str | None] | None, at: int
    ) -> None:
        """Take what the next batch became, by what its events are known, and when they came, in ms."""
        self._outcomes, self._known_by, self._at = outcomes, identities, at
        self._identities = None

    def arrival(self, outcome: Quarantined, number: int) -> Arrival:
        """Return what is known of an event; it has the row of that number if none has it yet."""
        digest = _digest(outcome)
        row, origin = self._row_of(digest), self._origin_of(outcome, digest)
        counted = bool(origin) and row is not None and self._has(origin)
        if row is None:
            row = self._rows[digest] = number
        if origin:
            self._origins.add(origin)
        return Arrival(row, self._at, digest, origin, counted)

    def flushed(self) -> None:
        """Forget what is in the tables by now."""
        self._rows.clear()
        self._origins.clear()

    def _row_of(self, digest: bytes) -> int | None:
        if digest in self._rows:
            return self._rows[digest]
        row = self._db.execute("SELECT seq FROM quarantine WHERE digest = ?", (digest,)).fetchone()
        return None if row is None else int(row[0])

    def _has(self, origin: bytes) -> bool:
        if origin in self._origins:
            return True
        query = "SELECT 1 FROM quarantine_origins WHERE origin = ?"
        return self._db.execute(query, (origin,)).fetchone() is not None

    def _origin_of(self, outcome: Quarantined, digest: bytes) -> bytes:
        if self._identities is None:
            known_by = self._known_by or [None] * len(self._outcomes)
            pairs = zip(self._outcomes, known_by, strict=True)
            self._identities = {
                id(quarantined): known for quarantined, known in pairs if isinstance(quarantined, Quarantined)
            }
        identity = self._identities.get(id(outcome))
        return b"" if identity is None or is_random(identity) else _hash(digest + identity.encode())


def _digest(outcome: Quarantined) -> bytes:
    raw, failed = outcome.raw, outcome.reason.startswith(INTERNAL_ERROR)
    content = raw.full_sha256 if isinstance(raw, TruncatedEvent) else raw
    return _hash(_ENCODER.encode((outcome.transaction_id, failed, outcome.path, content)))


def _hash(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=DIGEST_BYTES).digest()
