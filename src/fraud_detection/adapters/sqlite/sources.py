"""Sources that a state file has read: the current one, and those before it.

A commit stores the offset in the current source with its decisions; a source is stored by itself once another
one follows it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

from fraud_detection.adapters.sqlite.journal import Checkpoint, Entry, SourceOffset
from fraud_detection.core.sources import KnownSource

FORMER = "SELECT 1 FROM sources WHERE path = ? AND name <> ? AND (offset OR name = ?)"
STORE = """
    INSERT INTO sources VALUES (?, ?, ?, ?, ?) ON CONFLICT (name) DO UPDATE SET path = excluded.path"""
KNOWN = "SELECT name, length, fingerprint, offset FROM sources WHERE substr(name, 1, ?) = ?"


class SqliteSources:
    """The sources of one state file.

    offset: in the current source, stored by the next commit.
    """

    def __init__(self, db: sqlite3.Connection, checkpoint: Checkpoint) -> None:
        """Begin at the checkpoint of the last commit."""
        self._db = db
        self.offset: SourceOffset = _offset(checkpoint)
        self._left: SourceOffset | None = None

    def set_offset(self, checkpoint: Checkpoint, source: str, offset: int, fingerprint: str) -> None:
        """Set the offset of a source that the next commit stores.

        checkpoint: of the last commit, whose source is left where this is another one.
        """
        self._left = _offset(checkpoint) if checkpoint.source not in {"", source} else None
        self.offset = (source, offset, fingerprint)

    def pop_left(self) -> SourceOffset | None:
        """Return the offset in the source that was left since the last commit, once."""
        left, self._left = self._left, None
        return left

    def store(self, source: KnownSource, path: str, current: str) -> bool:
        """Store a source and its path, inside a transaction; return whether another was read there before.

        current: name of the source of the last commit.
        """
        row = self._db.execute(FORMER, (path, source.name, current)).fetchone()
        self._db.execute("UPDATE sources SET path = '' WHERE path = ?", (path,))
        self._db.execute(STORE, (source.name, source.length, source.fingerprint, source.offset, path))
        return row is not None

    def known(self, beginning: str, waiting: Iterable[Entry], checkpoint: Checkpoint) -> list[KnownSource]:
        """Return the known sources whose names have a prefix.

        waiting: entries of the journal that are not in the table yet.  checkpoint: of the last commit.
        """
        rows = self._db.execute(KNOWN, (len(beginning), beginning))
        by_name = {row[0]: KnownSource(*row) for row in rows}
        left = [entry.left_source for entry in waiting if entry.left_source is not None]
        for name, offset, fingerprint in (*left, _offset(checkpoint)):
            if name.startswith(beginning):
                by_name[name] = KnownSource(name, offset, fingerprint, offset)
        return list(by_name.values())


def _offset(checkpoint: Checkpoint) -> SourceOffset:
    return checkpoint.source, checkpoint.offset, checkpoint.fingerprint
