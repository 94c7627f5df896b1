"""The tables of a state file: how a file with them is made, and the check that a file has them."""

from __future__ import annotations

import os
import secrets
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec

from fraud_detection.adapters.host.private_files import FILE_MODE, make_folder
from fraud_detection.adapters.sqlite import commit_marker
from fraud_detection.adapters.sqlite.commit_marker import MarkerContent, marker_path
from fraud_detection.core.errors import ConfigError
from fraud_detection.core.hash_chain import START

FORMAT = 12
"""Raised whenever a table changes; a file of another format is refused."""

TABLES = """
CREATE TABLE journal (slot INTEGER PRIMARY KEY, number INTEGER NOT NULL, content BLOB NOT NULL);
INSERT INTO journal VALUES (0, 0, x'');
CREATE TABLE owner (
    one INTEGER PRIMARY KEY CHECK (one = 1), epoch INTEGER NOT NULL, pid INTEGER NOT NULL, host TEXT NOT NULL,
    since TEXT NOT NULL);
INSERT INTO owner VALUES (1, 0, 0, '', '');
CREATE TABLE meta (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE decisions (
    seq INTEGER PRIMARY KEY, transaction_id TEXT NOT NULL UNIQUE, event_time INTEGER NOT NULL,
    action INTEGER NOT NULL, score REAL, reasons TEXT NOT NULL, policy TEXT NOT NULL, bundle TEXT NOT NULL,
    entities BLOB NOT NULL, event BLOB NOT NULL, features BLOB NOT NULL,
    config_id TEXT NOT NULL, counterfactual_action INTEGER, sampling_rate REAL, caller TEXT NOT NULL,
    notes TEXT NOT NULL, chain BLOB NOT NULL);
CREATE TABLE configurations (config_id TEXT PRIMARY KEY, content BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE labels (
    seq INTEGER PRIMARY KEY, transaction_id TEXT NOT NULL, fraud INTEGER NOT NULL, known_at INTEGER NOT NULL,
    source TEXT NOT NULL, supersedes_known_at INTEGER, applied_at INTEGER, happened_at INTEGER, redundant
    INTEGER NOT NULL, caller TEXT NOT NULL, chain BLOB NOT NULL);
CREATE INDEX labels_payment ON labels (transaction_id);
CREATE INDEX labels_waiting ON labels (seq) WHERE applied_at IS NULL AND NOT redundant;
CREATE INDEX labels_applied ON labels (applied_at);
CREATE TABLE quarantine (
    seq INTEGER PRIMARY KEY, reason TEXT NOT NULL, path TEXT NOT NULL, event BLOB NOT NULL,
    transaction_id TEXT NOT NULL, digest BLOB NOT NULL UNIQUE, count INTEGER NOT NULL,
    first_at INTEGER NOT NULL, last_at INTEGER NOT NULL, chain BLOB NOT NULL);
CREATE TABLE quarantine_origins (origin BLOB PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE history (
    transaction_id TEXT PRIMARY KEY, entities BLOB NOT NULL, fraud INTEGER, known_at INTEGER,
    content BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE pending_labels (
    known_at INTEGER NOT NULL, number INTEGER NOT NULL, transaction_id TEXT NOT NULL, fraud INTEGER NOT NULL,
    PRIMARY KEY (known_at, number)) WITHOUT ROWID;
CREATE TABLE sources (
    name TEXT PRIMARY KEY, length INTEGER NOT NULL, fingerprint TEXT NOT NULL, offset INTEGER NOT NULL,
    path TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE outputs (name TEXT PRIMARY KEY, seq INTEGER NOT NULL, bytes INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE drift (
    kind TEXT NOT NULL, field TEXT NOT NULL, count INTEGER NOT NULL, first_time INTEGER NOT NULL,
    last_time INTEGER NOT NULL, example TEXT NOT NULL, PRIMARY KEY (kind, field)) WITHOUT ROWID;
CREATE TABLE profiles (
    number INTEGER PRIMARY KEY, entity INTEGER NOT NULL, id TEXT NOT NULL, content BLOB NOT NULL,
    UNIQUE (entity, id));
"""


STATE_ID = "state_id"
"""The key in `meta` of the id of this file; its commit marker has it too."""


def create_state(path: Path) -> None:
    """Make an empty state file and its commit marker, for their owner alone; refuse one that is there."""
    try:
        make_folder(path.parent)
        # SQLite gives its log the rights of the file.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, FILE_MODE))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be made: {error.strerror}") from None
    state_id = secrets.token_bytes(commit_marker.ID_BYTES)
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.executescript(f"BEGIN; {TABLES} PRAGMA user_version = {FORMAT}; COMMIT;")
        db.execute("INSERT INTO meta VALUES (?, ?)", (STATE_ID, msgspec.msgpack.encode(state_id)))
    commit_marker.make(marker_path(path), MarkerContent(0, 0, START, state_id))


def check_format(db: sqlite3.Connection, path: Path) -> None:
    """Raise ConfigError when a file has not these tables."""
    version = db.execute("PRAGMA user_version").fetchone()[0]
    if version != FORMAT:
        raise ConfigError(
            f"{path}: is not a state file of this version (found {version}, expected {FORMAT}); name another "
            "with --state, or make one with `fraud state create FILE --history PAYMENTS`"
        )


def meta_value(db: sqlite3.Connection, key: str) -> Any:  # noqa: ANN401 - each key has a type of its own
    """Return the value stored under a key of `meta`; None where there is none."""
    row = db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
    return None if row is None else msgspec.msgpack.decode(row[0])
