"""A folder for the files of one run, removed with the run, or by the next one where it was killed."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from fraud_detection.adapters.host.file_lock import BusyError, FileLock

PREFIX = ".fraud-run-"
LOCK = "lock"


@contextmanager
def scratch_folder(parent: Path) -> Iterator[Path]:
    """Make a folder in `parent`, and remove it; first remove those of processes that were killed.

    Whose folder it is says a lock on a file in it, which the system releases however a process dies.
    """
    remove_left(parent)
    with TemporaryDirectory(prefix=PREFIX, dir=parent, ignore_cleanup_errors=True) as name:
        lock = FileLock(Path(name) / LOCK, "uses this folder")
        try:
            yield Path(name)
        finally:
            lock.release()


def remove_left(parent: Path) -> None:
    """Remove the folders in `parent` of processes that were killed."""
    for folder in parent.glob(f"{PREFIX}*"):
        _remove_if_left(folder)


def _remove_if_left(folder: Path) -> None:
    try:
        lock = FileLock(folder / LOCK, "uses this folder", create=False)
    except (BusyError, FileNotFoundError):
        return  # its process works, or has just made or removed it
    shutil.rmtree(folder, ignore_errors=True)
    lock.release()
