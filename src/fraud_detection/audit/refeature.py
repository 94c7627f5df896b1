"""Recompute the features of a past payment: replay history and the log up to it, and compare every value.

Only what shares an entity with the payment is replayed: a profile is made of its own entity's payments and
labels alone.  Of several workers the one that decided is replayed, with what it had followed by then.
"""

from __future__ import annotations

import heapq
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from operator import attrgetter

import msgspec

from fraud_detection.adapters.sqlite.event_log import LoggedEvent
from fraud_detection.adapters.sqlite.replication_log import ReplicationEntry
from fraud_detection.adapters.sqlite.state_reader import StateReader, StoredDecision
from fraud_detection.audit.explanation_record import Difference, RecomputedFeatures
from fraud_detection.core.errors import ConfigError
from fraud_detection.core.events import Transaction
from fraud_detection.core.features.extract import Extractor
from fraud_detection.core.features.profile_cache import Ids, ProfileCache
from fraud_detection.core.features.replay import HistoricalPayment, Replay, extract_or_missing
from fraud_detection.core.parse import Parser
from fraud_detection.engine.engine import Engine
from fraud_detection.serving.workers.ownership import Ownership, WorkerFile
from fraud_detection.serving.workers.replica import shared_profiles, without_ordering

Progress = Callable[[str, float], None]
PROGRESS_EVERY = 4096


def replay_event(logged: LoggedEvent, parser: Parser, profile_cache: ProfileCache) -> list[float] | None:
    """Update the profiles with an event of a log; return the features of a payment, None for a label."""
    if logged.event is None:
        profile_cache.apply_label(
            logged.ids, logged.known_at, fraud=logged.fraud, supersedes_known_at=logged.supersedes_known_at
        )
        return None
    payment = parser.parse(logged.event, logged.transaction_id)
    return extract_or_missing(profile_cache, payment) if isinstance(payment, Transaction) else None


class FeatureReplay:
    """Feeds profiles with the history of one payment, as the process that decided it has been fed."""

    def __init__(self, engine: Engine, shard: WorkerFile | None, payment: Transaction) -> None:
        """Start with an empty memory.

        shard: which of several workers decided; None where one process did.
        """
        self.profile_cache = ProfileCache(
            Extractor(engine.project, engine.bundle.contents.features.category_encoding)
        )
        self.shared = shared_profiles(engine, self.profile_cache)
        self.parser = Parser(engine.project.schema)
        self.ownership = None if shard is None else Ownership(engine.project.schema, shard.workers)
        self.worker = 0 if shard is None else shard.worker
        self.ids = payment.entities
        self.history = self.events = 0

    def take_history(self, history: Sequence[HistoricalPayment], progress: Progress) -> None:
        """Load history, with the labels that were known by its end."""
        replay = Replay(self.profile_cache)
        for number, historical in enumerate(history, start=1):
            if self.is_near(historical.payment.entities):
                self.history += 1
                replay.apply_labels_until(historical.payment.event_time)
                if self._owns(historical):
                    extract_or_missing(self.profile_cache, historical.payment)
                    replay.hold_labels_back(historical)
                else:
                    extract_or_missing(self.shared, historical.payment)
                    replay.hold_labels_back(without_ordering(historical))
            if number % PROGRESS_EVERY == 0:
                progress(f"replaying history: {number:,} payments", number / len(history))
        if history:
            replay.apply_labels_until(history[-1].payment.event_time)

    def take(self, logged: LoggedEvent, profile_cache: ProfileCache) -> None:
        """Update the profiles with an event of a log."""
        if not self.is_near(logged.ids):
            return
        self.events += 1
        replay_event(logged, self.parser, profile_cache)

    def is_near(self, ids: Ids) -> bool:
        """Return whether these entities share one with the payment."""
        return any(
            entity_id is not None and entity_id == own for entity_id, own in zip(ids, self.ids, strict=False)
        )

    def _owns(self, historical: HistoricalPayment) -> bool:
        if self.ownership is None:
            return True
        return (
            self.ownership.of(historical.payment.entities, historical.payment.transaction_id) == self.worker
        )


def recompute_features(
    record: StateReader,
    others: Mapping[int, StateReader],
    stored: StoredDecision,
    engine: Engine,
    history: Sequence[HistoricalPayment],
    progress: Progress,
) -> RecomputedFeatures:
    """Recompute the features; raise ConfigError when history or a worker's file is missing.

    others: the other workers' files by their numbers.
    """
    shard = shard_of(record)
    _check_same_history(record, shard, history)
    payment = Parser(engine.project.schema).parse(stored.event, stored.transaction_id)
    if not isinstance(payment, Transaction):
        raise ConfigError(f"payment {stored.transaction_id}: its stored event is a label, not a payment")
    replay = FeatureReplay(engine, shard, payment)
    replay.take_history(history, progress)
    own: Iterator[LoggedEvent | ReplicationEntry] = record.since(0)
    for number, entry in enumerate(heapq.merge(own, record.replication_entries(), key=attrgetter("seq"))):
        if isinstance(entry, LoggedEvent) and entry.event is not None and entry.seq == stored.seq:
            break
        if isinstance(entry, ReplicationEntry):
            _take_part(replay, entry, others)
        else:
            replay.take(entry, replay.profile_cache)
        if number % PROGRESS_EVERY == 0:
            progress(f"replaying the log: number {entry.seq:,}", entry.seq / stored.seq)
    row = array("d", extract_or_missing(replay.profile_cache, payment))
    values = array("d", stored.features)
    names = engine.bundle.contents.features.names
    return RecomputedFeatures(replay.history, replay.events, len(row), list(_differences(names, values, row)))


def shard_of(record: StateReader) -> WorkerFile | None:
    """Return which of several workers a file is of; None where one process owns it."""
    shard = record.meta("worker_state")
    return None if shard is None else msgspec.convert(shard, WorkerFile)


def _check_same_history(
    record: StateReader, shard: WorkerFile | None, history: Sequence[HistoricalPayment]
) -> None:
    payments_at_start = record.meta("history") or 0
    # A worker counts its own payments alone.
    if bool(payments_at_start) != bool(history) or (shard is None and payments_at_start != len(history)):
        raise ConfigError(
            f"{record.path}: began with {payments_at_start:,} payments of history, and {len(history):,} are "
            "given; name the same file with --history"
        )


def _take_part(replay: FeatureReplay, entry: ReplicationEntry, others: Mapping[int, StateReader]) -> None:
    replica = others.get(entry.worker)
    if replica is None:
        raise ConfigError(
            f"the state file of worker {entry.worker} is missing: this one has followed what it decided"
        )
    for logged in replica.since(entry.after):
        if logged.seq > entry.until:
            return
        replay.take(logged, replay.shared)


def _differences(names: Sequence[str], stored: array[float], replayed: array[float]) -> Iterator[Difference]:
    for index, name in enumerate(names):
        if stored[index : index + 1].tobytes() != replayed[index : index + 1].tobytes():
            yield Difference(f"feature {name}", repr(stored[index]), repr(replayed[index]))
