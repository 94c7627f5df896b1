"""Guard of a state file: its owner, and whether it is complete, at the start, in each commit, every second.

At the start the file is compared with its commit marker, before anything is written: what was answered and
is gone is said, and the start refused until somebody accepts it.  Each commit checks the owner's epoch in its
own transaction: a process that no longer owns the file cannot commit.  After each commit, and before the
answer, the file must still have a name and its length, and the marker is written.
"""

from __future__ import annotations

import datetime as dt
import logging
import os
import shutil
import socket
import sqlite3
import time
from pathlib import Path

from fraud_detection.adapters.sqlite import commit_marker
from fraud_detection.adapters.sqlite.commit_marker import CommitMarker, MarkerContent, marker_path
from fraud_detection.adapters.sqlite.errors import opening
from fraud_detection.adapters.sqlite.losses import check_complete
from fraud_detection.adapters.sqlite.state_lock import StateLock
from fraud_detection.adapters.sqlite.tables import STATE_ID, meta_value
from fraud_detection.core.errors import ConfigError, RetryError
from fraud_detection.core.hash_chain import START

LOG = logging.getLogger(__name__)

LOOK_EVERY_S = 0.002
OWN = "UPDATE owner SET epoch = epoch + 1, pid = ?, host = ?, since = ? RETURNING epoch"


class StateGuard:
    """Holds a state file for one process.

    path: where it lies, links resolved.  epoch: of this owner, once `own` was called.
    """

    def __init__(self, path: Path, *, synchronous: bool) -> None:
        """Lock the file; raise ConfigError when another process has it, or something that it held is gone."""
        self._lock = StateLock(path)
        try:
            self.path, self.epoch = self._lock.path, 0
            with opening(path):
                check_complete(self._lock, path)
                self._marker = CommitMarker(marker_path(self.path), synchronous=synchronous)
        except BaseException:
            self._lock.release()
            raise
        self._log: int | None = None
        self._sizes, self._marked_seq, self._chain_hash, self._look_at, self._looks = (
            (0, 0),
            -1,
            START,
            0.0,
            True,
        )

    def own(self, db: sqlite3.Connection) -> None:
        """Become the owner: whoever owned it before cannot commit any more."""
        since = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
        row = (os.getpid(), socket.gethostname(), since)
        self.epoch = db.execute(OWN, row).fetchone()[0]
        self._state_id = meta_value(db, STATE_ID)
        self._log = os.open(self._sibling("-wal"), os.O_RDONLY)
        self._sizes = self._sizes_now()

    def check_owner(self, db: sqlite3.Connection) -> None:
        """Raise ConfigError, inside a transaction, when another process has become the owner."""
        epoch, pid, host, since = db.execute("SELECT epoch, pid, host, since FROM owner").fetchone()
        if epoch != self.epoch:
            raise ConfigError(
                f"{self.path}: belongs to another process now ({pid} on {host}, since {since}); nothing more "
                "is committed here"
            )

    def check_intact(self) -> None:
        """Raise RetryError, before a commit, when what is committed now would be in no file that stays.

        A look that was taken within the last two milliseconds is believed: it costs as much as the marker,
        and under load commits follow one another faster.
        """
        at = time.monotonic()
        self._looks = at >= self._look_at
        if not self._looks:
            return
        self._look_at = at + LOOK_EVERY_S
        now = self._sizes_now()
        if now[0] < self._sizes[0] or now[1] < self._sizes[1]:
            raise RetryError(self.look() or f"{self.path}: has lost a part of itself")

    def committed(self) -> None:
        """Store the sizes of the file and its log after a commit that checked them."""
        if self._looks:
            self._sizes = self._sizes_now()

    def mark_committed(self, seq: int, chain_hash: bytes) -> None:
        """Write a committed number to the commit marker; raise RetryError when that fails."""
        if seq != self._marked_seq:
            try:
                self._marker.write(seq, chain_hash, self._state_id)
            except OSError as error:
                raise RetryError(f"{self._marker.path}: cannot be written: {error.strerror}") from error
            self._marked_seq, self._chain_hash = seq, chain_hash

    def look(self) -> str:
        """Return what happened to the file since it was opened, and what to do; empty when it is intact."""
        message = self._gone()
        if not message and not self._marker.is_there:
            self._remake_marker()
        return message

    def flush(self) -> None:
        """Put on disk what was written to the file, without its log."""
        os.fsync(self._lock.fd)

    def close(self) -> None:
        """Let others have the file; SQLite must have closed it before."""
        if self._log is not None:
            os.close(self._log)
        self._marker.close()
        self._lock.release()

    def _gone(self) -> str:
        files = [(self.path, self._lock.fd)]
        files += [] if self._log is None else [(self._sibling("-wal"), self._log)]
        for (path, fd), size in zip(files, self._sizes, strict=False):
            here = os.fstat(fd)
            try:
                there: os.stat_result | None = path.stat()
            except OSError:
                there = None
            if there is None or not os.path.samestat(here, there):
                what = "was removed or moved away" if there is None else "was replaced by another file"
                return f"{path}: {what} while it was in use. {self._advice(here)}"
            if here.st_size < size:
                return f"{path}: was cut short, from {size:,} to {here.st_size:,} bytes. {self._advice(here)}"
        return ""

    def _advice(self, here: os.stat_result) -> str:
        put_back = "Move it back, or end" if here.st_nlink else "End"
        return (
            f"Nothing is answered until it is back. {put_back} this process, put back a copy of it with "
            "its -wal and .marker, and start again; or make a new one with `fraud state create`"
        )

    def _remake_marker(self) -> None:
        LOG.warning("%s: was removed; it is made again", self._marker.path, extra={"event": "marker_remade"})
        path, synchronous = self._marker.path, self._marker.synchronous
        commit_marker.make(path, MarkerContent(0, max(self._marked_seq, 0), self._chain_hash, self._state_id))
        self._marker.close()
        self._marker = CommitMarker(path, synchronous=synchronous)

    def _sizes_now(self) -> tuple[int, int]:
        """Return the sizes of the file and of its log; -1 for one that has no name any more."""
        file = os.fstat(self._lock.fd)
        log = os.fstat(self._log) if self._log is not None else file
        return (file.st_size if file.st_nlink else -1, log.st_size if log.st_nlink else -1)

    def _sibling(self, suffix: str) -> Path:
        return self.path.with_name(self.path.name + suffix)


def copy_state(source: Path, target: Path) -> Path:
    """Copy a state file that nobody has open, with its commit marker; return the copy."""
    shutil.copy(marker_path(source), marker_path(target))
    return Path(shutil.copy(source, target))


def adopt(source: Path, target: Path) -> None:
    """Give a new state file, which is closed, its name; it is on disk when this returns."""
    for path in (source, marker_path(source)):
        with path.open("rb") as file:
            os.fsync(file.fileno())
    marker_path(source).replace(marker_path(target))
    source.replace(target)
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
