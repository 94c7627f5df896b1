"""The lock of a state file, its holder, and whether the file is truncated."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import struct
from pathlib import Path
from urllib.parse import quote

from fraud_detection.adapters.host.file_lock import BusyError, FileLock
from fraud_detection.core.errors import ConfigError

BUSY = "is working with this state file; wait for it or end it, or name another file with --state"
HEADER_BYTES = 100
MAGIC = b"SQLite format 3\0"
MAX_PAGE_BYTES = 65536
LOG_HEADER = struct.Struct(">8xI4x8s8x")
"""Of a log of SQLite (sqlite.org/fileformat2.html): the size of a page, and the salts of this log."""
FRAME_HEADER = struct.Struct(">II8s8x")
"""The number of a page, the size of the database in pages after a commit or 0, and the salts."""
LOCKS = Path("/proc/locks")
OWNER = "SELECT pid, host, since FROM owner"


class StateLock(FileLock):
    """Holds a state file until it is released."""

    def __init__(self, path: Path) -> None:
        """Take the lock; raise ConfigError when there is no file, or somebody else works with it."""
        try:
            super().__init__(path, BUSY, create=False)
        except FileNotFoundError:
            raise ConfigError(missing(path)) from None
        except BusyError:
            raise BusyError(f"{path}: another process{_owner(path.resolve())} {BUSY}") from None

    def missing_bytes(self) -> int:
        """Return how many bytes are gone: those that the file should have by its header, and its log lacks.

        Raise ConfigError where it is no database at all.  Nothing is opened by SQLite, which deletes the log
        of an empty file, and merges a log into what is left of another.
        """
        head, size = os.pread(self.fd, HEADER_BYTES, 0), os.fstat(self.fd).st_size
        if len(head) < HEADER_BYTES and MAGIC.startswith(head[: len(MAGIC)]):
            return HEADER_BYTES - len(head)
        if not head.startswith(MAGIC):
            raise ConfigError(
                f"{self.path}: is no state file, and no database at all; name another with --state"
            )
        stated, pages = int.from_bytes(head[16:18], "big"), int.from_bytes(head[28:32], "big")
        page = MAX_PAGE_BYTES if stated == 1 else stated
        gone = set(range(size // page + 1, pages + 1))
        if gone:
            gone -= pages_of_log(self.path.with_name(f"{self.path.name}-wal"))
        return len(gone) * page


def pages_of_log(path: Path) -> set[int]:
    """Return the pages that are committed in a log of SQLite."""
    committed: set[int] = set()
    begun: set[int] = set()
    if not path.exists():
        return committed
    with path.open("rb") as log:
        head = log.read(LOG_HEADER.size)
        if len(head) < LOG_HEADER.size:
            return committed
        page, salts = LOG_HEADER.unpack(head)
        while len(frame := log.read(FRAME_HEADER.size)) == FRAME_HEADER.size:
            number, commits, of = FRAME_HEADER.unpack(frame)
            if of != salts or len(log.read(page)) < page:
                break
            begun.add(number)
            if commits:
                committed |= begun
    return committed


def missing(path: Path) -> str:
    """Return what to do where there is no state file."""
    return (
        f"{path}: no such state file; put it back if there was one, or make a new one with `fraud state "
        f"create {path} --history FILE` (without --history its profiles are empty)"
    )


def _owner(path: Path) -> str:
    """Return who has locked a file, as the system and the file itself say."""
    pid, row = _locker(path), (0, "", "")
    with contextlib.suppress(sqlite3.Error):
        # Without its log beside it, as under a second name, SQLite would leave a new log there.
        how = "mode=ro" if path.with_name(f"{path.name}-wal").exists() else "immutable=1"
        address = f"file:{quote(str(path))}?{how}"
        with contextlib.closing(sqlite3.connect(address, uri=True, timeout=0)) as db:
            row = db.execute(OWNER).fetchone()
    if not pid or row[0] == pid:
        return f" ({row[0]} on {row[1]}, since {row[2]})" if row[0] else ""
    return f" ({pid})"


def _locker(path: Path) -> int:
    """Return the process that Linux says has locked a file; 0 where nobody knows."""
    with contextlib.suppress(OSError, ValueError):
        end = f":{path.stat().st_ino}"
        for line in LOCKS.read_text().splitlines():
            fields = line.split()
            if fields[1] == "FLOCK" and fields[5].endswith(end):
                return max(int(fields[4]), 0)
    return 0
