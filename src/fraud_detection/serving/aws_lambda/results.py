"""Results of a batch: decisions, labels and quarantined events to store, and lines to log."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from fraud_detection.adapters.aws.s3_quarantine import QuarantinedEvent
from fraud_detection.adapters.aws.state.dynamodb_decisions import DecisionItem, DynamoDedupIndex
from fraud_detection.adapters.aws.state.versioned_profiles import VersionedProfileStore
from fraud_detection.core.errors import Failure
from fraud_detection.core.events import INTERNAL_ERROR, Label, Quarantined
from fraud_detection.core.outcomes import AppliedLabel, Decided, Outcome, RedundantLabel
from fraud_detection.serving.aws_lambda.batch import (
    ShardEvent,
    counts_as_declined,
    failed_event,
    quarantined_event,
)
from fraud_detection.serving.aws_lambda.decision_log import DecisionLog


class Results(msgspec.Struct):
    """What a batch decided, learned and quarantined; the lines to log, and the times since put, in ms."""

    lines: list[bytes] = []
    iterator_latency_ms: list[float] = []
    decisions: list[DecisionItem] = []
    labels: list[Label] = []
    redundant: list[Label] = []
    quarantined: list[QuarantinedEvent] = []


class ResultMaker:
    """Makes the results of batches from what the deduplication index and the profiles hold."""

    def __init__(
        self,
        entities: Sequence[str],
        log: DecisionLog,
        dedup_index: DynamoDedupIndex,
        profiles: VersionedProfileStore,
    ) -> None:
        """Take the names of the entities in the order of the schema, the log, the index and the profiles."""
        self._entities, self._log = list(entities), log
        self._dedup_index, self._profiles = dedup_index, profiles

    def make(
        self,
        records: Sequence[ShardEvent],
        outcomes: Sequence[Outcome],
        model: str,
        failures: Sequence[Failure] = (),
    ) -> Results:
        """Return the results; `model` is the bundle that scored."""
        results = Results()
        by_id = {failed.transaction_id: failed for failed in failures}
        by_raw = {failed.raw: failed for failed in failures}
        for record, outcome in zip(records, outcomes, strict=True):
            failure = by_id.get(outcome.payment.transaction_id) if isinstance(outcome, Decided) else None
            if failure is None and isinstance(outcome, Quarantined) and _is_failure(outcome):
                failure = by_raw.get(record.data)
            if failure is not None:
                results.lines.append(
                    self._log.failed(self._dedup_index.shard, record.sequence_number, failure)
                )
                results.quarantined.append(failed_event(self._dedup_index.shard, record, failure))
            if failure is None or isinstance(outcome, Decided):
                self._add(results, record, outcome, model)
        return results

    def _add(self, results: Results, record: ShardEvent, outcome: Outcome, model: str) -> None:
        shard = self._dedup_index.shard
        if isinstance(outcome, Decided):
            decision, waited_ms = self._decision_item(record, outcome, model)
            results.decisions.append(decision)
            results.iterator_latency_ms.append(waited_ms)
            results.lines.append(decision.line.encode())
        elif isinstance(outcome, AppliedLabel):
            results.labels.append(msgspec.structs.replace(outcome.label, sequence=record.sequence))
        elif isinstance(outcome, RedundantLabel):
            results.redundant.append(msgspec.structs.replace(outcome.label, sequence=record.sequence))
        elif isinstance(outcome, Quarantined):
            results.quarantined.append(quarantined_event(shard, record, outcome))
            results.lines.append(self._log.quarantined(shard, record.sequence_number, outcome))
        elif not outcome.is_label:
            redelivered = self._dedup_index.redelivered(outcome.transaction_id, record.sequence)
            results.lines += [] if redelivered is None else [redelivered.line.encode()]

    def _decision_item(self, record: ShardEvent, outcome: Decided, model: str) -> tuple[DecisionItem, float]:
        payment, shard = outcome.payment, self._dedup_index.shard
        ids = dict(zip(self._entities, payment.entities, strict=True))
        known = {name: entity_id for name, entity_id in ids.items() if entity_id is not None}
        versions = {
            name: self._profiles.version((self._entities.index(name), entity_id))
            for name, entity_id in known.items()
        }
        line, waited_ms = self._log.decision(
            outcome, model, known, versions, (shard, record.sequence_number), record.arrived_s
        )
        return DecisionItem(
            outcome.decision.transaction_id,
            line.decode(),
            shard,
            record.sequence,
            payment.entities,
            outcome.values.tobytes(),
            outcome.raw,
            versions,
            counts_as_declined(outcome.decision),
        ), waited_ms


def _is_failure(outcome: Quarantined) -> bool:
    return outcome.reason.startswith(INTERNAL_ERROR)
