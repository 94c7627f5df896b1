"""What an error of SQLite means, and what to do about it.

Waiting helps while another process holds the file or its disk cannot be written: to end would not mend the
disk, and the next start would be refused.  It does not help where the file is damaged.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fraud_detection.core.errors import ConfigError, RetryError

HELD_OR_FULL = frozenset((sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL))
ILL = frozenset((sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM))
"""A disk that is read-only, over its quota, failing or out of reach."""
DAMAGED = frozenset((sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB))
PRIMARY = 0xFF
"""The part of an error's code that says its kind."""


def passes(error: sqlite3.Error) -> bool:
    """Return whether waiting may be enough; what else cannot be written is a bug, or a damaged file."""
    return _kind(error) in HELD_OR_FULL | ILL


def advice(error: BaseException, database: sqlite3.Connection) -> str | None:
    """Return what is wrong with the file behind a connection, and what to do; None for any other error."""
    if not isinstance(error, sqlite3.Error):
        return None
    path = database.execute("PRAGMA database_list").fetchone()[2]
    if _kind(error) in DAMAGED:
        return _damaged(path, error)
    if _kind(error) in HELD_OR_FULL:
        return f"{path}: cannot be written ({error}). Make room on the disk, or end what else holds the file"
    if _kind(error) in ILL:
        return (
            f"{path}: cannot be read or written ({error}, {error.sqlite_errorname}). Look at its disk "
            "(read-only, over its quota, failing) and its rights; what was answered is stored"
        )
    return None


@contextmanager
def opening(path: Path) -> Iterator[None]:
    """Raise ConfigError, with what to do, where a file is of no use as a state file."""
    try:
        yield
    except (sqlite3.DatabaseError, OSError) as error:
        # What is no database at all is more likely another file than a damaged one.
        if isinstance(error, sqlite3.Error) and _kind(error) == sqlite3.SQLITE_CORRUPT:
            raise ConfigError(_damaged(path, error)) from None
        raise ConfigError(f"{path}: cannot be used as a state file: {error}") from None


@contextmanager
def reading(whose: str) -> Iterator[None]:
    """Raise RetryError, with whose file it is, where a file that another process writes cannot be read."""
    try:
        yield
    except sqlite3.Error as error:
        raise RetryError(f"{whose} cannot be read: {error}") from error


def _damaged(path: Path | str, error: sqlite3.Error) -> str:
    return (
        f"{path}: is damaged ({error}). Put a copy back, or save what can be read "
        f"(`sqlite3 {path} .recover | sqlite3 NEW`), or make a new one with `fraud state create FILE "
        "--history PAYMENTS`"
    )


def _kind(error: sqlite3.Error) -> int:
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & PRIMARY
