"""Decisions of shadow challengers, in a file beside the state file whose log they read.

The offset reached in the log of decisions is committed with what was decided up to it: a process that is
killed goes on where it was, and decides nothing twice.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path

import msgspec

from fraud_detection.adapters.host.file_lock import FileLock
from fraud_detection.adapters.sqlite.connection import WAIT_FOR_LOCK_S
from fraud_detection.core.errors import ConfigError

BUSY = "lets shadows follow this state file; end it, or wait for it"
FORMAT = 2
SUFFIX = ".shadows"
TABLES = """
CREATE TABLE decided (
    config_id TEXT NOT NULL, seq INTEGER NOT NULL, transaction_id TEXT NOT NULL, event_time INTEGER NOT NULL,
    action INTEGER NOT NULL, score REAL, reasons TEXT NOT NULL, us REAL NOT NULL, PRIMARY KEY (config_id, seq)
) WITHOUT ROWID;
CREATE TABLE offsets (config_id TEXT PRIMARY KEY, first INTEGER NOT NULL, seq INTEGER NOT NULL) WITHOUT ROWID;
"""
OWN_ROWS = """
CREATE TABLE IF NOT EXISTS own_rows (
    config_id TEXT NOT NULL, seq INTEGER NOT NULL, features BLOB NOT NULL, PRIMARY KEY (config_id, seq)
) WITHOUT ROWID;
"""
STORED_ROWS = 500
"""Rows stored of each shadow with its own features: enough to score its latest payments again."""
FORGET = """
    DELETE FROM own_rows WHERE config_id = :config_id AND seq <= (
        SELECT seq FROM own_rows WHERE config_id = :config_id ORDER BY seq DESC LIMIT 1 OFFSET :stored)"""


class ShadowDecision(msgspec.Struct, frozen=True):
    """A decision of a shadow.

    seq: number of the payment in the log of decisions.  reasons: their codes.  us: how long scoring and
    deciding took, a payment, in microseconds.
    """

    seq: int
    transaction_id: str
    event_time: int
    action: int
    score: float | None
    reasons: tuple[str, ...]
    us: float


def shadow_path(state: Path) -> Path:
    """Return the path of the shadow file of a state file."""
    return state.with_name(state.name + SUFFIX)


class ShadowLog:
    """One file, with one writer at a time and any number of readers."""

    def __init__(self, path: Path, *, reading: bool = False) -> None:
        """Open or create the file; raise ConfigError when it is something else, or another process writes."""
        if reading and not path.is_file():
            raise _nothing_here(path)
        self._lock = None if reading else FileLock(path, BUSY)
        try:
            self._db = sqlite3.connect(path, timeout=WAIT_FOR_LOCK_S, isolation_level=None)
            if not reading:
                self._db.execute("PRAGMA journal_mode = WAL")
                self._db.execute("PRAGMA synchronous = NORMAL")
            self._prepare(path, reading=reading)
        except sqlite3.DatabaseError as error:
            raise ConfigError(f"{path}: cannot be used for shadows: {error}") from None

    def close(self) -> None:
        """Close the file."""
        self._db.close()
        if self._lock is not None:
            self._lock.release()

    def decided_until(self, config_id: str, first: int) -> int:
        """Return the last number that a shadow has decided; a new one begins after `first`."""
        self._db.execute("INSERT OR IGNORE INTO offsets VALUES (?, ?, ?)", (config_id, first, first))
        query = "SELECT seq FROM offsets WHERE config_id = ?"
        return int(self._db.execute(query, (config_id,)).fetchone()[0])

    def store(
        self,
        config_id: str,
        decisions: Sequence[ShadowDecision],
        reached: int,
        own_rows: Sequence[tuple[int, bytes]] = (),
    ) -> None:
        """Commit decisions together with the offset reached.

        own_rows: numbers of payments, and features (64-bit floats) that the shadow has made of them itself.
        """
        rows = [
            (
                config_id,
                decision.seq,
                decision.transaction_id,
                decision.event_time,
                decision.action,
                decision.score,
                _text(decision),
                decision.us,
            )
            for decision in decisions
        ]
        with self._db:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.executemany("INSERT INTO decided VALUES (?,?,?,?,?,?,?,?)", rows)
            self._db.execute("UPDATE offsets SET seq = ? WHERE config_id = ?", (reached, config_id))
            if own_rows:
                made = [(config_id, *row) for row in own_rows]
                self._db.executemany("INSERT INTO own_rows VALUES (?,?,?)", made)
                self._db.execute(FORGET, {"config_id": config_id, "stored": STORED_ROWS})

    def config_ids(self) -> list[str]:
        """Return the config ids of the shadows in this file."""
        return [row[0] for row in self._db.execute("SELECT config_id FROM offsets ORDER BY first, config_id")]

    def decisions(self, config_id: str, since_ms: int = 0) -> list[ShadowDecision]:
        """Return the decisions of a shadow on payments from a time on, in order of the log."""
        query = """
            SELECT seq, transaction_id, event_time, action, score, reasons, us FROM decided
            WHERE config_id = ? AND event_time >= ? ORDER BY seq"""
        return [
            ShadowDecision(seq, transaction_id, time_ms, action, score, tuple(reasons.split()), us)
            for seq, transaction_id, time_ms, action, score, reasons, us in self._db.execute(
                query, (config_id, since_ms)
            )
        ]

    def own_rows(self, config_id: str) -> dict[int, bytes]:
        """Return the features that a shadow computed, of its latest `STORED_ROWS` payments by number."""
        if not self._db.execute("SELECT 1 FROM sqlite_master WHERE name = 'own_rows'").fetchone():
            return {}
        return dict(self._db.execute("SELECT seq, features FROM own_rows WHERE config_id = ?", (config_id,)))

    def _prepare(self, path: Path, *, reading: bool) -> None:
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        if version == 0 and not self._db.execute("SELECT 1 FROM sqlite_master").fetchone():
            if reading:
                self._db.close()
                raise _nothing_here(path)
            self._db.executescript(f"BEGIN; {TABLES} PRAGMA user_version = {FORMAT}; COMMIT;")
        elif version != FORMAT:
            raise ConfigError(
                f"{path}: holds no shadows of this version (found {version}, expected {FORMAT}); move it "
                "away, and `fraud shadow` makes a new one"
            )
        if not reading:
            self._db.execute(OWN_ROWS)


def _nothing_here(path: Path) -> ConfigError:
    return ConfigError(
        f"{path}: no shadow has decided anything here; name one with `fraud release shadow`, and let "
        "`fraud shadow` run beside the service"
    )


def _text(decision: ShadowDecision) -> str:
    return " ".join(decision.reasons)
