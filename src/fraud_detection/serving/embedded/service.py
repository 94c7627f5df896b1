"""The embedded service: one process with the model in it, and all durable state in one SQLite file."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence

from fraud_detection.adapters.files.event_sources import Batch
from fraud_detection.adapters.host.gc_tuning import sweep
from fraud_detection.adapters.sqlite.state_file import StateFile
from fraud_detection.core.decide.decline_cap import DeclineCap
from fraud_detection.core.errors import ConfigError, RetryError
from fraud_detection.core.features.replay import HistoricalPayment, Replay
from fraud_detection.core.metrics import PERSIST, LatencyHistogram
from fraud_detection.core.outcomes import Decided, NotCommittedError, Outcome
from fraud_detection.core.parse import Parser
from fraud_detection.engine.counters import Tally
from fraud_detection.engine.decision_engine import Canary
from fraud_detection.engine.engine import Engine
from fraud_detection.engine.pipeline import Pipeline
from fraud_detection.serving.embedded import decline_counts
from fraud_detection.serving.reapply import log_failure, reapply_event
from fraud_detection.serving.steady_clock import SteadyClock

SAVE_AFTER_EVENTS = 50_000
MIN_DEFERRED_EVENTS = 8
"""Deferred work runs after so many events: few enough that the next payment hardly waits for it."""
IDS_AN_EVENT = 32
"""So many ids of earlier payments are learned an event: a million in half a minute at 1,000/s."""


LOG = logging.getLogger(__name__)
WARN_EVERY_MS = 60_000
BYTES_A_MB = 1_000_000


class EmbeddedService:
    """Decides batches and commits them; decisions are returned only after their commit.

    Work that no response has to wait for is left to `run_deferred_work`.

    save_after_events: a changed profile is saved so many events later, with all that it has seen by
    then; a restart has at most that many events to reapply.
    """

    def __init__(
        self, pipeline: Pipeline, state_file: StateFile, save_after_events: int = SAVE_AFTER_EVENTS
    ) -> None:
        """Open the state and reapply what its profiles had not seen when they were saved."""
        self.pipeline = pipeline
        self.state_file = state_file
        self.save_after_events = save_after_events
        self.tally = Tally()
        self._deferred_events = 0
        self._clock = SteadyClock()
        self._check_shape()
        pipeline.parser.drift.restore(
            state_file.checkpoint.surveyed, state_file.checkpoint.surveyed_labels, state_file.drift()
        )
        pipeline.watermark = state_file.checkpoint.watermark
        pipeline.pending_labels = state_file.dedup_index.pending_labels(pipeline.watermark)
        self._counted = 0
        if pipeline.decision_engine.decline_cap is not None:
            pipeline.decision_engine.decline_cap = self._shared(
                decline_counts.restored(pipeline.decision_engine.decline_cap.settings, state_file)
            )
            self._save_counts()
        self.release = 0
        self._warned = 0.0
        self._fingerprint = ""
        self.recovered = self._recover()

    @property
    def stages(self) -> dict[str, LatencyHistogram]:
        """Return the time of each stage, by name: that of the batch, once for each of its payments."""
        return self.pipeline.stages.histograms

    def decide_with(
        self,
        champion: Engine,
        canary: Engine | None = None,
        share: float = 0.0,
        release: int = 0,
        salt: str = "",
    ) -> None:
        """Decide with these from the next batch on: the canary for a share of the cards.

        release: the number of the release that says so.  salt: chooses the cards; without it the
        configuration does.

        Raises ConfigError when the features are others than those of the profiles here.
        """
        decision_engine, decline_cap = (
            self.pipeline.decision_engine,
            self.pipeline.decision_engine.decline_cap,
        )
        for engine in filter(None, (champion, canary)):
            known = self._fingerprint or engine.bundle.manifest.fingerprint
            if engine.bundle.manifest.fingerprint != known:
                raise ConfigError(
                    f"bundle {engine.bundle.name} needs other features (fingerprint "
                    f"{engine.bundle.manifest.fingerprint}) than those of the profiles here ({known}); it "
                    "needs a new state file, made with `fraud state create FILE --history PAYMENTS`"
                )
            self._fingerprint = known
            self.state_file.store_configuration(engine.configuration.config_id, engine.configuration.content)
        settings = champion.project.decline_cap
        if settings is None:
            decline_cap = None
        elif decline_cap is None:
            decline_cap = self._shared(decline_counts.restored(settings, self.state_file))
        elif decline_cap.settings != settings:
            decline_cap = self._shared(DeclineCap(settings, decline_cap.counts()))
        self.release = release
        if decline_cap is not decision_engine.decline_cap:
            decision_engine.decline_cap = decline_cap
            self._save_counts()
        decision_engine.champion = champion.strategy
        decision_engine.canary = None
        if canary is not None:
            decision_engine.canary = Canary(canary.strategy, share, salt or canary.configuration.config_id)

    def limit_profile_memory(self, max_bytes: int) -> None:
        """Let profiles take at most so much memory, about, from now on; no decision depends on it.

        What is not saved yet stays beyond it, with `save_after_events` events at most.
        """
        self.pipeline.profile_cache.resident.limit(max_bytes)

    def take(self, batch: Batch, source: str) -> list[Outcome]:
        """Decide one batch and commit it together with the offset in the source; one outcome an event.

        Raises NotCommittedError, with the outcomes, when it cannot be committed: it is decided all the same,
        and committed before anything else is taken; RetryError when what was decided before cannot be.
        """
        start = time.perf_counter()
        self.state_file.retry()
        pipeline = self.pipeline
        now_ms = self._clock.now_ms()
        pipeline.parser.bounds.arrived(now_ms)
        processed = pipeline.process(batch.events, batch.identities, senders=batch.senders)
        for failure in pipeline.failures:
            log_failure(failure)
        self.state_file.set_offset(source, batch.offset, batch.fingerprint)
        self.state_file.quarantine.start_batch(processed.outcomes, batch.identities, now_ms)
        try:
            self._commit(processed.log)
        except RetryError as error:
            raise NotCommittedError(str(error), processed.outcomes) from error.__cause__
        finally:
            pipeline.stages.lap(PERSIST)
            self._measure(processed.outcomes, time.perf_counter() - start)
        return processed.outcomes

    def _commit(self, log: Sequence[Outcome]) -> None:
        pipeline = self.pipeline
        self._deferred_events += len(log)
        self.state_file.commit(
            log, pipeline.profile_cache.oldest_unsaved_seq(), pipeline.watermark, pipeline.parser.drift
        )

    def run_deferred_work(self) -> None:
        """Run the work that was deferred until decisions were returned, if there is enough of it.

        Flushes the journal into the tables, saves profiles, loads ids of earlier payments, and collects
        garbage.
        """
        if self._deferred_events < MIN_DEFERRED_EVENTS:
            return
        # No event changes more than one profile of a kind: so many saved are as many as those changed.
        self.state_file.flush()
        self.pipeline.profile_cache.save_changed_before(
            self.state_file.seq - self.save_after_events, self._deferred_events
        )
        self.state_file.dedup_index.enter_from_tables(IDS_AN_EVENT * self._deferred_events)
        self._deferred_events = 0
        if self.state_file.seq - self._counted >= decline_counts.SAVE_AFTER_EVENTS:
            self._save_counts()
        sweep()

    def preload_history(self, history: Sequence[HistoricalPayment], on_payment: Callable[[], None]) -> None:
        """Load historical payments into the profiles without deciding them; none will be decided later.

        Their labels are learned when they became known, those that were not known by the end of
        history when the stream comes to their time.
        """
        replay = Replay(self.pipeline.profile_cache)
        for _ in replay.rows(history):
            on_payment()
        store_replayed_history(self.state_file, replay, history)
        self.pipeline.pending_labels = self.state_file.dedup_index.pending_labels(self.pipeline.watermark)

    def close(self) -> None:
        """Save the profiles and close the state file."""
        self.state_file.flush()
        profile_cache = self.pipeline.profile_cache
        with self.state_file.transaction():
            profile_cache.save_all()
            self.state_file.store_checkpoint(profile_cache.oldest_unsaved_seq())
            decline_counts.save(self.pipeline.decision_engine.decline_cap, self.state_file)
        self.state_file.close()

    def _shared(self, decline_cap: DeclineCap) -> DeclineCap:
        """Return the decline cap in use: this process counts alone."""
        return decline_cap

    def _save_counts(self) -> None:
        """Store the decline counts, so that a restart only counts the rest."""
        self._counted = self.state_file.seq
        if self.pipeline.decision_engine.decline_cap is not None:
            self.state_file.flush()
            with self.state_file.transaction():
                decline_counts.save(self.pipeline.decision_engine.decline_cap, self.state_file)

    def _check_shape(self) -> None:
        """Check that the stored profiles were made with these features."""
        extractor = self.pipeline.profile_cache.extractor
        shape = [definition.name for definition in extractor.definitions]
        shape += [
            f"{entity.plan.bucket_count} buckets, {entity.plan.limit} distinct ids"
            for entity in extractor.entities
        ]
        stored = self.state_file.meta("shape", None)
        if stored is None:
            with self.state_file.transaction():
                self.state_file.put_meta("shape", shape)
        elif stored != shape:
            raise ConfigError(
                "the state file was made with other features; make a new one with `fraud state create FILE "
                "--history PAYMENTS`"
            )

    def _recover(self) -> int:
        """Reapply what came since the oldest change that was not saved; return how many events."""
        profile_cache = self.pipeline.profile_cache
        # Another parser, because these events are in the tallies of drift already.
        parser = Parser(self.pipeline.parser.schema)
        count = 0
        for logged in self.state_file.since(self.state_file.checkpoint.recovery_from_seq - 1):
            count += 1
            profile_cache.sequence = logged.seq
            reapply_event(profile_cache, parser, logged)
        profile_cache.sequence = self.state_file.seq
        return count

    def _measure(self, outcomes: list[Outcome], seconds: float) -> None:
        now_ms = time.time() * 1000
        before, capped = self.tally.decided, self.tally.capped
        for outcome in outcomes:
            self.tally.add(outcome)
            if isinstance(outcome, Decided) and outcome.payment.sent_at is not None:
                self.tally.latency.add(max(now_ms - outcome.payment.sent_at, 0.0) / 1000)
        if self.tally.capped > capped:
            self._warn_of_limit(now_ms)
        decided = self.tally.decided - before
        if decided:
            self.tally.engine.add(seconds, decided)
        self.pipeline.stages.end(decided)

    def _warn_of_limit(self, now_ms: float) -> None:
        if now_ms - self._warned < WARN_EVERY_MS:
            return
        self._warned = now_ms
        LOG.warning(
            "decline cap: %d payments so far are reviewed that would have been declined, because too many "
            "were; look at what changed last, and take it back with `fraud rollback`",
            self.tally.capped,
            extra={"event": "decline_cap_reached"},
        )


def store_replayed_history(
    state_file: StateFile,
    replay: Replay,
    history: Sequence[HistoricalPayment],
    *,
    labels_in_stream: bool = False,
) -> None:
    """Let a state file begin where a replay of history ended.

    labels_in_stream: the stream itself carries the labels that were not known by the end of history;
    else they are learned from history when the stream comes to their time.
    """
    if has_history(state_file):
        raise ConfigError("the state file is in use: history is only taken into a new one")
    replay.profile_cache.store = state_file
    with state_file.transaction():
        state_file.put_meta("history", len(history))
        pending_labels = replay.still_pending()
        state_file.dedup_index.store_history(history, pending_labels)
        if not labels_in_stream:
            state_file.dedup_index.store_pending_labels(pending_labels)
        replay.profile_cache.save_all()


def has_history(state_file: StateFile) -> bool:
    """Return whether this state file holds preloaded history or decisions."""
    return bool(state_file.seq) or state_file.meta("history", None) is not None
