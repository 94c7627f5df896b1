"""The lock of a state file, who has it, and whether the file is as long as it says itself."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path
from urllib.parse import quote

from fraud_detection.adapters.file_lock import BusyError, FileLock
from fraud_detection.errors import ConfigError

BUSY = "is working with this state file; wait for it or end it, or name another file with --state"
HEADER_BYTES = 100
MAGIC = b"SQLite format 3\0"
LARGEST_PAGE = 65536
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
        """Return how many bytes the file is shorter than it says itself; empty, it lacks its header."""
        head, size = os.pread(self.fd, HEADER_BYTES, 0), os.fstat(self.fd).st_size
        if not head:
            return HEADER_BYTES
        if not head.startswith(MAGIC) or len(head) < HEADER_BYTES:
            return 0
        page, pages = int.from_bytes(head[16:18], "big"), int.from_bytes(head[28:32], "big")
        return max(pages * (LARGEST_PAGE if page == 1 else page) - size, 0)


def missing(path: Path) -> str:
    """Return what to do where there is no state file."""
    return (
        f"{path}: no such state file; put it back if there was one, or make a new one with `fraud state "
        f"create {path} --history FILE` (without --history it remembers nothing)"
    )


def _owner(path: Path) -> str:
    """Return who has locked a file, as the system and the file itself say."""
    pid, row = _locker(path), (0, "", "")
    with contextlib.suppress(sqlite3.Error):
        address = f"file:{quote(str(path))}?mode=ro"
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
            words = line.split()
            if words[1] == "FLOCK" and words[5].endswith(end):
                return max(int(words[4]), 0)
    return 0
