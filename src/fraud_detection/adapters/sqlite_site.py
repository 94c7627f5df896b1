"""The durable home of one embedded engine: decisions, labels, quarantine and profiles in one SQLite file.

Everything that a batch changed is committed together with the place reached in the
source, so a process that is killed at any moment starts again from its last commit:
nothing is lost and nothing is decided twice.  Profiles are saved some time after they
changed; the events that they had not seen by then are remembered again at the start.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from fraud_detection.adapters.wal_merger import WalMerger
from fraud_detection.errors import ConfigError, RetryError
from fraud_detection.events import Label, Quarantined
from fraud_detection.pipeline import Decided, Learned, Outcome
from fraud_detection.ports import ProfileKey

Ids = tuple[str | None, ...]

FORMAT = 1
MOST_PARAMETERS = 500
WAIT_FOR_LOCK_S = 5.0

TABLES = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE decisions (
    seq INTEGER PRIMARY KEY, transaction_id TEXT NOT NULL UNIQUE, event_time INTEGER NOT NULL,
    action INTEGER NOT NULL, score REAL, reasons TEXT NOT NULL, policy TEXT NOT NULL, bundle TEXT NOT NULL,
    entities BLOB NOT NULL, event BLOB NOT NULL, features BLOB NOT NULL);
CREATE TABLE labels (
    seq INTEGER PRIMARY KEY, transaction_id TEXT NOT NULL, fraud INTEGER NOT NULL, known_at INTEGER NOT NULL,
    source TEXT NOT NULL, applied_at INTEGER);
CREATE INDEX labels_payment ON labels (transaction_id);
CREATE INDEX labels_waiting ON labels (seq) WHERE applied_at IS NULL;
CREATE INDEX labels_applied ON labels (applied_at);
CREATE TABLE quarantine (
    seq INTEGER PRIMARY KEY, reason TEXT NOT NULL, path TEXT NOT NULL, event BLOB NOT NULL);
CREATE TABLE history (transaction_id TEXT PRIMARY KEY, entities BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE profiles (
    entity INTEGER NOT NULL, id TEXT NOT NULL, content BLOB NOT NULL, PRIMARY KEY (entity, id)) WITHOUT ROWID;
"""


class PastEvent(msgspec.Struct, frozen=True):
    """An event of the log: a payment (with `event` and its served `features`) or a label (with `fraud`)."""

    seq: int
    transaction_id: str
    event: bytes | None
    ids: Ids
    fraud: bool
    known_at: int
    features: bytes


class SqliteSite:
    """StateStore, Ledger and record of outcomes, in one file with one writer."""

    def __init__(self, path: Path, *, synchronous: str = "NORMAL") -> None:
        """Open or create the file.

        synchronous: NORMAL survives the death of the process; FULL also that of the machine, at the
        price of a disk flush a commit.
        """
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path, timeout=WAIT_FOR_LOCK_S, isolation_level=None)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute(f"PRAGMA synchronous = {synchronous}")
            self._db.execute("PRAGMA cache_size = -65536")
            # `WalMerger` does it, so that no payment waits for it.
            self._db.execute("PRAGMA wal_autocheckpoint = 0")
            self._prepare(path)
        except (sqlite3.DatabaseError, OSError) as error:
            raise ConfigError(f"{path}: cannot be used as a state file: {error}") from None
        self.seq: int = self.meta("seq", 0)
        self._merger = WalMerger(path)
        self._merger.start()

    def close(self) -> None:
        """Close the file; everything committed is in it."""
        self._merger.stop()
        self._db.close()

    def meta(self, key: str, default: Any) -> Any:  # noqa: ANN401 - each key has a type of its own
        """Return what was put under `key` by the last commit."""
        row = self._db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return default if row is None else msgspec.msgpack.decode(row[0])

    def put_meta(self, key: str, value: object) -> None:
        """Set a value; part of the transaction that is open, if one is."""
        self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, msgspec.msgpack.encode(value)))

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit everything inside together, or nothing; raise RetryError when the file is locked or full."""
        try:
            self._db.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            raise RetryError(f"the state file is busy: {error}; is another process writing to it?") from None
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        try:
            self._db.execute("COMMIT")
        except sqlite3.OperationalError as error:
            raise RetryError(f"the state file cannot be written: {error}") from None

    def record(self, outcomes: Sequence[Outcome]) -> None:
        """Write one batch of outcomes, in order; inside a transaction."""
        decisions, labels, quarantined, applied = [], [], [], []
        for outcome in outcomes:
            self.seq += 1
            if isinstance(outcome, Decided):
                decisions.append(self._decision_row(outcome))
                applied.append((self.seq, outcome.payment.transaction_id))
            elif isinstance(outcome, Learned):
                label, at = outcome.label, None if outcome.ids is None else self.seq
                labels.append((self.seq, label.transaction_id, label.fraud, label.known_at, label.source, at))
            elif isinstance(outcome, Quarantined):
                quarantined.append((self.seq, outcome.reason, outcome.path, outcome.raw))
        self._db.executemany("INSERT INTO decisions VALUES (?,?,?,?,?,?,?,?,?,?,?)", decisions)
        self._db.executemany("INSERT INTO labels VALUES (?,?,?,?,?,?)", labels)
        if self._has_waiting():
            self._db.executemany(
                "UPDATE labels SET applied_at = ? WHERE transaction_id = ? AND applied_at IS NULL", applied
            )
        self._db.executemany("INSERT INTO quarantine VALUES (?,?,?,?)", quarantined)
        self.put_meta("seq", self.seq)

    def note_history(self, payments: Sequence[tuple[str, Ids]]) -> None:
        """Enter payments of history whose labels are still to come; inside a transaction."""
        rows = [(one, msgspec.msgpack.encode(ids)) for one, ids in payments]
        self._db.executemany("INSERT OR REPLACE INTO history VALUES (?, ?)", rows)

    def load(self, keys: Sequence[ProfileKey]) -> dict[ProfileKey, bytes]:
        """Return the profiles that exist."""
        found: dict[ProfileKey, bytes] = {}
        for entity in {key[0] for key in keys}:
            ids = [key[1] for key in keys if key[0] == entity]
            query = f"SELECT id, content FROM profiles WHERE entity = {entity:d} AND id IN"  # noqa: S608 - a number
            found.update({(entity, row[0]): row[1] for row in self._where_in(query, ids)})
        return found

    def save(self, profiles: Mapping[ProfileKey, bytes]) -> None:
        """Store all of them, inside the caller's transaction."""
        rows = [(entity, one, content) for (entity, one), content in sorted(profiles.items())]
        self._db.executemany("INSERT OR REPLACE INTO profiles VALUES (?, ?, ?)", rows)

    def decided(self, transaction_ids: Sequence[str]) -> set[str]:
        """Return those of the ids that have been decided before."""
        rows = self._where_in("SELECT transaction_id FROM decisions WHERE transaction_id IN", transaction_ids)
        return {row[0] for row in rows}

    def entities(self, transaction_ids: Sequence[str]) -> dict[str, Ids]:
        """Return the entities of those payments that are known, of history or decided."""
        known: dict[str, Ids] = {}
        for table in ("history", "decisions"):
            query = f"SELECT transaction_id, entities FROM {table} WHERE transaction_id IN"  # noqa: S608 - two names
            known.update(
                {
                    row[0]: tuple(msgspec.msgpack.decode(row[1]))
                    for row in self._where_in(query, transaction_ids)
                }
            )
        return known

    def labels(self, transaction_ids: Sequence[str]) -> dict[str, list[Label]]:
        """Return the labels that have come for these payments, in the order in which they came."""
        query = "SELECT transaction_id, fraud, known_at, source FROM labels WHERE transaction_id IN"
        found: dict[str, list[Label]] = {}
        for one, fraud, known_at, source in self._where_in(query, transaction_ids):
            found.setdefault(one, []).append(Label(one, bool(fraud), known_at, source))
        return found

    def since(self, seq: int) -> Iterator[PastEvent]:
        """Yield payments and labels after `seq`, in the order in which they were remembered."""
        query = """
            SELECT seq AS at, 0 AS kind, transaction_id, event, entities, 0, event_time, features
            FROM decisions WHERE seq > :seq
            UNION ALL
            SELECT applied_at, 1, transaction_id, NULL, NULL, fraud, known_at, NULL
            FROM labels WHERE applied_at > :seq
            ORDER BY at, kind"""
        for at, _, one, event, ids, fraud, time_ms, features in self._db.execute(query, {"seq": seq}):
            owner = self.entities([one]).get(one, ()) if ids is None else tuple(msgspec.msgpack.decode(ids))
            yield PastEvent(at, one, event, owner, bool(fraud), time_ms, features or b"")

    def rows(self, query: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Return the rows of a reading query, for reports."""
        return self._db.execute(query, parameters).fetchall()

    def _prepare(self, path: Path) -> None:
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        if version == 0 and not self._db.execute("SELECT 1 FROM sqlite_master").fetchone():
            self._db.executescript(f"BEGIN; {TABLES} PRAGMA user_version = {FORMAT}; COMMIT;")
        elif version != FORMAT:
            raise ConfigError(
                f"{path}: is not a state file of this version (found {version}, expected {FORMAT})"
            )

    def _decision_row(self, outcome: Decided) -> tuple[object, ...]:
        decision, payment = outcome.decision, outcome.payment
        reasons = msgspec.json.encode([(v.action.label, v.code, v.words) for v in decision.reasons]).decode()
        return (
            self.seq,
            decision.transaction_id,
            payment.event_time,
            int(decision.action),
            decision.score,
            reasons,
            decision.policy,
            decision.bundle,
            msgspec.msgpack.encode(payment.entities),
            outcome.raw,
            outcome.values.tobytes(),
        )

    def _has_waiting(self) -> bool:
        return (
            self._db.execute("SELECT 1 FROM labels WHERE applied_at IS NULL LIMIT 1").fetchone() is not None
        )

    def _where_in(self, query: str, values: Sequence[str]) -> list[tuple[Any, ...]]:
        rows: list[tuple[Any, ...]] = []
        for start in range(0, len(values), MOST_PARAMETERS):
            part = values[start : start + MOST_PARAMETERS]
            rows += self._db.execute(f"{query} ({','.join('?' * len(part))})", part).fetchall()
        return rows
