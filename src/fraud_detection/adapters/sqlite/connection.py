"""An open state file: its connection, owner and transactions, and whether it still exists.

What is stored in it, and in which order, is in `state_file`.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, cast
from urllib.parse import quote

import msgspec

from fraud_detection.adapters.sqlite.errors import opening, passes
from fraud_detection.adapters.sqlite.state_guard import StateGuard
from fraud_detection.adapters.sqlite.state_lock import missing
from fraud_detection.adapters.sqlite.tables import check_format
from fraud_detection.core.errors import ConfigError, RetryError

P = ParamSpec("P")
T = TypeVar("T")

WAIT_FOR_LOCK_S = 5.0
LOOK_EVERY_S = 0.0002
MAPPED_BYTES = 1 << 30


class StateConnection:
    """One state file with one writer at a time, and any number of readers beside it."""

    def __init__(self, path: Path, *, synchronous: str, reading: bool, wait_s: float) -> None:
        """Open the file; raise ConfigError when it is another's, no state file, or has lost answers."""
        self.path, self._reading, self._wait_s = path, reading, wait_s
        # Whether a commit has failed: what it should have stored goes before anything new.
        self._failed, self._error = False, ""
        if not path.is_file():
            raise ConfigError(missing(path))
        self._guard = None if reading else StateGuard(path, synchronous=synchronous.upper() == "FULL")
        self._connection: sqlite3.Connection | None = None
        try:
            with opening(path):
                self._db = self._connection = self._connect(synchronous)
        except BaseException:
            self._release()
            raise

    @property
    def database(self) -> sqlite3.Connection:
        """Return the connection, for tables of other adapters that are committed with these."""
        return self._db

    def meta(self, key: str, default: Any) -> Any:  # noqa: ANN401 - each key has a type of its own
        """Return the value committed under `key`."""
        row = self._db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return default if row is None else msgspec.msgpack.decode(row[0])

    def put_meta(self, key: str, value: object) -> None:
        """Set a value; part of the transaction that is open, if one is."""
        self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, msgspec.msgpack.encode(value)))

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit everything inside together, or nothing; raise RetryError when that cannot be now.

        Raises ConfigError when the file belongs to another process by now.
        """
        self._owned.check_intact()
        try:
            self._patiently(self._db.execute, "BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if not passes(error):
                raise
            raise RetryError(f"the state file is busy: {error}; is another process writing to it?") from error
        try:
            self._owned.check_owner(self._db)
            yield
            self._db.execute("COMMIT")
            self._owned.committed()
        except sqlite3.OperationalError as error:
            if not passes(error):
                raise
            raise RetryError(f"the state file cannot be written: {error}") from error
        finally:
            # SQLite itself takes back what it could not write, but not always.
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")

    @property
    def failed(self) -> bool:
        """Return whether a commit has failed, or the file is gone."""
        return self._failed or bool(self._error)

    def look(self) -> str:
        """Return what happened to the file while it is open, and what to do; empty when it is intact.

        Until it is well again nothing is answered.
        """
        self._error = self._owned.look()
        return self._error

    @property
    def _owned(self) -> StateGuard:
        if self._guard is None:
            raise ValueError(f"{self.path}: was opened for reading")
        return self._guard

    def _connect(self, synchronous: str) -> sqlite3.Connection:
        bind_quickly()
        address = f"file:{quote(str(self.path.resolve()))}?mode=rw"
        db = sqlite3.connect(address, uri=True, timeout=self._wait_s, isolation_level=None)
        try:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute(f"PRAGMA synchronous = {synchronous}")
            db.execute("PRAGMA cache_size = -65536")
            db.execute(f"PRAGMA mmap_size = {MAPPED_BYTES:d}")
            # `WalCheckpointer` does it, so that no payment waits for it.
            db.execute("PRAGMA wal_autocheckpoint = 0")
            check_format(db, self.path)
            if self._guard is not None:
                self._guard.own(db)
                db.execute("PRAGMA busy_timeout = 0")
        except BaseException:
            db.close()
            raise
        return db

    def _release(self) -> None:
        """Close SQLite's descriptors, and only then the one that holds the lock."""
        if self._connection is not None:
            self._connection.close()
        if self._guard is not None:
            self._guard.close()

    def _patiently(self, write: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do a first write; it has to wait while another process, or a checkpoint, holds the file.

        SQLite itself would sleep for longer and longer, and oversleep the end of a short wait.
        """
        until = 0.0
        while True:
            try:
                return write(*args, **kwargs)
            except sqlite3.OperationalError as error:
                until = until or time.monotonic() + self._wait_s
                if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                    raise
                time.sleep(LOOK_EVERY_S)


def bind_quickly() -> None:
    """Let `sqlite3` take bytes and None as they are: to find that nobody adapts them costs it much more."""
    sqlite3.register_adapter(bytes, bytes)
    sqlite3.register_adapter(type(None), cast("Callable[[None], None]", {}.get))
