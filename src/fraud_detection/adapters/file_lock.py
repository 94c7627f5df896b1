"""One process at a time: a lock that the system releases when its owner dies, however it dies."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from fraud_detection.errors import ConfigError

BUSY = "is working with this state file; wait for it, or name another with --state"


class FileLock:
    """Holds `<path>.lock` until it is released; the empty file stays behind."""

    def __init__(self, path: Path, busy: str = BUSY) -> None:
        """Take the lock; raise ConfigError when another process has it.

        busy: what that process does, and what to do about it.
        """
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise ConfigError(f"{path}: cannot be locked: {error}") from None
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._file)
            raise ConfigError(f"{path}: another process {busy}") from None

    def release(self) -> None:
        """Let others have it."""
        os.close(self._file)
