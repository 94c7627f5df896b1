"""Replication log of a worker: which part of which other worker's log it applied, in its own order.

Only references are stored, a row for each part; the events stay where they were decided.  A reference has a
sequence number in this worker's log, so a profile knows whether it includes that part, as it does for events.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

import msgspec

TABLES = """
CREATE TABLE IF NOT EXISTS replication_log (
    seq INTEGER PRIMARY KEY, worker INTEGER NOT NULL, after INTEGER NOT NULL, until INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS replication_log_worker ON replication_log (worker, until);
"""


class ReplicationEntry(msgspec.Struct, frozen=True):
    """The events of a worker's log after number `after`, up to number `until`, applied as number `seq`."""

    seq: int
    worker: int
    after: int
    until: int


class ReplicationLog:
    """The replication log in a worker's own state file."""

    def __init__(self, database: sqlite3.Connection) -> None:
        """Make the table where it is not there yet."""
        self._db = database
        self._db.executescript(f"BEGIN; {TABLES} COMMIT;")

    def append(self, entry: ReplicationEntry) -> None:
        """Append a part that is about to be applied; inside a transaction."""
        self._db.execute("INSERT INTO replication_log VALUES (?,?,?,?)", msgspec.structs.astuple(entry))

    def reached(self, worker: int) -> int:
        """Return the last number that was applied of a worker's log."""
        query = "SELECT MAX(until) FROM replication_log WHERE worker = ?"
        return int(self._db.execute(query, (worker,)).fetchone()[0] or 0)

    def cut_off(self, worker: int, seq: int) -> None:
        """Drop the entries of a log after number `seq`, which it has lost."""
        query = """
            UPDATE replication_log SET after = MIN(after, :seq), until = :seq
            WHERE worker = :worker AND until > :seq"""
        self._db.execute(query, {"seq": seq, "worker": worker})

    def since(self, seq: int) -> Iterator[ReplicationEntry]:
        """Yield the parts from number `seq` on, in order."""
        query = "SELECT seq, worker, after, until FROM replication_log WHERE seq >= ? ORDER BY seq"
        for row in self._db.execute(query, (seq,)):
            yield ReplicationEntry(*row)
