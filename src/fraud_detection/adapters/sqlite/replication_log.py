"""What one worker took in of the others' logs: which part of which log, and when in its own order.

Only references are kept, a row for each part; the events stay where they were decided.  A reference has a
number of its own in the follower's log, so a profile knows whether it has seen that part, as it knows of
events.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

import msgspec

TABLES = """
CREATE TABLE IF NOT EXISTS followed (
    seq INTEGER PRIMARY KEY, worker INTEGER NOT NULL, after INTEGER NOT NULL, until INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS followed_worker ON followed (worker, until);
"""


class Followed(msgspec.Struct, frozen=True):
    """The events of a worker's log after number `after`, up to number `until`, taken in as number `seq`."""

    seq: int
    worker: int
    after: int
    until: int


class FollowLog:
    """The table of what was followed, in the follower's own state file."""

    def __init__(self, database: sqlite3.Connection) -> None:
        """Make the table where it is not there yet."""
        self._db = database
        self._db.executescript(f"BEGIN; {TABLES} COMMIT;")

    def note(self, part: Followed) -> None:
        """Put down a part that is about to be taken in; inside a transaction."""
        self._db.execute("INSERT INTO followed VALUES (?,?,?,?)", msgspec.structs.astuple(part))

    def reached(self, worker: int) -> int:
        """Return the number up to which a worker's log was taken in."""
        query = "SELECT MAX(until) FROM followed WHERE worker = ?"
        return int(self._db.execute(query, (worker,)).fetchone()[0] or 0)

    def cut_off(self, worker: int, seq: int) -> None:
        """Forget what was read of a log behind number `seq`: it is not there any more."""
        query = """
            UPDATE followed SET after = MIN(after, :seq), until = :seq
            WHERE worker = :worker AND until > :seq"""
        self._db.execute(query, {"seq": seq, "worker": worker})

    def since(self, seq: int) -> Iterator[Followed]:
        """Yield the parts from number `seq` on, in order."""
        query = "SELECT seq, worker, after, until FROM followed WHERE seq >= ? ORDER BY seq"
        for row in self._db.execute(query, (seq,)):
            yield Followed(*row)
