"""Find what a state file has lost of what was answered, and let it go on without that if somebody accepts it.

The file is compared with its commit marker.  Not here: what happens to a file in use (`state_guard`).
"""

from __future__ import annotations

import datetime as dt
import sqlite3
from contextlib import closing
from pathlib import Path

import msgspec

from fraud_detection.adapters.sqlite import commit_marker, journal
from fraud_detection.adapters.sqlite.commit_marker import MarkerContent, marker_path
from fraud_detection.adapters.sqlite.errors import opening
from fraud_detection.adapters.sqlite.journal import Checkpoint, Entry
from fraud_detection.adapters.sqlite.state_lock import StateLock
from fraud_detection.adapters.sqlite.state_reader import open_to_read
from fraud_detection.adapters.sqlite.tables import STATE_ID, check_format, meta_value
from fraud_detection.core.errors import ConfigError
from fraud_detection.core.hash_chain import START

LOSSES = "losses"
"""The key in `meta` of the losses that somebody has accepted, each as `Loss`."""
LAST_HASH = """
    SELECT seq, chain FROM (SELECT seq, chain FROM decisions WHERE seq <= :seq ORDER BY seq DESC LIMIT 1)
    UNION ALL SELECT seq, chain FROM (
        SELECT seq, chain FROM labels WHERE seq <= :seq ORDER BY seq DESC LIMIT 1)
    UNION ALL SELECT seq, chain FROM (
        SELECT seq, chain FROM quarantine WHERE seq <= :seq ORDER BY seq DESC LIMIT 1)
    ORDER BY seq DESC LIMIT 1"""
PUT_BACK = (
    "Put back all of it (the file, its -wal and its .marker, of one moment), or go on without what is gone: "
    "start once with --accept-loss"
)


class Loss(msgspec.Struct, frozen=True):
    """What was answered and is not in a file: the numbers from `first` to `last`; 0 and 0 if nobody knows.

    message: how this is known.  unmarked: there is no marker to compare with.  at: when somebody accepted it.
    """

    first: int
    last: int
    message: str
    unmarked: bool = False
    at: str = ""


def check_complete(lock: StateLock, path: Path) -> None:
    """Raise ConfigError when a locked file has lost something; nothing is written.

    path: its name, as it was given.
    """
    _check_not_truncated(lock, path)
    loss = found_loss(lock.path)
    if loss is not None:
        raise ConfigError(f"{path}: {loss.message}. {PUT_BACK}")


def found_loss(path: Path) -> Loss | None:
    """Compare a state file with its commit marker; return what it has lost, None when it has all.

    Nothing is written: SQLite's log stays as it is, for whoever wants to save it.
    """
    # Before the file: of a file that is in use it may only be older.
    path = path.resolve()
    marker = commit_marker.read(marker_path(path))
    if marker is None:
        message = (
            f"its commit marker ({marker_path(path).name}) is missing: nobody knows whether answers are gone"
        )
        return Loss(0, 0, message, unmarked=True)
    with closing(open_to_read(path)) as db:
        check_format(db, path)
        waiting = journal.entries(db)
        checkpoint = _last_checkpoint(db, waiting)
        if meta_value(db, STATE_ID) != marker.state_id:
            return Loss(0, 0, "its commit marker is that of another state file")
        if checkpoint.seq < marker.seq:
            first, count = checkpoint.seq + 1, marker.seq - checkpoint.seq
            message = (
                f"{count:,} answered events are gone, numbers {first:,} to {marker.seq:,}: its log (-wal) "
                "was damaged or removed, or an older copy was put in its place"
            )
            return Loss(first, marker.seq, message)
        if not marker.is_at(_last_hash(db, waiting, marker.seq)):
            return Loss(
                0,
                0,
                f"event {marker.seq:,} is not the one that was answered: another copy of it went on since",
            )
    return None


def accept_loss(path: Path) -> Loss | None:
    """Let a file go on without what it has lost, and return that; it stays written in the file."""
    lock = StateLock(path)
    try:
        with opening(path):
            _check_not_truncated(lock, path)
            loss = found_loss(lock.path)
            if loss is None:
                return None
            loss = msgspec.structs.replace(loss, at=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"))
            with closing(sqlite3.connect(lock.path, isolation_level=None)) as db:
                check_format(db, path)
                losses = [*(meta_value(db, LOSSES) or []), msgspec.to_builtins(loss)]
                db.execute(
                    "INSERT OR REPLACE INTO meta VALUES (?, ?)", (LOSSES, msgspec.msgpack.encode(losses))
                )
                checkpoint = _last_checkpoint(db, journal.entries(db))
                state_id: bytes = meta_value(db, STATE_ID)
            commit_marker.make(
                marker_path(lock.path), MarkerContent(0, checkpoint.seq, checkpoint.chain, state_id)
            )
    finally:
        lock.release()
    return loss


def _check_not_truncated(lock: StateLock, path: Path) -> None:
    missing = lock.missing_bytes()
    if missing:
        raise ConfigError(
            f"{path}: was cut short, at least {missing:,} bytes are gone. It and its log (-wal) are as they "
            "were: put a copy back, with its .marker, or save what can be read (from a copy of both: "
            "`sqlite3 COPY .recover | sqlite3 NEW`), or make a new one with `fraud state create FILE "
            "--history PAYMENTS`"
        )


def _last_checkpoint(db: sqlite3.Connection, waiting: list[Entry]) -> Checkpoint:
    if waiting:
        return waiting[-1].checkpoint
    return msgspec.convert(meta_value(db, "checkpoint") or (), Checkpoint)


def _last_hash(db: sqlite3.Connection, waiting: list[Entry], seq: int) -> bytes:
    """Return the chain hash of the last row up to a number."""
    for entry in reversed(waiting):
        if entry.checkpoint.seq <= seq:
            return entry.checkpoint.chain
    row = db.execute(LAST_HASH, {"seq": seq}).fetchone()
    return START if row is None else row[1]
