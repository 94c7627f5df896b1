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

from fraud_detection.adapters.file_lock import FileLock
from fraud_detection.adapters.sqlite_ledger import SqliteLedger, where_in
from fraud_detection.adapters.sqlite_tables import prepare
from fraud_detection.adapters.wal_merger import WalMerger
from fraud_detection.errors import ConfigError, RetryError
from fraud_detection.events import Quarantined
from fraud_detection.parse.drift import Kept, SchemaDrift
from fraud_detection.pipeline import Decided, Learned, Outcome
from fraud_detection.ports import ProfileKey

Ids = tuple[str | None, ...]

WAIT_FOR_LOCK_S = 5.0
MAPPED_BYTES = 1 << 30


class Progress(msgspec.Struct, array_like=True):
    """How far this engine has come; written with every batch.

    saved_before: a restart remembers again from this event on.  latest: the latest event time in ms,
    by which all labels of history were learned.  surveyed: events in the tallies of drift, without
    labels, which are beside them.  position, mark: the place reached in the source that is being read;
    those of sources read before stand in their own table, so that a batch writes one row for all this.
    """

    seq: int = 0
    saved_before: int = 1
    latest: int = -1
    surveyed: int = 0
    surveyed_labels: int = 0
    source: str = ""
    position: int = 0
    mark: str = ""


class PastEvent(msgspec.Struct, frozen=True):
    """An event of the log: a payment (with `event` and its served `features`) or a label (with `fraud`).

    corrects: when the opposite label became known that a label takes back, in ms.
    """

    seq: int
    transaction_id: str
    event: bytes | None
    ids: Ids
    fraud: bool
    known_at: int
    features: bytes
    corrects: int | None


class SqliteSite:
    """StateStore and record of outcomes, in one file with one writer; `ledger` is what it has taken in."""

    def __init__(self, path: Path, *, synchronous: str = "NORMAL", reading: bool = False) -> None:
        """Open or create the file; raise ConfigError when it is another's, or no state file.

        synchronous: NORMAL survives the death of the process; FULL also that of the machine, at the
        price of a disk flush a commit.  reading: nothing will be written, so others may be at work.
        """
        self._lock = None if reading else FileLock(path)
        try:
            self._db = sqlite3.connect(path, timeout=WAIT_FOR_LOCK_S, isolation_level=None)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute(f"PRAGMA synchronous = {synchronous}")
            self._db.execute("PRAGMA cache_size = -65536")
            self._db.execute(f"PRAGMA mmap_size = {MAPPED_BYTES:d}")
            # `WalMerger` does it, so that no payment waits for it.
            self._db.execute("PRAGMA wal_autocheckpoint = 0")
            prepare(self._db, path)
        except (sqlite3.DatabaseError, OSError) as error:
            raise ConfigError(f"{path}: cannot be used as a state file: {error}") from None
        self.progress = msgspec.convert(self.meta("progress", ()), Progress)
        self.seq: int = self.progress.seq
        self.ledger = SqliteLedger(self._db)
        self._merger = None if reading else WalMerger(path)
        if self._merger is not None:
            self._merger.start()

    @property
    def database(self) -> sqlite3.Connection:
        """Return the connection, for tables of other adapters that are committed with these."""
        return self._db

    def close(self) -> None:
        """Close the file; everything committed is in it."""
        if self._merger is not None:
            self._merger.stop()
        self._db.close()
        if self._lock is not None:
            self._lock.release()

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
                labels.append(self._label_row(outcome))
                self.ledger.labels_wait = self.ledger.labels_wait or outcome.ids is None
            elif isinstance(outcome, Quarantined):
                quarantined.append((self.seq, outcome.reason, outcome.path, outcome.raw))
        self._insert("decisions", decisions)
        self._insert("labels", labels)
        if self.ledger.labels_wait:
            self._db.executemany(
                "UPDATE labels SET applied_at = ? WHERE transaction_id = ? AND applied_at IS NULL", applied
            )
            self.ledger.labels_wait = self.ledger.has_waiting()
        self._insert("quarantine", quarantined)

    def note_progress(self, saved_before: int, latest: int, drift: SchemaDrift) -> None:
        """Put down how far the engine has come; inside a transaction."""
        if changes := drift.take_changes():
            self._db.executemany("INSERT OR REPLACE INTO drift VALUES (?,?,?,?,?,?)", changes)
        place = (self.progress.source, self.progress.position, self.progress.mark)
        self.progress = Progress(self.seq, saved_before, latest, drift.events, drift.labels, *place)
        self.put_meta("progress", self.progress)

    def note_place(self, source: str, position: int, mark: str) -> None:
        """Let the next note of progress say the place that was reached in a source; in a transaction."""
        now = self.progress
        if now.source not in {"", source}:
            last = (now.source, now.position, now.mark)
            self._db.execute("INSERT OR REPLACE INTO sources VALUES (?, ?, ?)", last)
        now.source, now.position, now.mark = source, position, mark

    def note_output(self, name: str, length: int) -> None:
        """Put down that all is told in a file of that length in bytes; inside a transaction."""
        self._db.execute("INSERT OR REPLACE INTO outputs VALUES (?, ?, ?)", (name, self.seq, length))

    def place(self, source: str) -> tuple[int, str]:
        """Return the place that was reached in a source, and the mark of the event before it."""
        if source == self.progress.source:
            return (self.progress.position, self.progress.mark)
        row = self._db.execute("SELECT position, mark FROM sources WHERE name = ?", (source,)).fetchone()
        return (0, "") if row is None else (row[0], row[1])

    def drift(self) -> list[Kept]:
        """Return the tallies of drift."""
        return self._db.execute("SELECT * FROM drift").fetchall()

    def load(self, keys: Sequence[ProfileKey]) -> dict[ProfileKey, bytes]:
        """Return the profiles that exist."""
        found: dict[ProfileKey, bytes] = {}
        for entity in {key[0] for key in keys}:
            ids = [key[1] for key in keys if key[0] == entity]
            query = f"SELECT id, content FROM profiles WHERE entity = {entity:d} AND id"  # noqa: S608 - a number
            found.update({(entity, row[0]): row[1] for row in where_in(self._db, ids, query)})
        return found

    def save(self, profiles: Mapping[ProfileKey, bytes]) -> set[ProfileKey]:
        """Store all of them, inside the caller's transaction; the file has one writer."""
        rows = [(entity, one, content) for (entity, one), content in sorted(profiles.items())]
        self._db.executemany("INSERT OR REPLACE INTO profiles VALUES (?, ?, ?)", rows)
        return set()

    def since(self, seq: int) -> Iterator[PastEvent]:
        """Yield payments and labels after `seq`, in the order in which they were remembered."""
        query = """
            SELECT seq AS at, 0 AS number, transaction_id, event, entities, 0, event_time, features, NULL
            FROM decisions WHERE seq > :seq
            UNION ALL
            SELECT applied_at, seq, transaction_id, NULL, NULL, fraud, known_at, NULL, corrects
            FROM labels WHERE applied_at > :seq
            ORDER BY at, number"""
        for at, _, one, event, ids, fraud, time_ms, features, corrects in self._db.execute(
            query, {"seq": seq}
        ):
            owner = (
                self.ledger.entities([one]).get(one, ())
                if ids is None
                else tuple(msgspec.msgpack.decode(ids))
            )
            yield PastEvent(at, one, event, owner, bool(fraud), time_ms, features or b"", corrects)

    def rows(
        self, query: str, parameters: Sequence[object] | Mapping[str, object] = ()
    ) -> list[tuple[Any, ...]]:
        """Return the rows of a reading query, for reports."""
        return self._db.execute(query, parameters).fetchall()

    def _insert(self, table: str, rows: Sequence[tuple[object, ...]]) -> None:
        if rows:
            places = ",".join("?" * len(rows[0]))
            self._db.executemany(f"INSERT INTO {table} VALUES ({places})", rows)  # noqa: S608 - our own tables

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

    def _label_row(self, outcome: Learned) -> tuple[object, ...]:
        label, at = outcome.label, None if outcome.ids is None else self.seq
        known_at, source = label.known_at, label.source
        return (self.seq, label.transaction_id, label.fraud, known_at, source, outcome.corrects, at)
