"""Checkpoint SQLite's write-ahead log into its file in the background, so that no commit has to.

Why it is safe.  A checkpoint copies pages from the log into the file; the log stays valid until it begins
anew.  SQLite has the log on disk before the first page is copied, and the file before the log may begin
anew, so a kill or a loss of power in between costs nothing: the next reader takes the pages from the log, and
copying a page again changes nothing.  Readers go on: a page that one of them still has to find as it was is
not copied, and the log does not begin anew under it.

Why it is short for the writer.  A PASSIVE checkpoint waits for nobody, and nobody for it.  Only RESTART takes
the writer's lock: it copies what came meanwhile, flushes the file, and waits until no reader needs the log,
so that the next commit begins it anew.  A PASSIVE one leaves the file unflushed while the writer goes on, so
it is flushed here after each: else RESTART would put thousands of pages on the disk while the writer waits.
The passes leave it little to copy and little to flush; what is not reached then is left for the next look.
Sources: sqlite.org/wal.html and sqlite.org/c3ref/wal_checkpoint_v2.html.

The log belongs to the file that was opened, and SQLite finds it by name: it would delete the log beside an
empty file, and checkpoint it into any other one that has the name by now.  So only that file is opened here.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self
from urllib.parse import quote

from fraud_detection.adapters.host.background import Background, BackgroundTask

LOG = logging.getLogger(__name__)

CHECKPOINTER = "checkpointer"
"""The name of this part of the background work."""
LOOK_EVERY_S = 2.0
WARN_AFTER_S = 30.0
CHECKPOINT_FROM_BYTES = 1 << 26
WAIT_FOR_WRITER_S = 1.0
WAIT_FOR_READERS_MS = 5
PASSES = 5
MAX_BLOCKING_FRAMES = 100
"""A pass that copied no more leaves about as many for the checkpoint that blocks the writer."""


class WalCheckpointer:
    """Works in a thread of `Background`, with a connection of its own.

    Once the log has passed 64 MB it is checkpointed at every look: a restarted log keeps its size.  Nothing
    is lost while it cannot be checkpointed, but it grows; a failure that lasts is logged.
    """

    def __init__(self, path: Path, flush: Callable[[], None]) -> None:
        """Watch the log of the database at `path`, which is there.

        flush: puts on disk what was written to that file.  It has a descriptor of the file already: closing
        one here would release SQLite's locks.
        """
        self._path, self._file, self._flush = path, path.stat(), flush
        self._log = path.with_name(path.name + "-wal")
        self._checkpointed_at = time.monotonic()
        self._warned = False
        self._task = BackgroundTask(CHECKPOINTER)
        self._thread: threading.Thread | None = None

    def start(self, background: Background) -> Self:
        """Begin to work, under that supervisor."""
        self._task = background.register(CHECKPOINTER, essential=False)
        self._thread = background.thread(CHECKPOINTER, self.run)
        return self

    def stop(self) -> None:
        """End after the checkpoint in hand."""
        self._task.stopping.set()
        if self._thread is not None:
            self._thread.join()

    def run(self, task: BackgroundTask) -> None:
        """Look at the size of the log now and then, until it is to end."""
        while not task.stopping.wait(LOOK_EVERY_S):
            self.look()
            task.recovered()

    def look(self) -> None:
        """Checkpoint the log if it is long; a busy, full or damaged file is left for the next look."""
        try:
            reason = self._checkpoint() if self._size() > CHECKPOINT_FROM_BYTES else ""
        except (OSError, sqlite3.Error) as error:
            reason = str(error)
        if not reason:
            self._checkpointed_at, self._warned = time.monotonic(), False
        elif not self._warned and time.monotonic() - self._checkpointed_at >= WARN_AFTER_S:
            self._warned = True
            message = "%s grows: no checkpoint succeeded for %.0f s (%s); nothing is lost so far"
            LOG.warning(message, self._log, WARN_AFTER_S, reason, extra={"event": "log_not_checkpointed"})

    def _size(self) -> int:
        return self._log.stat().st_size if self._log.exists() else 0

    def _checkpoint(self) -> str:
        """Copy most of it beside the writer, then stop it briefly for the rest; return what hinders."""
        if not os.path.samestat(self._file, self._path.stat()):
            return "another file stands in its place"
        address = f"file:{quote(str(self._path))}?mode=rw"
        with contextlib.closing(sqlite3.connect(address, uri=True, timeout=WAIT_FOR_WRITER_S)) as db:
            # The writer goes on meanwhile: each pass leaves the next one less to copy and to flush.
            before = 0
            for _ in range(PASSES):
                frames = db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()[1]
                self._flush()
                # A log that was copied whole between two commits has begun anew by itself.
                if frames - (before if frames >= before else 0) <= MAX_BLOCKING_FRAMES:
                    break
                before = frames
            # Truncating the log would hold the writer up several times as long as restarting it (ADR 21).  So
            # would waiting for whoever reads; the next look tries again.
            db.execute(f"PRAGMA busy_timeout = {WAIT_FOR_READERS_MS:d}")
            busy = db.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()[0]
        return "another process is reading or writing it" if busy else ""
