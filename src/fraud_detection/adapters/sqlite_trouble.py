"""What an error of SQLite means, and what to do about it.

Waiting helps while another process holds the file or its disk is full; it does not where the file is damaged.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fraud_detection.errors import ConfigError, RetryError

PASSING = frozenset((sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL))
DAMAGED = frozenset((sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB))
PRIMARY = 0xFF
"""The part of an error's code that says its kind."""


def passes(error: BaseException | None) -> bool:
    """Return whether waiting may be enough, whatever it was; so it is where nothing is known."""
    return not isinstance(error, sqlite3.Error) or _kind(error) in PASSING


def advice(error: BaseException, database: sqlite3.Connection) -> str | None:
    """Return what is wrong with the file behind a connection, and what to do; None for no error of SQLite."""
    if not isinstance(error, sqlite3.Error):
        return None
    path = database.execute("PRAGMA database_list").fetchone()[2]
    if _kind(error) in DAMAGED:
        return _damaged(path, error)
    if _kind(error) in PASSING:
        return f"{path}: cannot be written ({error}). Make room on the disk, or end what else holds the file"
    return (
        f"{path}: cannot be read or written ({error}, {getattr(error, 'sqlite_errorname', 'no code')}). Look "
        "at its disk and its rights, and start again: what was answered is kept"
    )


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
        "--history PAST`"
    )


def _kind(error: sqlite3.Error) -> int:
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & PRIMARY
