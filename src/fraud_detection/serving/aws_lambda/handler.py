"""The Lambda function: a batch of one Kinesis shard in, decisions in DynamoDB and in the log out.

Decisions are stored before profiles are.  A batch that is redelivered finds its decisions, and updates only
the profiles that had not seen its events: the effect is that of one delivery.  A record that cannot be
decided is quarantined whole; one that should be retried ends the batch, because Lambda restarts from the
lowest reported number.

Records of the Kinesis Producer Library are disaggregated first, so one invocation may hold many more events
than records: they are decided in parts.
"""

from __future__ import annotations

import math
import os
import random
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from fraud_detection.adapters.aws.clients import client
from fraud_detection.adapters.aws.s3_quarantine import S3Quarantine
from fraud_detection.adapters.aws.sagemaker_endpoint import NOTHING, SageMakerScorer
from fraud_detection.adapters.aws.state.dynamodb_counts import ShardCounts
from fraud_detection.adapters.aws.state.dynamodb_decisions import DynamoDedupIndex, UnfinishedEvent
from fraud_detection.core.errors import NOT_OF_ONE_EVENT, RetryError
from fraud_detection.core.outcomes import Outcome
from fraud_detection.core.score.archive import read_bundle
from fraud_detection.core.score.bundle import Bundle
from fraud_detection.engine.engine import Engine, make_engine
from fraud_detection.engine.pipeline import Pipeline
from fraud_detection.serving.aws_lambda.batch import (
    ShardEvent,
    check_time,
    chunks_of,
    identities_of,
    records_of,
    sequence_value,
    touches,
    unfinished_events,
)
from fraud_detection.serving.aws_lambda.decision_log import Batch, DecisionLog, line
from fraud_detection.serving.aws_lambda.decline_cap import ShardDeclineCap
from fraud_detection.serving.aws_lambda.profile_store import profile_store
from fraud_detection.serving.aws_lambda.results import ResultMaker
from fraud_detection.serving.aws_lambda.settings import PREFIX, ProcessorSettings
from fraud_detection.serving.steady_clock import SteadyClock

ROUNDS = 12
"""How often a batch is reapplied because other shards changed the profiles that it shares with them."""

BUSY_PAUSE_S = 0.02


class Processor:
    """Decides batches; holds nothing between them but clients and the bundle."""

    def __init__(
        self,
        settings: ProcessorSettings,
        write_line: Callable[[bytes], object],
        clients: Callable[[str], Any] = client,
        bundle: Bundle | None = None,
    ) -> None:
        """Make the clients; `write_line` takes log lines.

        bundle: None loads the one that the settings name.
        """
        bundle = bundle or read_bundle(Path(settings.bundle))
        features, cutoffs = bundle.contents.features, bundle.manifest.cutoffs
        policy = bundle.contents.project.policy
        self.scorer = SageMakerScorer(
            clients("sagemaker-runtime"),
            settings.endpoint,
            features.names,
            features.fingerprint,
            explain_at=cutoffs.review_at if policy.review_at is None else policy.review_at,
            budget_s=settings.budget_ms / 1000,
        )
        self.engine: Engine = make_engine(bundle, self.scorer)
        dynamodb = clients("dynamodb")
        self.entities = list(self.engine.project.schema.entities)
        self.profiles = profile_store(settings, settings.profiles_table, self.entities, clients)
        self.dedup_index = DynamoDedupIndex(
            dynamodb, settings.decisions_table, settings.labels_table, settings.decisions_days
        )
        self.counts = ShardCounts(dynamodb, settings.decisions_table)
        self.decline_cap = ShardDeclineCap(None, self.counts)
        self.quarantine = S3Quarantine(clients("s3"), settings.quarantine_bucket)
        self.log = DecisionLog(settings.environment, settings.token_key)
        self.results = ResultMaker(self.entities, self.log, self.dedup_index, self.profiles)
        self.write_line = write_line
        self._clock = SteadyClock()

    def handle(
        self, shard: str, records: Sequence[ShardEvent], remaining_s: Callable[[], float] = lambda: math.inf
    ) -> list[str]:
        """Decide one batch of a shard; return the sequence number from which Lambda has to retry, if any.

        remaining_s: how long Lambda lets this invocation live; a part that may not finish by then is not
        started.
        """
        longest_s = 0.0
        for chunk in chunks_of(records):
            began = time.perf_counter()
            try:
                check_time(longest_s, remaining_s())
                self._decide_isolating(shard, chunk)
            except RetryError as error:
                refused = {"shard": shard, "from": chunk[0].sequence_number, "error": str(error)}
                self.write_line(line("retry", refused))
                return [chunk[0].number]
            longest_s = max(longest_s, time.perf_counter() - began)
        return []

    def _decide_isolating(self, shard: str, records: Sequence[ShardEvent]) -> None:
        """Decide a batch; an event that raises an unexpected error is isolated by bisection.

        The engine isolates what it meets itself; here it is the rest: stored profiles, stored decisions.
        """
        try:
            self._decide_and_store(shard, records)
        except NOT_OF_ONE_EVENT:
            raise
        except Exception as error:  # noqa: BLE001 - any error is logged, and ends at one event
            if len(records) == 1:
                self._review(shard, records[0], error)
                return
        else:
            return
        half = len(records) // 2
        for chunk in (records[:half], records[half:]):
            self._decide_isolating(shard, chunk)

    def _review(self, shard: str, record: ShardEvent, error: Exception) -> None:
        """Send one payment to review without profiles or model, so that the shard goes on."""
        pipeline = self.engine.pipeline(None, self.dedup_index)
        outcome, failure = pipeline.review_without_profiles(
            record.data, error, *identities_of(shard, [record])
        )
        results = self.results.make([record], [outcome], "", [failure])
        self.quarantine.put(results.quarantined)
        # Otherwise the next batch would meet it again when it finishes this one.
        others = [
            unfinished
            for unfinished in self.dedup_index.unfinished()
            if unfinished.sequence_number != record.sequence_number
        ]
        self.dedup_index.store(results.decisions, [], [])
        self.dedup_index.store_unfinished(others)
        for log_line in results.lines:
            self.write_line(log_line)
        self.write_line(
            self.log.batch(Batch(shard, {}, results.iterator_latency_ms, 0, []), [outcome], NOTHING)
        )

    def _decide_and_store(self, shard: str, records: Sequence[ShardEvent]) -> None:
        self._start(shard)
        times = [time.perf_counter()]
        later = self._resume_earlier_batch(records)
        pipeline, outcomes = self._run_pipeline(records)
        response, endpoint_error = self.scorer.response, self.scorer.last_error
        endpoint_s = self.scorer.seconds
        times.append(time.perf_counter())
        self.decline_cap.begin(pipeline)
        self.dedup_index.store_unfinished([*unfinished_events(records, outcomes), *later])
        results = self.results.make(records, outcomes, response.bundle, pipeline.failures)
        self.quarantine.put(results.quarantined)
        self.dedup_index.store(results.decisions, results.labels, results.redundant)
        times.append(time.perf_counter())
        write_conflicts = self._save(pipeline, records, outcomes)
        self.decline_cap.end(pipeline)
        self.dedup_index.store_unfinished(later)
        times.append(time.perf_counter())
        # Logged only when all of it is stored: a logged decision is durable.
        for log_line in results.lines:
            self.write_line(log_line)
        stages_ms = {
            stage: round(1000 * (end - start), 3)
            for stage, start, end in zip(("decide", "store", "save"), times, times[1:], strict=False)
        }
        stages_ms["endpoint"] = round(1000 * endpoint_s, 3)
        drift = [(row.kind, row.field, row.count) for row in pipeline.parser.drift.rows()]
        batch = Batch(shard, stages_ms, results.iterator_latency_ms, write_conflicts, drift, endpoint_error)
        self.write_line(self.log.batch(batch, outcomes, response))

    def _start(self, shard: str) -> None:
        """Forget the batch before, which may have been of another shard."""
        self.profiles.shard = self.dedup_index.shard = shard
        settings = self.engine.project.decline_cap
        self.dedup_index.counts = None if settings is None else self.counts
        self.decline_cap = ShardDeclineCap(settings, self.counts)
        self.dedup_index.forget()
        self.scorer.forget()

    def _resume_earlier_batch(self, records: Sequence[ShardEvent]) -> list[UnfinishedEvent]:
        """Update profiles with the events of an earlier batch that was dead-lettered before they were saved.

        Return the unfinished events with higher sequence numbers than this batch: Lambda redelivers them.
        """
        first, last = records[0].sequence, records[-1].sequence
        unfinished = self.dedup_index.unfinished()
        earlier = [
            ShardEvent.at(event_left.sequence_number, event, event_left.transaction_id)
            for event_left in unfinished
            if sequence_value(event_left.sequence_number) < first
            and (event := event_left.label or self.dedup_index.event(event_left.transaction_id))
        ]
        if earlier:
            pipeline, outcomes = self._run_pipeline(earlier)
            self._save(pipeline, earlier, outcomes)
            self.decline_cap.end(pipeline)
        return [event_left for event_left in unfinished if sequence_value(event_left.sequence_number) > last]

    def _run_pipeline(self, records: Sequence[ShardEvent]) -> tuple[Pipeline, list[Outcome]]:
        self.profiles.forget()
        pipeline = self.engine.pipeline(self.profiles, self.dedup_index)
        self.decline_cap.join(pipeline)
        pipeline.parser.bounds.arrived(self._clock.now_ms())
        return pipeline, self._outcomes(pipeline, records)

    def _outcomes(self, pipeline: Pipeline, records: Sequence[ShardEvent]) -> list[Outcome]:
        identities = identities_of(self.profiles.shard, records)
        result = pipeline.process([r.data for r in records], identities, [r.sequence for r in records])
        return [record.outcome(outcome) for record, outcome in zip(records, result.outcomes, strict=True)]

    def _save(self, pipeline: Pipeline, records: Sequence[ShardEvent], outcomes: Sequence[Outcome]) -> int:
        """Save the profiles; load those that another shard has changed meanwhile, and reapply their events.

        Return how many these were.
        """
        refused = pipeline.profile_cache.save_all()
        write_conflicts = len(refused)
        for turn in range(ROUNDS):
            if not refused:
                return write_conflicts
            time.sleep(BUSY_PAUSE_S * turn * random.random())  # noqa: S311 - so that two shards part
            pairs = zip(records, outcomes, strict=True)
            touching = [record for record, outcome in pairs if touches(outcome, refused)]
            self._outcomes(pipeline, touching)
            refused = pipeline.profile_cache.save_all()
            write_conflicts += len(refused)
        raise RetryError(f"{len(refused)} profiles were changed by others each of {ROUNDS} times")


def handler(event: dict[str, Any], context: object) -> dict[str, Any]:
    """Respond to Lambda: the items of the batch that failed, for the event source mapping."""
    # All records of an invocation are of one shard: `shardId-000000000006:4954...`.
    shard = event["Records"][0]["eventID"].partition(":")[0]
    left_ms: Callable[[], float] = getattr(context, "get_remaining_time_in_millis", lambda: math.inf)
    failed = processor().handle(shard, records_of(event), lambda: left_ms() / 1000)
    return {"batchItemFailures": [{"itemIdentifier": number} for number in failed]}


@cache
def processor() -> Processor:
    """Return the processor of this container, made at its first invocation."""
    return make_processor(os.environ, _print)


def make_processor(
    environment: Mapping[str, str],
    write_line: Callable[[bytes], object],
    clients: Callable[[str], Any] = client,
) -> Processor:
    """Return what an environment describes; raise ConfigError that names what is wrong in it."""
    bundle = read_bundle(Path(environment.get(f"{PREFIX}BUNDLE", "bundle")))
    settings = ProcessorSettings.read(environment, bundle.contents.project.secrets)
    return Processor(settings, write_line, clients, bundle)


def _print(line: bytes) -> None:
    sys.stdout.write(line.decode() + "\n")
