"""The durable home of one embedded engine: decisions, labels, quarantine and profiles in one SQLite file.

Everything that a batch changed is committed together with the place reached in the
source, so a process that is killed at any moment starts again from its last commit:
nothing is lost and nothing is decided twice.  A small batch is committed as one row of
a journal, and moved into the tables behind.  Profiles are saved some time after they
changed; the events that they had not seen by then are remembered again at the start.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import msgspec

from fraud_detection.adapters import sqlite_journal as journal
from fraud_detection.adapters.background import Background
from fraud_detection.adapters.file_lock import FileLock
from fraud_detection.adapters.sqlite_journal import Entry, Progress
from fraud_detection.adapters.sqlite_ledger import SqliteLedger
from fraud_detection.adapters.sqlite_log import PastEvent, journal_since, tables_since
from fraud_detection.adapters.sqlite_tables import prepare
from fraud_detection.adapters.sqlite_trouble import opening
from fraud_detection.adapters.wal_merger import WalMerger
from fraud_detection.errors import RetryError
from fraud_detection.parse.drift import Kept, SchemaDrift
from fraud_detection.pipeline import Outcome
from fraud_detection.ports import ProfileKey

WAIT_FOR_LOCK_S = 5.0
LOOK_EVERY_S = 0.0002
MAPPED_BYTES = 1 << 30
APPLY = """
    UPDATE labels SET applied_at = ? WHERE transaction_id = ? AND applied_at IS NULL AND NOT noted"""
SAVE = """
    INSERT INTO profiles (entity, id, content) VALUES (?, ?, ?)
    ON CONFLICT (entity, id) DO UPDATE SET content = excluded.content"""
MOST_ROWS = 64
"""A larger batch goes straight into the tables."""
MOST_ENTRIES = 64
"""More than so many do not wait, even if nobody asks to settle them."""
IDS_AT_START = 100_000
"""So many ids are learned in a tenth of a second; the others follow between the payments."""


class SqliteSite:
    """StateStore and record of outcomes, in one file with one writer; `ledger` is what it has taken in."""

    def __init__(
        self,
        path: Path,
        *,
        synchronous: str = "NORMAL",
        reading: bool = False,
        wait_s: float = WAIT_FOR_LOCK_S,
        background: Background | None = None,
    ) -> None:
        """Open or create the file; raise ConfigError when it is another's, or no state file.

        synchronous: NORMAL survives the death of the process; FULL also that of the machine, at the
        price of a disk flush a commit.  reading: nothing will be written, so others may be at work.
        wait_s: how long a commit waits for another process that holds the file.  background: what
        supervises the process's background work; one is made where there is none.
        """
        self.background = background or Background()
        self.path, self._reading, self._wait_s = path, reading, wait_s
        self._lock = None if reading else FileLock(path)
        with opening(path):
            self._db = sqlite3.connect(path, timeout=wait_s, isolation_level=None)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute(f"PRAGMA synchronous = {synchronous}")
            self._db.execute("PRAGMA cache_size = -65536")
            self._db.execute(f"PRAGMA mmap_size = {MAPPED_BYTES:d}")
            # `WalMerger` does it, so that no payment waits for it.
            self._db.execute("PRAGMA wal_autocheckpoint = 0")
            prepare(self._db, path)
            if not reading:
                self._db.execute("PRAGMA busy_timeout = 0")
            self._moved, self._waiting = journal.last_moved(self._db), journal.entries(self._db)
            # Whether a commit has failed: what it should have kept goes before anything new.
            self._failed = False
            kept = msgspec.convert(self.meta("progress", ()), Progress)
            self.progress = self._waiting[-1].progress if self._waiting else kept
            self.seq: int = self.progress.seq
            self._place: journal.Place = (self.progress.source, self.progress.position, self.progress.mark)
            self._left: journal.Place | None = None
            self.ledger = SqliteLedger(self._db, self.settle)
            if not reading:
                self.settle()
                self.ledger.look_for_awaited()
                self.ledger.enter_from_tables(IDS_AT_START)
        self._merger = None if reading else WalMerger(path).start(self.background)

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
            self._patiently(lambda: self._db.execute("BEGIN IMMEDIATE"))
        except sqlite3.OperationalError as error:
            raise RetryError(f"the state file is busy: {error}; is another process writing to it?") from error
        try:
            yield
            self._db.execute("COMMIT")
        except sqlite3.OperationalError as error:
            raise RetryError(f"the state file cannot be written: {error}") from error
        finally:
            # SQLite itself takes back what it could not write, but not always.
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")

    def keep(self, outcomes: Sequence[Outcome], saved_before: int, latest: int, drift: SchemaDrift) -> None:
        """Commit one batch of outcomes, in order; raise RetryError when the file is locked or full.

        What could not be committed is not lost: it is kept here, and `settle` tries again.
        """
        entry = self._entry(outcomes, saved_before, latest, drift)
        self._waiting.append(entry)
        decided = [row[1] for row in entry.decisions]
        self.ledger.enter(decided)
        # A label that waits for its payment is entered with it, so that whoever reads the log misses none.
        awaited = not self.ledger.awaited.isdisjoint(decided)
        if awaited or entry.size > MOST_ROWS or len(self._waiting) > MOST_ENTRIES:
            self.settle()
            return
        try:
            self._patiently(lambda: journal.append(self._db, self._moved, len(self._waiting), entry))
        except sqlite3.OperationalError as error:
            self._failed = True
            raise RetryError(f"the state file cannot be written: {error}") from error

    def _patiently(self, write: Callable[[], object]) -> None:
        """Do a first write; it has to wait while another process, or the merging of the log, holds the file.

        SQLite itself would sleep for longer and longer, and oversleep the end of a short wait.
        """
        until = time.monotonic() + self._wait_s
        while True:
            try:
                write()
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                    raise
                time.sleep(LOOK_EVERY_S)
            else:
                return

    @property
    def failed(self) -> bool:
        """Tell whether something is decided that could not be committed so far."""
        return self._failed

    def retry(self) -> None:
        """Commit what an earlier commit has failed to keep; raise RetryError when it fails again."""
        if self._failed:
            self.settle()

    def settle(self) -> None:
        """Move what is in the journal alone into the tables; raise RetryError when that cannot be."""
        if not self._waiting or self._reading:
            return
        self._failed = True
        with self.transaction():
            journal.move(self._db, self._moved, self._waiting)
            self._apply_awaited()
            self.put_meta("progress", self.progress)
        self._moved += len(self._waiting)
        self._waiting.clear()
        self.ledger.awaited -= self.ledger.unsettled
        self.ledger.unsettled.clear()
        self._failed = False

    def note_place(self, source: str, position: int, mark: str) -> None:
        """Let the next batch that is kept say the place that was reached in a source."""
        now = self.progress
        left = (now.source, now.position, now.mark) if now.source not in {"", source} else None
        self._left, self._place = left, (source, position, mark)

    def note_progress(self, saved_before: int) -> None:
        """Put down the number reached, and from where on a restart remembers again; inside a transaction.

        The journal must be settled: what it says of the progress would be older.
        """
        self.progress = msgspec.structs.replace(self.progress, seq=self.seq, saved_before=saved_before)
        self.put_meta("progress", self.progress)

    def note_setup(self, name: str, content: bytes) -> None:
        """Keep what answers from now on, by its name; raise RetryError when the file is locked or full."""
        if not self.rows("SELECT 1 FROM setups WHERE name = ?", (name,)):
            with self.transaction():
                self._db.execute("INSERT INTO setups VALUES (?, ?)", (name, content))

    def note_output(self, name: str, length: int) -> None:
        """Put down that all is told in a file of that length in bytes; inside a transaction."""
        self._db.execute("INSERT OR REPLACE INTO outputs VALUES (?, ?, ?)", (name, self.seq, length))

    def place(self, source: str) -> tuple[int, str]:
        """Return the place that was reached in a source, and the mark of the event before it."""
        self.settle()
        if source == self.progress.source:
            return (self.progress.position, self.progress.mark)
        row = self._db.execute("SELECT position, mark FROM sources WHERE name = ?", (source,)).fetchone()
        return (0, "") if row is None else (row[0], row[1])

    def drift(self) -> list[Kept]:
        """Return the tallies of drift."""
        kept = {(row[0], row[1]): row for row in self._db.execute("SELECT * FROM drift")}
        for entry in self._waiting:
            kept.update({(row[0], row[1]): row for row in entry.drift})
        return list(kept.values())

    def load(self, keys: Sequence[ProfileKey]) -> dict[ProfileKey, bytes]:
        """Return the profiles that exist."""
        found: dict[ProfileKey, bytes] = {}
        for key in keys:
            row = self._db.execute("SELECT content FROM profiles WHERE entity = ? AND id = ?", key).fetchone()
            if row is not None:
                found[key] = row[0]
        return found

    def save(self, profiles: Mapping[ProfileKey, bytes]) -> set[ProfileKey]:
        """Store all of them, inside the caller's transaction if one is open; the file has one writer."""
        rows = [(entity, one, content) for (entity, one), content in sorted(profiles.items())]
        with nullcontext() if self._db.in_transaction else self.transaction():
            self._db.executemany(SAVE, rows)
        return set()

    def since(self, seq: int) -> Iterator[PastEvent]:
        """Yield payments and labels after `seq`, in the order in which they were remembered.

        A reader sees the file as it is at the first of them.
        """
        self.settle()
        if not self._reading:
            yield from tables_since(self._db, self.ledger, seq)
            return
        self._db.execute("BEGIN")
        try:
            self._waiting = journal.entries(self._db)
            yield from tables_since(self._db, self.ledger, seq)
            yield from journal_since(self._waiting, self.ledger, seq)
        finally:
            self._db.execute("COMMIT")

    def rows(
        self, query: str, parameters: Sequence[object] | Mapping[str, object] = ()
    ) -> list[tuple[Any, ...]]:
        """Return the rows of a reading query over the tables, for reports.

        A reader misses what a process at work has in its journal alone: its latest few decisions.
        """
        self.settle()
        return self._db.execute(query, parameters).fetchall()

    def _entry(
        self, outcomes: Sequence[Outcome], saved_before: int, latest: int, drift: SchemaDrift
    ) -> Entry:
        rows = journal.linked(outcomes, self.seq, self.progress.chain)
        self.seq = rows.seq
        self.ledger.awaited.update(rows.awaited)
        changes, left = drift.take_changes(), self._left
        self._left = None
        self.progress = Progress(
            self.seq, saved_before, latest, drift.events, drift.labels, *self._place, rows.chain
        )
        return Entry(self.progress, rows.decisions, rows.labels, rows.quarantined, changes, left)

    def _apply_awaited(self) -> None:
        """Enter with their payments the labels that came before these."""
        awaited = self.ledger.awaited
        rows = [row[:2] for entry in self._waiting for row in entry.decisions if row[1] in awaited]
        if rows:
            self._db.executemany(APPLY, rows)
