"""Log lines of the Lambda function: one per decision, per refused record, and per batch with its counts.

No line holds personal data: entity ids are tokens, and of a refused record only the number and reason.
Decisions and refused records are those of `decision_record`, with shard and sequence number added.
The line of a batch is also what CloudWatch makes metrics of (its embedded metric format), so that nothing
has to be sent anywhere.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Mapping, Sequence

import msgspec

from fraud_detection.core.decision_record import (
    Delivery,
    conflict_record,
    decision_record,
    encode,
    quarantine_record,
)
from fraud_detection.core.errors import Failure
from fraud_detection.core.events import INTERNAL_ERROR, Action, Conflict, Quarantined
from fraud_detection.core.outcomes import AppliedLabel, Decided, Duplicate, Outcome, RedundantLabel
from fraud_detection.core.score.protocol import ScoreResponse

NAMESPACE = "FraudDetection"
COUNTS = (
    "decided",
    "approved",
    "reviewed",
    "declined",
    "degraded",
    "capped",
    "internal_errors",
    "control_group",
    "quarantined",
    "conflicts",
    "duplicates",
    "labels",
)
BANDS = 4
BEFORE_VALUES = re.compile(", got |: | of ")
MAX_VALUES = 100
"""CloudWatch takes so many values of one metric in a line."""
MAX_DRIFT, MAX_TEXT_LENGTH = 100, 200
"""A line of more than 256 kB is cut, and its metrics are lost: what callers can make grow is bounded."""


class Batch(msgspec.Struct, frozen=True):
    """Log data of a batch: its shard, the time of each stage in ms, and errors.

    write_conflicts: profiles that another shard had changed before they were saved.
    """

    shard: str
    stages_ms: dict[str, float]
    iterator_latency_ms: list[float]
    write_conflicts: int
    drift: list[tuple[str, str, int]]
    endpoint_error: str = ""


class DecisionLog:
    """Makes the log lines.  token_key: key of the entity tokens; without it they cannot be linked to ids."""

    def __init__(self, environment: str, token_key: str) -> None:
        """Take the name of the environment."""
        self._environment, self._token_key = environment, token_key.encode()

    def decision(
        self,
        decided: Decided,
        model: str,
        ids: Mapping[str, str],
        versions: Mapping[str, int],
        record_position: tuple[str, str],
        arrived_s: float,
    ) -> tuple[bytes, float]:
        """Return the line of a decision, and how many ms passed since its record was put.

        ids, versions: of the entities, by name.  record_position: shard and sequence number.
        """
        payment, now = decided.payment, time.time()
        iterator_latency_ms = round(1000 * (now - arrived_s), 3)
        delivery = Delivery(
            shard=record_position[0],
            sequence_number=record_position[1],
            model=model,
            entities={name: self.token(entity_id) for name, entity_id in ids.items()},
            profile_versions={**versions},
            iterator_latency_ms=iterator_latency_ms,
            producer_latency_ms=None if payment.sent_at is None else round(1000 * now - payment.sent_at, 3),
        )
        return encode(decision_record(decided.decision, payment.event_time, delivery)), iterator_latency_ms

    def quarantined(self, shard: str, number: str, record: Quarantined) -> bytes:
        """Return the line of a record that can never be decided; without the invalid value."""
        delivery = Delivery(shard=shard, sequence_number=number)
        if isinstance(record, Conflict):
            # Its reason names fields, and holds no value.
            return encode(conflict_record(record, delivery))
        named = msgspec.structs.replace(record, reason=without_value(record.reason))
        return encode(quarantine_record(named, delivery))

    def failed(self, shard: str, sequence_number: str, failure: Failure) -> bytes:
        """Return the line of an error with one event: its kind and where, and no value of the event."""
        where = {"shard": shard, "sequence_number": sequence_number}
        content = {
            "transaction_id": failure.transaction_id or None,
            "error": failure.where,
            "delivery": where,
        }
        return line("internal_error", content)

    def batch(self, batch: Batch, outcomes: Sequence[Outcome], response: ScoreResponse) -> bytes:
        """Return the line of a batch, with what CloudWatch counts in it."""
        bands = response.bands or [0] * BANDS
        metrics = count(outcomes) | {f"band{index}": number for index, number in enumerate(bands)}
        metrics |= {"scored": len(response.predictions), "above_decline": response.above_decline}
        put = sample(batch.iterator_latency_ms, MAX_VALUES)
        return line(
            "batch",
            {
                "_aws": _metrics(list(metrics), with_latency=bool(put)),
                "environment": self._environment,
                "bundle": response.bundle or "none",
                "shard": batch.shard,
                "records": len(outcomes),
                **metrics,
                "iterator_latency_ms": put,
                "stages_ms": batch.stages_ms,
                "write_conflicts": batch.write_conflicts,
                "endpoint_error": batch.endpoint_error[:MAX_TEXT_LENGTH],
                "drift": [
                    (kind, field[:MAX_TEXT_LENGTH], number) for kind, field, number in batch.drift[:MAX_DRIFT]
                ],
                "drift_left_out": max(0, len(batch.drift) - MAX_DRIFT),
            },
        )

    def token(self, entity_id: str) -> str:
        """Return the token of an id: equal ids have equal tokens."""
        return hashlib.blake2b(entity_id.encode(), key=self._token_key[:64], digest_size=8).hexdigest()


def count(outcomes: Sequence[Outcome]) -> dict[str, int]:
    """Return how many outcomes there are of each kind; `degraded` are decisions without a score.

    capped: reviewed because no more may be declined.  control_group: approved at random.
    """
    decisions = [outcome.decision for outcome in outcomes if isinstance(outcome, Decided)]
    kinds = [type(outcome) for outcome in outcomes]
    actions = [decision.action for decision in decisions]
    numbers = (
        len(decisions),
        actions.count(Action.APPROVE),
        actions.count(Action.REVIEW),
        actions.count(Action.DECLINE),
        sum(decision.score is None for decision in decisions),
        sum(decision.is_capped for decision in decisions),
        sum(decision.is_failure for decision in decisions) + sum(map(_is_failure, outcomes)),
        sum(decision.control_group is not None for decision in decisions),
        kinds.count(Quarantined),
        kinds.count(Conflict),
        kinds.count(Duplicate),
        kinds.count(AppliedLabel) + kinds.count(RedundantLabel),
    )
    return dict(zip(COUNTS, numbers, strict=True))


def _is_failure(outcome: Outcome) -> bool:
    return isinstance(outcome, Quarantined) and outcome.reason.startswith(INTERNAL_ERROR)


def without_value(reason: str) -> str:
    """Return the reason of a refusal without what was found: that may be anything, a card number too.

    >>> without_value("expected a number, got '4111111111111111'"), without_value("an impossible amount: -1")
    ('expected a number', 'an impossible amount')
    """
    return BEFORE_VALUES.split(reason, 1)[0]


def sample(values: Sequence[float], max_values: int) -> list[float]:
    """Return at most so many of the values, evenly from the smallest to the largest.

    >>> sample([3.0, 1.0, 2.0, 5.0, 4.0], 3)
    [1.0, 3.0, 5.0]
    """
    ordered = sorted(values)
    if len(ordered) <= max_values:
        return ordered
    return [ordered[round(index * (len(ordered) - 1) / (max_values - 1))] for index in range(max_values)]


def line(kind: str, content: Mapping[str, object]) -> bytes:
    """Return one line of JSON."""
    return msgspec.json.encode({"type": kind, **content})


def _metrics(names: list[str], *, with_latency: bool) -> dict[str, object]:
    counted = [{"Name": name, "Unit": "Count"} for name in names]
    latency = [{"Name": "iterator_latency_ms", "Unit": "Milliseconds"}] if with_latency else []
    directive = {
        "Namespace": NAMESPACE,
        "Dimensions": [["environment", "bundle"], ["environment"]],
        "Metrics": counted + latency,
    }
    return {"Timestamp": round(1000 * time.time()), "CloudWatchMetrics": [directive]}
