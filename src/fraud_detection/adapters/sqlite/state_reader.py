"""Read a consistent snapshot of a state file: its tables, and the journal entries not flushed yet.

Nothing is written, and a process that is writing the file is not disturbed.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar
from urllib.parse import quote

import msgspec

from fraud_detection.adapters.sqlite import journal
from fraud_detection.adapters.sqlite.dedup.dedup_index import SqliteDedupIndex
from fraud_detection.adapters.sqlite.event_log import LoggedEvent, journal_since, tables_since
from fraud_detection.adapters.sqlite.journal import Checkpoint, Entry
from fraud_detection.adapters.sqlite.replication_log import ReplicationEntry
from fraud_detection.adapters.sqlite.tables import check_format
from fraud_detection.core.errors import ConfigError
from fraud_detection.core.events import Action
from fraud_detection.core.hash_chain import START, ChainEntry, as_text, chain_entries

T = TypeVar("T")

Severity = Annotated[int, msgspec.Meta(ge=int(min(Action)), le=int(max(Action)))]
TABLES = ("decisions", "labels", "quarantine")
MAPPED_BYTES = 1 << 30
PAGE_ROWS = 10_000
EARLIER_DECISIONS = f"""
    SELECT seq, event_time, {Action.DECLINE:d} IN (action, coalesce(counterfactual_action, -1)), config_id
    FROM all_decisions WHERE seq < ? ORDER BY seq DESC LIMIT {PAGE_ROWS}"""  # noqa: S608 - no value of a user
DISPLACED = """
    SELECT one.seq, one.transaction_id FROM all_labels AS one
    LEFT JOIN all_decisions AS decided ON decided.transaction_id = one.transaction_id
    LEFT JOIN history ON history.transaction_id = one.transaction_id
    WHERE one.applied_at IS NOT CASE
        WHEN one.redundant THEN NULL
        WHEN history.transaction_id IS NOT NULL THEN one.seq
        WHEN decided.seq IS NOT NULL THEN max(one.seq, decided.seq) END
    ORDER BY one.seq"""
"""Labels applied neither on arrival nor, where they came first, with their payment."""


class StoredDecision(msgspec.Struct, frozen=True, array_like=True):
    """A decision with all that it was made of, as the columns of its table.

    entities: in MessagePack.  features: 64-bit floats.  chain: the chain hash of the row.
    """

    seq: int
    transaction_id: str
    event_time: int
    action: Severity
    score: float | None
    reasons: str
    policy: str
    bundle: str
    entities: bytes
    event: bytes
    features: bytes
    config_id: str
    counterfactual_action: Severity | None
    sampling_rate: float | None
    caller: str
    notes: str
    chain: bytes


class StoredLabel(msgspec.Struct, frozen=True, array_like=True):
    """A label as it came; times in ms.  redundant: it changed nothing.  See the table."""

    seq: int
    fraud: int
    known_at: int
    source: str
    supersedes_known_at: int | None
    applied_at: int | None
    happened_at: int | None
    redundant: int
    caller: str


class StoredQuarantined(msgspec.Struct, frozen=True, array_like=True):
    """A quarantined event: from how many origins it came, and when first and last, in ms."""

    seq: int
    reason: str
    path: str
    event: bytes
    count: int
    first_at: int
    last_at: int


class EarlierDecision(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What a decline cap counts of an earlier decision; one of the control group may count as declined."""

    seq: int
    event_time: int
    declined: int
    config_id: str


class StateReader:
    """One state file at one moment.

    waiting: unflushed journal entries.
    """

    def __init__(self, path: Path) -> None:
        """Open the file; raise ConfigError when it is no state file of this version, or damaged."""
        self.path = path
        try:
            self._db = open_to_read(path)
            check_format(self._db, self.path)
            self.waiting: list[Entry] = journal.entries(self._db)
            self._join()
            stored = self.meta("checkpoint")
        except (sqlite3.DatabaseError, msgspec.DecodeError, msgspec.ValidationError) as error:
            raise ConfigError(f"{path}: cannot be read as a state file: {error}") from None
        self.checkpoint = (
            self.waiting[-1].checkpoint if self.waiting else msgspec.convert(stored or (), Checkpoint)
        )
        self.dedup_index = SqliteDedupIndex(self._db, lambda: None)

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def meta(self, key: str) -> Any:  # noqa: ANN401 - each key has a type of its own
        """Return what is stored under a key, None where nothing was."""
        rows = self.rows("SELECT value FROM meta WHERE key = ?", (key,))
        return msgspec.msgpack.decode(rows[0][0]) if rows else None

    def rows(self, query: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Return the rows of a query; `all_decisions` and its like have what is in the journal too."""
        return self._db.execute(query, parameters).fetchall()

    def decision(self, transaction_id: str) -> StoredDecision | None:
        """Return the decision on a payment; raise ConfigError when its row is not as it was written."""
        rows = self.rows("SELECT * FROM all_decisions WHERE transaction_id = ?", (transaction_id,))
        return _converted(rows[0], StoredDecision, self.path) if rows else None

    def labels(self, transaction_id: str) -> list[StoredLabel]:
        """Return the labels of a payment in the order in which they came."""
        query = """
            SELECT seq, fraud, known_at, source, supersedes_known_at, applied_at, happened_at, redundant,
                   caller
            FROM all_labels WHERE transaction_id = ? ORDER BY seq"""
        return [_converted(row, StoredLabel, self.path) for row in self.rows(query, (transaction_id,))]

    def quarantined_events(self) -> Iterator[StoredQuarantined]:
        """Yield each quarantined event; duplicates are counted in its row."""
        query = """
            SELECT seq, reason, path, event,
                count + (SELECT count(*) FROM duplicates AS d WHERE d.seq = one.seq),
                first_at,
                max(last_at, coalesce((SELECT max(at) FROM duplicates AS d WHERE d.seq = one.seq), 0))
            FROM all_quarantine AS one ORDER BY seq"""
        for row in self._db.execute(query):
            yield _converted(row, StoredQuarantined, self.path)

    def is_history(self, transaction_id: str) -> bool:
        """Return whether a payment is in the history that was loaded before the stream."""
        return bool(self.rows("SELECT 1 FROM history WHERE transaction_id = ?", (transaction_id,)))

    def configurations(self) -> dict[str, bytes]:
        """Return every configuration that has decided, by its config id."""
        return dict(self.rows("SELECT config_id, CAST(content AS BLOB) FROM configurations"))

    def previous_hash(self, seq: int) -> bytes:
        """Return the chain hash of the row before a number."""
        hashes: list[tuple[int, bytes]] = []
        for table in TABLES:
            query = f"SELECT seq, chain FROM all_{table} WHERE seq < ? ORDER BY seq DESC LIMIT 1"  # noqa: S608 - our own tables
            hashes += [(row[0], row[1]) for row in self.rows(query, (seq,))]
        return max(hashes, default=(0, START))[1]

    def decisions_before(self, seq: int, since_ms: int) -> list[EarlierDecision]:
        """Return the decisions before a number on payments after a time, the latest first."""
        decisions: list[EarlierDecision] = []
        while True:
            page = [
                _converted(row, EarlierDecision, self.path) for row in self.rows(EARLIER_DECISIONS, (seq,))
            ]
            recent = [decision for decision in page if decision.event_time > since_ms]
            decisions += recent
            if not recent:
                return decisions
            seq = page[-1].seq

    def displaced_labels(self) -> list[tuple[int, str]]:
        """Return number and payment of labels whose stated log position is not where they were applied."""
        return [(seq, str(transaction_id)) for seq, transaction_id in self.rows(DISPLACED)]

    def chain_entries(self) -> Iterator[ChainEntry]:
        """Yield all rows in order, with the hashes that they carry and should carry."""
        yield from chain_entries(self._db, _waiting_rows(self.waiting))

    def since(self, seq: int) -> Iterator[LoggedEvent]:
        """Yield payments and labels after a number, in the order in which the profiles saw them."""
        yield from tables_since(self._db, self.dedup_index, seq)
        yield from journal_since(self.waiting, self.dedup_index, seq)

    def replication_entries(self) -> list[ReplicationEntry]:
        """Return which parts of the other workers' logs were applied, in order."""
        if not self.rows("SELECT 1 FROM sqlite_master WHERE name = 'replication_log'"):
            return []
        query = "SELECT seq, worker, after, until FROM replication_log ORDER BY seq"
        return [ReplicationEntry(*row) for row in self.rows(query)]

    def _join(self) -> None:
        """Let queries read the unflushed journal entries too."""
        for table in TABLES:
            self._db.execute(f"CREATE TEMP TABLE waiting_{table} AS SELECT * FROM main.{table} WHERE 0")  # noqa: S608 - our own tables
            self._db.execute(
                f"CREATE TEMP VIEW all_{table} AS "  # noqa: S608 - our own tables
                f"SELECT * FROM main.{table} UNION ALL SELECT * FROM temp.waiting_{table}"
            )
        self._db.execute("CREATE TEMP TABLE duplicates (at INTEGER NOT NULL, seq INTEGER NOT NULL)")
        for entry in self.waiting:
            self._add("waiting_decisions", entry.decisions)
            self._add("waiting_labels", entry.labels)
            self._add("waiting_quarantine", entry.quarantined)
            self._add("duplicates", entry.duplicates)

    def _add(self, table: str, rows: Sequence[tuple[Any, ...]]) -> None:
        if rows:
            placeholders = ",".join("?" * len(rows[0]))
            self._db.executemany(f"INSERT INTO temp.{table} VALUES ({placeholders})", rows)  # noqa: S608 - our own tables


def open_to_read(path: Path) -> sqlite3.Connection:
    """Open a file for reading; where no process has left its log and none can be made, as it lies there."""
    if path.exists() and not path.stat().st_size:
        # SQLite would delete its log, in which all of it may still be.
        raise ConfigError(
            f"{path}: was cut short: it is empty; put a copy back, with its -wal and its .marker"
        )
    address = f"file:{quote(str(path.resolve()))}?mode=ro"
    for mode in ("", "&immutable=1"):
        db = sqlite3.connect(address + mode, uri=True, isolation_level=None)
        db.text_factory = as_text
        db.execute(f"PRAGMA mmap_size = {MAPPED_BYTES:d}")
        try:
            db.execute("BEGIN")
            db.execute("SELECT 1 FROM sqlite_master").fetchone()
        except sqlite3.OperationalError:
            db.close()
            if mode or path.with_name(path.name + "-wal").exists():
                raise
        else:
            return db
    raise ConfigError(f"{path}: cannot be opened")


def _converted(row: Sequence[object], kind: type[T], path: Path) -> T:
    try:
        return msgspec.convert(row, kind)
    except msgspec.ValidationError as error:
        raise ConfigError(
            f"{path}: row {row[0]} is not as it was written: {error}; see `fraud audit verify`"
        ) from None


def _waiting_rows(waiting: Sequence[Entry]) -> Iterator[tuple[object, ...]]:
    """Yield the unflushed journal rows in the columns of `hash_chain.ROWS`."""
    for entry in waiting:
        rows: list[tuple[Any, ...]] = [(row[0], 0, *row) for row in entry.decisions]
        for (
            seq,
            transaction_id,
            fraud,
            known_at,
            source,
            supersedes_known_at,
            _,
            happened_at,
            redundant,
            caller,
            carried,
        ) in entry.labels:
            columns = (
                seq,
                1,
                transaction_id,
                int(fraud),
                known_at,
                source,
                supersedes_known_at,
                happened_at,
                int(redundant),
            )
            rows.append((*columns, caller, carried))
        rows += [(row[0], 2, *row[1:5], row[-1]) for row in entry.quarantined]
        yield from sorted(rows, key=lambda row: int(row[0]))
