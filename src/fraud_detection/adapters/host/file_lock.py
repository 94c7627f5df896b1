"""One process at a time on a file: an exclusive lock on the file itself, whatever it is called.

The lock belongs to the inode, so a symbolic link, a hard link or another mount of the same file meets it
too, and there is no lock file that somebody could remove.  It is taken by `flock`: POSIX record locks, which
SQLite uses, belong to the process, and all of them go when it closes any descriptor of the file.  For the
same reason the descriptor is opened before SQLite's and closed after them.

The system releases the lock when its owner dies, however it dies.  A forked child closes its copy of the
descriptor, so that it does not hold the file for a parent that is gone.  On NFS the kernel turns `flock` into
a record lock over the whole file, which SQLite's own collide with: a state file belongs on a local disk.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from fraud_detection.adapters.host.private_files import FILE_MODE, make_folder
from fraud_detection.core.errors import ConfigError

_held: dict[tuple[int, int], int] = {}
"""Device and inode of the files that this process has locked, and the descriptors that hold the locks."""


class BusyError(ConfigError):
    """Somebody else has the file."""


class FileLock:
    """Holds a file until it is released.

    path: where it lies, links resolved.  fd: its descriptor.
    """

    def __init__(self, path: Path, busy: str, *, create: bool = True) -> None:
        """Take the lock; raise BusyError when another process has it, ConfigError when it cannot be had.

        busy: what that process does, and what to do about it.  create: make a file that is not there, for its
        owner alone; else FileNotFoundError is raised.
        """
        self.path = path.resolve()
        try:
            if create:
                make_folder(self.path.parent)
            if _is_held(self.path):
                # Not even opened: to close a descriptor would take the locks of whoever has it here.
                raise BusyError(f"{path}: another process {busy}")
            self.fd = os.open(self.path, os.O_RDWR | (os.O_CREAT if create else 0), FILE_MODE)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise ConfigError(f"{path}: cannot be locked: {error}") from None
        try:
            fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self.fd)
            raise BusyError(f"{path}: another process {busy}") from None
        except OSError as error:
            os.close(self.fd)
            raise ConfigError(f"{path}: cannot be locked ({error}); it belongs on a local disk") from None
        self._inode = inode = _inode(os.fstat(self.fd))
        if not self.path.exists() or _inode(self.path.stat()) != inode:
            os.close(self.fd)
            raise BusyError(f"{path}: another process has just replaced it; try again")
        _held[inode] = self.fd

    def release(self) -> None:
        """Let others have it."""
        if _held.get(self._inode) == self.fd:
            del _held[self._inode]
            os.close(self.fd)


def _is_held(path: Path) -> bool:
    return path.exists() and _inode(path.stat()) in _held


def _inode(status: os.stat_result) -> tuple[int, int]:
    return (status.st_dev, status.st_ino)


def _release_in_child() -> None:
    for fd in _held.values():
        os.close(fd)
    _held.clear()


os.register_at_fork(after_in_child=_release_in_child)
