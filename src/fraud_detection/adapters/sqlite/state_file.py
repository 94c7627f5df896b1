"""The state file of one embedded service: decisions, labels, quarantine and profiles in one SQLite file.

Everything that a batch changed is committed together with the offset reached in the
source, so a process that is killed at any moment starts again from its last commit:
nothing is lost and nothing is decided twice.  A small batch is committed as one row of
a journal, and moved into the tables behind.  Profiles are saved some time after they
changed; the events that they had not seen by then are reapplied at the start.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import msgspec

from fraud_detection.adapters.host.background import Background
from fraud_detection.adapters.sqlite import journal
from fraud_detection.adapters.sqlite.checkpointer import WalCheckpointer
from fraud_detection.adapters.sqlite.connection import WAIT_FOR_LOCK_S, StateConnection
from fraud_detection.adapters.sqlite.dedup.dedup_index import SqliteDedupIndex
from fraud_detection.adapters.sqlite.dedup.shared_ids import SharedIds
from fraud_detection.adapters.sqlite.errors import opening, passes
from fraud_detection.adapters.sqlite.event_log import LoggedEvent, journal_since, tables_since
from fraud_detection.adapters.sqlite.journal import Checkpoint, Entry
from fraud_detection.adapters.sqlite.quarantine import SqliteQuarantine
from fraud_detection.adapters.sqlite.sources import SqliteSources
from fraud_detection.adapters.sqlite.state_guard import StateGuard
from fraud_detection.core.errors import RetryError
from fraud_detection.core.outcomes import Outcome
from fraud_detection.core.parse.drift import SchemaDrift, TallyRow
from fraud_detection.core.ports import ProfileKey
from fraud_detection.core.sources import KnownSource

APPLY = """
    UPDATE labels SET applied_at = ? WHERE transaction_id = ? AND applied_at IS NULL AND NOT redundant"""
SAVE = """
    INSERT INTO profiles (entity, id, content) VALUES (?, ?, ?)
    ON CONFLICT (entity, id) DO UPDATE SET content = excluded.content"""
MAX_ROWS = 64
"""A larger batch goes straight into the tables."""
MAX_ENTRIES = 64
"""Maximum of unflushed journal entries; more are flushed at once."""
IDS_AT_START = 100_000
"""Ids loaded at the start, in a tenth of a second; the others are loaded between payments."""


class StateFile(StateConnection):
    """StateStore and decision log in one SQLite file with one writer.

    dedup_index: payments and labels that were processed.  quarantine: events that cannot be decided.
    """

    def __init__(
        self,
        path: Path,
        *,
        synchronous: str = "NORMAL",
        reading: bool = False,
        wait_s: float = WAIT_FOR_LOCK_S,
        background: Background | None = None,
        shared_ids: SharedIds | None = None,
    ) -> None:
        """Open the file; raise ConfigError when it is another's, no state file, or has lost answers.

        synchronous: NORMAL survives the death of the process; FULL also that of the machine, at the
        price of a disk flush a commit.  reading: nothing will be written, so others may be at work.
        wait_s: how long a commit waits for another process that holds the file.  background: what
        supervises the process's background work; one is made where there is none.  shared_ids: where other
        workers see the ids of the file.
        """
        self._shared_ids = shared_ids
        super().__init__(path, synchronous=synchronous, reading=reading, wait_s=wait_s)
        self.background = background or Background()
        try:
            with opening(path):
                self._restore()
        except BaseException:
            self._release()
            raise
        self._checkpointer = None
        if not reading:
            self._checkpointer = WalCheckpointer(path.resolve(), self._owned.flush).start(self.background)

    def _restore(self) -> None:
        self._flushed, self._waiting = journal.last_flushed(self._db), journal.entries(self._db)
        checkpoint = msgspec.convert(self.meta("checkpoint", ()), Checkpoint)
        self.checkpoint = self._waiting[-1].checkpoint if self._waiting else checkpoint
        self.seq: int = self.checkpoint.seq
        self._sources = SqliteSources(self._db, self.checkpoint)
        self.dedup_index = SqliteDedupIndex(self._db, self.flush, self._shared_ids)
        self.quarantine = SqliteQuarantine(self._db)
        if not self._reading:
            self.flush()
            self.dedup_index.look_for_awaited()
            self.dedup_index.enter_from_tables(IDS_AT_START)

    def close(self) -> None:
        """Close the file; everything committed is in it."""
        if self._checkpointer is not None:
            self._checkpointer.stop()
        self._release()

    def commit(
        self, outcomes: Sequence[Outcome], recovery_from_seq: int, watermark: int, drift: SchemaDrift
    ) -> None:
        """Commit one batch of outcomes, in order; raise RetryError when the file cannot be written now.

        What could not be committed is not lost: it is kept here, and `flush` tries again.
        """
        guard, entry = self._owned, self._entry(outcomes, recovery_from_seq, watermark, drift)
        self._waiting.append(entry)
        decided = [row[1] for row in entry.decisions]
        self.dedup_index.enter(decided)
        # A label that waits for its payment is entered with it, so that whoever reads the log misses none.
        awaited = not self.dedup_index.awaited.isdisjoint(decided)
        if awaited or entry.size > MAX_ROWS or len(self._waiting) > MAX_ENTRIES:
            self.flush()
        else:
            self._append(entry, guard)
        self._write_marker(guard)

    def _append(self, entry: Entry, guard: StateGuard) -> None:
        slot = len(self._waiting)
        self._failed = True
        guard.check_intact()
        try:
            owned = self._patiently(journal.append, self._db, self._flushed, slot, entry, guard.epoch)
        except sqlite3.OperationalError as error:
            if not passes(error):
                raise
            raise RetryError(f"the state file cannot be written: {error}") from error
        if not owned:
            guard.check_owner(self._db)
        guard.committed()
        self._failed = False

    def _write_marker(self, guard: StateGuard) -> None:
        """Write the commit marker; raise RetryError when that cannot be written."""
        try:
            guard.mark_committed(self.checkpoint.seq, self.checkpoint.chain)
        except RetryError:
            self._failed = True
            raise

    def retry(self) -> None:
        """Commit what an earlier commit has failed to store; raise RetryError when it fails again."""
        if self._failed or self._error:
            if self.look():
                raise RetryError(self._error)
            self.flush()
            self._write_marker(self._owned)
            self._failed = False

    def flush(self) -> None:
        """Flush the journal into the tables; raise RetryError when that fails for now."""
        if not self._waiting or self._reading:
            return
        self._failed = True
        with self.transaction():
            journal.flush(self._db, self._flushed, self._waiting)
            self._apply_awaited()
            self.put_meta("checkpoint", self.checkpoint)
        self._flushed += len(self._waiting)
        self._waiting.clear()
        self.quarantine.flushed()
        self.dedup_index.awaited -= self.dedup_index.unflushed
        self.dedup_index.unflushed.clear()
        self._failed = False

    def set_offset(self, source: str, offset: int, fingerprint: str) -> None:
        """Set the offset of a source that the next commit stores."""
        self._sources.set_offset(self.checkpoint, source, offset, fingerprint)

    def store_source(self, source: KnownSource, path: str = "") -> bool:
        """Store a source and its path; return whether another source was read at that path before."""
        with self.transaction():
            return self._sources.store(source, path, self.checkpoint.source)

    def store_checkpoint(self, recovery_from_seq: int) -> None:
        """Store the last number, and from which one on a restart reapplies events; inside a transaction.

        The journal must be settled: what it says of the progress would be older.
        """
        self.checkpoint = msgspec.structs.replace(
            self.checkpoint, seq=self.seq, recovery_from_seq=recovery_from_seq
        )
        self.put_meta("checkpoint", self.checkpoint)

    def store_configuration(self, config_id: str, content: bytes) -> None:
        """Store the configuration that decides from now on; raise RetryError when that fails now."""
        if not self.rows("SELECT 1 FROM configurations WHERE config_id = ?", (config_id,)):
            with self.transaction():
                self._db.execute("INSERT INTO configurations VALUES (?, ?)", (config_id, content))

    def store_output_length(self, name: str, length: int) -> None:
        """Store that an output file of this length in bytes holds all decisions; inside a transaction."""
        self._db.execute("INSERT OR REPLACE INTO outputs VALUES (?, ?, ?)", (name, self.seq, length))

    def sources(self, beginning: str) -> list[KnownSource]:
        """Return the known sources whose names have this prefix."""
        self.flush()
        return self._sources.known(beginning, self._waiting, self.checkpoint)

    def drift(self) -> list[TallyRow]:
        """Return the tallies of drift."""
        tallies = {(row[0], row[1]): row for row in self._db.execute("SELECT * FROM drift")}
        for entry in self._waiting:
            tallies.update({(row[0], row[1]): row for row in entry.drift})
        return list(tallies.values())

    def load(self, keys: Sequence[ProfileKey]) -> dict[ProfileKey, bytes]:
        """Return the profiles that exist."""
        profiles: dict[ProfileKey, bytes] = {}
        for key in keys:
            row = self._db.execute("SELECT content FROM profiles WHERE entity = ? AND id = ?", key).fetchone()
            if row is not None:
                profiles[key] = row[0]
        return profiles

    def save(self, profiles: Mapping[ProfileKey, bytes]) -> set[ProfileKey]:
        """Store all of them, inside the caller's transaction if one is open; the file has one writer."""
        rows = [(entity, entity_id, content) for (entity, entity_id), content in sorted(profiles.items())]
        with nullcontext() if self._db.in_transaction else self.transaction():
            self._db.executemany(SAVE, rows)
        return set()

    def since(self, seq: int) -> Iterator[LoggedEvent]:
        """Yield payments and labels after `seq`, in the order in which the profiles saw them.

        A reader sees the file as it is at the first of them.
        """
        self.flush()
        if not self._reading:
            yield from tables_since(self._db, self.dedup_index, seq)
            return
        self._db.execute("BEGIN")
        try:
            self._waiting = journal.entries(self._db)
            yield from tables_since(self._db, self.dedup_index, seq)
            yield from journal_since(self._waiting, self.dedup_index, seq)
        finally:
            self._db.execute("COMMIT")

    def rows(
        self, query: str, parameters: Sequence[object] | Mapping[str, object] = ()
    ) -> list[tuple[Any, ...]]:
        """Return the rows of a reading query over the tables, for reports.

        A reader misses what a process at work has in its journal alone: its latest few decisions.
        """
        self.flush()
        return self._db.execute(query, parameters).fetchall()

    def _entry(
        self, outcomes: Sequence[Outcome], recovery_from_seq: int, watermark: int, drift: SchemaDrift
    ) -> Entry:
        rows = journal.linked(outcomes, self.seq, self.checkpoint.chain, self.quarantine)
        self.seq = rows.seq
        self.dedup_index.awaited.update(rows.awaited)
        changes, left = drift.pop_changes(), self._sources.pop_left()
        self.checkpoint = Checkpoint(
            self.seq,
            recovery_from_seq,
            watermark,
            drift.events,
            drift.labels,
            *self._sources.offset,
            rows.chain,
        )
        new_rows = (rows.decisions, rows.labels, rows.quarantined)
        return Entry(self.checkpoint, *new_rows, changes, left, rows.duplicates, rows.origins)

    def _apply_awaited(self) -> None:
        """Insert the labels that arrived before these payments."""
        awaited = self.dedup_index.awaited
        rows = [row[:2] for entry in self._waiting for row in entry.decisions if row[1] in awaited]
        if rows:
            self._db.executemany(APPLY, rows)
