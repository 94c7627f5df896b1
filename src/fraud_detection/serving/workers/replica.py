"""The service of one of several workers: decides its own payments and replicates what the others decided.

Payments of a merchant or a device reach all workers.  Each worker has its own copy of these shared profiles,
and applies to it what the others have committed, read from their state files.  A profile is a function of the
set of events applied to it, so the copies converge to the one that a single process would have.

A part of another's log is first stored as a reference, with a sequence number in this worker's own log, and
then applied.  A worker that is killed in between reapplies it, and a profile that includes it already skips
it.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from operator import attrgetter

import msgspec

from fraud_detection.adapters.files.event_sources import Batch
from fraud_detection.adapters.ipc.shared_counters import SharedCounters
from fraud_detection.adapters.sqlite.errors import reading
from fraud_detection.adapters.sqlite.event_log import LoggedEvent
from fraud_detection.adapters.sqlite.replication_log import ReplicationEntry, ReplicationLog
from fraud_detection.adapters.sqlite.state_file import StateFile
from fraud_detection.core.decide.decline_cap import DeclineCap
from fraud_detection.core.errors import RetryError
from fraud_detection.core.features.extract import Extractor
from fraud_detection.core.features.profile_cache import ProfileCache
from fraud_detection.core.features.replay import HistoricalPayment, Replay, extract_or_missing
from fraud_detection.core.outcomes import Outcome
from fraud_detection.core.parse import Parser
from fraud_detection.engine.engine import Engine
from fraud_detection.serving.embedded.service import (
    SAVE_AFTER_EVENTS,
    EmbeddedService,
    store_replayed_history,
)
from fraud_detection.serving.reapply import reapply_event
from fraud_detection.serving.workers.decline_cap import WorkerDeclineCap
from fraud_detection.serving.workers.ownership import ORDERING, Ownership

MAX_CONCURRENT = 256
"""Events of another's log that are replicated at once: a few milliseconds in which nothing is decided."""

CommitTime = tuple[int, float]
"""The number of the last event of a commit, and the moment of the commit, in seconds of the machine's clock
since its start: every process reads the same."""


class WorkerService(EmbeddedService):
    """Decides the events that it owns, and replicates the others' commits into the shared profiles.

    worker: its own number.  others: the other workers' files, for reading.  committed: is called with
    the time of each commit.  replicated_until: the last event replicated of each worker's log.  counters:
    the decline cap counters that all workers share; without one each counts for itself.
    """

    def __init__(
        self,
        engine: Engine,
        worker: int,
        state_file: StateFile,
        others: Mapping[int, StateFile],
        save_after_events: int = SAVE_AFTER_EVENTS,
        counters: SharedCounters | None = None,
    ) -> None:
        """Open the state, and reapply what its profiles had not seen, of the others' logs too."""
        pipeline = engine.pipeline(state_file, state_file.dedup_index)
        self.worker, self.others, self._counters = worker, others, counters
        self.committed: Callable[[CommitTime], None] = _nobody
        self.shared = shared_profiles(engine, pipeline.profile_cache)
        self.log = ReplicationLog(state_file.database)
        for other_worker, file in others.items():
            # Without `--synchronous full` a loss of power may take from that file what was read of it.
            self.log.cut_off(other_worker, file.seq)
        self.replicated_until = {other_worker: self.log.reached(other_worker) for other_worker in others}
        # Another parser than the pipeline's: these events are in the tallies of their owner.
        self.reader = Parser(pipeline.parser.schema)
        super().__init__(pipeline, state_file, save_after_events)

    def take(self, batch: Batch, source: str) -> list[Outcome]:
        """Decide one batch, commit it, and announce the commit to the other workers."""
        outcomes = super().take(batch, source)
        self.committed((self.state_file.seq, time.monotonic()))
        return outcomes

    def replicate(self, worker: int) -> list[int]:
        """Replicate the next part of another worker's log; return the numbers of its events there."""
        entries = self._read(worker, self.replicated_until[worker])
        if not entries:
            return []
        until = entries[-1].seq
        self._store_entry(worker, until)
        self._apply(entries, self.state_file.seq)
        self._deferred_events += len(entries)
        self.replicated_until[worker] = until
        self._apply_known_labels(
            max((logged.known_at for logged in entries if logged.event is not None), default=-1)
        )
        return [logged.seq for logged in entries]

    def preload_own_history(self, history: Sequence[HistoricalPayment], ownership: Ownership) -> None:
        """Load historical payments: the own ones wholly, of the others' what the shared profiles see.

        Labels that are not known by the end of history are learned by the owner of their payment, and
        replicated from there.
        """
        replay, mine = Replay(self.pipeline.profile_cache), []
        for historical in history:
            replay.apply_labels_until(historical.payment.event_time)
            if ownership.of(historical.payment.entities, historical.payment.transaction_id) == self.worker:
                extract_or_missing(self.pipeline.profile_cache, historical.payment)
                mine.append(historical)
                replay.hold_labels_back(historical)
            else:
                extract_or_missing(self.shared, historical.payment)
                replay.hold_labels_back(without_ordering(historical))
        own = {historical.payment.transaction_id for historical in mine}
        replay.pending_labels = [label for label in replay.pending_labels if label.transaction_id in own]
        store_replayed_history(self.state_file, replay, mine)
        self.pipeline.pending_labels = self.state_file.dedup_index.pending_labels(self.pipeline.watermark)

    def close(self) -> None:
        """Save the profiles and close the files."""
        super().close()
        if self._counters is not None:
            self._counters.close()
        for file in self.others.values():
            file.close()

    def _shared(self, decline_cap: DeclineCap) -> DeclineCap:
        """Return the decline cap in use: it adds the other workers' counts."""
        if self._counters is None:
            return decline_cap
        return WorkerDeclineCap(decline_cap.settings, self._counters, decline_cap.counts())

    def _read(self, worker: int, after: int, until: int | None = None) -> list[LoggedEvent]:
        """Return the next events of another's log, and never half of those that share a number.

        Raises RetryError when that file cannot be read.
        """
        entries: list[LoggedEvent] = []
        with reading(f"the state file of worker {worker}"):
            for logged in self.others[worker].since(after):
                if until is None:
                    if len(entries) >= MAX_CONCURRENT and logged.seq != entries[-1].seq:
                        break
                elif logged.seq > until:
                    break
                entries.append(logged)
        return entries

    def _store_entry(self, worker: int, until: int) -> None:
        """Commit the reference first: a part that fails here was not applied, and is retried as a whole."""
        self.state_file.flush()
        before = self.state_file.seq
        try:
            with self.state_file.transaction():
                self.state_file.seq += 1
                self.log.append(
                    ReplicationEntry(self.state_file.seq, worker, self.replicated_until[worker], until)
                )
                self.state_file.store_checkpoint(self.pipeline.profile_cache.oldest_unsaved_seq())
        except RetryError:
            self.state_file.seq = before
            raise

    def _apply_known_labels(self, time_ms: int) -> None:
        """Apply own labels of history that have become known by the time of another worker's payments."""
        pipeline = self.pipeline
        if not pipeline.pending_labels or pipeline.pending_labels[-1].known_at > time_ms:
            return
        self._commit(pipeline.apply_known_labels(time_ms))
        self.committed((self.state_file.seq, time.monotonic()))

    def _apply(self, entries: Sequence[LoggedEvent], number: int) -> None:
        self.pipeline.profile_cache.sequence = self.shared.sequence = number
        self.shared.prefetch([logged.ids for logged in entries])
        for logged in entries:
            reapply_event(self.shared, self.reader, logged)

    def _recover(self) -> int:
        """Reapply own events and parts of the others', in the order of this worker's log."""
        profile_cache, count = self.pipeline.profile_cache, 0
        first = self.state_file.checkpoint.recovery_from_seq
        own: Iterator[LoggedEvent | ReplicationEntry] = self.state_file.since(first - 1)
        for entry in heapq.merge(own, self.log.since(first), key=attrgetter("seq")):
            if isinstance(entry, ReplicationEntry):
                entries = self._read(entry.worker, entry.after, entry.until)
                count += len(entries)
                self._apply(entries, entry.seq)
            else:
                count += 1
                profile_cache.sequence = entry.seq
                reapply_event(profile_cache, self.reader, entry)
        profile_cache.sequence = self.state_file.seq
        return count


def shared_profiles(engine: Engine, profile_cache: ProfileCache) -> ProfileCache:
    """Return a memory of the same profiles without those of the ordering entity.

    What one of the two changes, the other sees; the number of the event in hand is set in both.
    """
    entities = profile_cache.extractor.entities
    slots = [slot for slot, entity in enumerate(entities) if entity.index != ORDERING]
    extractor = Extractor(engine.project, engine.bundle.contents.features.category_encoding)
    extractor.entities = [entities[slot] for slot in slots]
    return profile_cache.part(extractor, slots)


def without_ordering(historical: HistoricalPayment) -> HistoricalPayment:
    """Return the payment as its labels are learned by those who do not own it."""
    ids = historical.payment.entities
    masked = (*ids[:ORDERING], None, *ids[ORDERING + 1 :]) if ids else ids
    payment = msgspec.structs.replace(historical.payment, entities=masked)
    return msgspec.structs.replace(historical, payment=payment)


def _nobody(_: CommitTime) -> None:
    """Do nothing."""
