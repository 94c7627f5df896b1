"""A batch of one Kinesis shard: its events, disaggregated, and which of them a retry reprocesses."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

import msgspec

from fraud_detection.adapters.aws.kpl import MAX_EVENTS, AggregateError, is_aggregate, take_apart
from fraud_detection.adapters.aws.s3_quarantine import Kind, QuarantinedEvent
from fraud_detection.adapters.aws.state.dynamodb_decisions import UnfinishedEvent
from fraud_detection.core.errors import Failure, RetryError
from fraud_detection.core.events import INTERNAL_ERROR, Action, Conflict, Decision, Quarantined
from fraud_detection.core.outcomes import AppliedLabel, Decided, Duplicate, Forbidden, Outcome, RedundantLabel
from fraud_detection.core.parse.identity import record_identity, redriven_from
from fraud_detection.core.parse.oversize import MAX_EVENT_BYTES, TruncatedEvent, too_large, truncated_event
from fraud_detection.core.ports import ProfileKey

CHUNK_EVENTS = 500
"""Events decided at once, also where aggregates hold many more."""
SPARE = 3


class ShardEvent(msgspec.Struct, frozen=True):
    """One event of the shard; arrived_s is Kinesis' clock, seconds since 1970.

    number: of the record of Kinesis, which is what Lambda gets.  sub: the event's index in an aggregate,
    None where the record is no aggregate.  key: its partition key.  broken: why an aggregate cannot be
    disaggregated; empty for all others.  identity: by what an event without an id is known, where not by its
    number.
    """

    number: str
    data: bytes
    arrived_s: float
    sub: int | None = None
    key: str = ""
    broken: str = ""
    identity: str = ""

    @classmethod
    def at(cls, sequence_number: str, data: bytes, identity: str = "") -> ShardEvent:
        """Return the event of a sequence number, when it comes from elsewhere than the stream.

        >>> ShardEvent.at("7.2", b"").sequence_number, ShardEvent.at("7", b"").sequence_number
        ('7.2', '7')
        """
        number, _, sub = sequence_number.partition(".")
        return cls(number, data, 0.0, int(sub) if sub else None, identity=identity)

    @property
    def sequence_number(self) -> str:
        """Return the number, and after a point the index in an aggregate: each event has its own."""
        return self.number if self.sub is None else f"{self.number}.{self.sub}"

    @property
    def sequence(self) -> int:
        """Return the position as a number that can be compared with those of all events of the shard.

        >>> [ShardEvent.at(sequence_number, b"").sequence for sequence_number in ("7", "7.0", "7.1", "8")]
        [458752, 458752, 458753, 524288]
        """
        return int(self.number) * MAX_EVENTS + (self.sub or 0)

    def outcome(self, parsed: Outcome) -> Outcome:
        """Return the outcome of the event; a broken aggregate gets its own reason."""
        if not self.broken:
            return parsed
        reason = f"an aggregate of the Kinesis Producer Library: {self.broken}"
        if len(self.data) > MAX_EVENT_BYTES:
            reason += f"; {too_large(self.data)}"
        return Quarantined(truncated_event(self.data), reason, "$")


def identities_of(shard: str, records: Sequence[ShardEvent]) -> list[str]:
    """Return the dedup keys of events without an id of their own."""
    return [record.identity or record_identity(shard, record.sequence_number) for record in records]


def sequence_value(sequence_number: str) -> int:
    """Return the number of a position, see `ShardEvent.sequence`."""
    return ShardEvent.at(sequence_number, b"").sequence


def quarantined_event(shard: str, record: ShardEvent, outcome: Quarantined) -> QuarantinedEvent:
    """Return what is stored of an event that can never be decided."""
    kind: Kind = "refused"
    if isinstance(outcome, Conflict):
        kind = "conflict"
    elif isinstance(outcome.raw, TruncatedEvent):
        kind = "beginning"
    return _quarantined_event(shard, record, outcome, kind)


def failed_event(shard: str, record: ShardEvent, failure: Failure) -> QuarantinedEvent:
    """Return what is stored of an event with which the program met an error, for whoever mends it."""
    return _quarantined_event(
        shard, record, Quarantined(record.data, INTERNAL_ERROR, "$"), "internal_error", failure.trace
    )


def _quarantined_event(
    shard: str, record: ShardEvent, refused: Quarantined, kind: Kind, error: str = ""
) -> QuarantinedEvent:
    at = round(1000 * record.arrived_s)
    return QuarantinedEvent(
        shard,
        record.sequence_number,
        record.key,
        refused.reason,
        refused.path,
        base64.b64encode(refused.raw).decode(),
        error,
        first_at=at,
        last_at=at,
        kind=kind,
    )


def records_of(event: Mapping[str, Any]) -> list[ShardEvent]:
    """Return the events of a Lambda event, in order, disaggregated."""
    events: list[ShardEvent] = []
    for record in event["Records"]:
        kinesis = record["kinesis"]
        shard_event = ShardEvent(
            kinesis["sequenceNumber"],
            base64.b64decode(kinesis["data"]),
            float(kinesis["approximateArrivalTimestamp"]),
            key=kinesis.get("partitionKey", ""),
        )
        shard_event = _redriven(shard_event)
        events += _taken_apart(shard_event) if is_aggregate(shard_event.data) else [shard_event]
    return events


def _redriven(shard_event: ShardEvent) -> ShardEvent:
    """Return a redriven record with its original key and identity."""
    first = redriven_from(shard_event.key, shard_event.number)
    if first is None:
        return shard_event
    shard, number, key = first
    return msgspec.structs.replace(shard_event, key=key, identity=record_identity(shard, number))


def _taken_apart(shard_event: ShardEvent) -> list[ShardEvent]:
    try:
        parts = take_apart(shard_event.data)
    except AggregateError as error:
        return [msgspec.structs.replace(shard_event, broken=str(error))]
    return [
        ShardEvent(
            shard_event.number,
            chunk.data,
            shard_event.arrived_s,
            sub,
            chunk.key,
            identity=shard_event.identity and f"{shard_event.identity}.{sub}",
        )
        for sub, chunk in enumerate(parts)
    ]


def check_time(longest_s: float, remaining_s: float) -> None:
    """Raise RetryError where an invocation has not three times what the longest part took so far."""
    if longest_s * SPARE > remaining_s:
        raise RetryError(f"{remaining_s:.1f} s are left, too few for the rest of the batch")


def chunks_of(
    records: Sequence[ShardEvent], max_events: int = CHUNK_EVENTS
) -> Iterator[Sequence[ShardEvent]]:
    """Yield the events in parts of at most `max_events`, each cut where a record of Kinesis begins.

    An aggregate with more events is cut by itself, each time at the same events: what comes again, comes
    in the same parts.

    >>> records = [ShardEvent.at(at, b"") for at in ("1", "2.0", "2.1", "2.2", "2.3", "2.4", "3")]
    >>> [[one.sequence_number for one in chunk] for chunk in chunks_of(records, 2)]
    [['1'], ['2.0', '2.1'], ['2.2', '2.3'], ['2.4'], ['3']]
    """
    chunk: list[ShardEvent] = []
    for record_events in _by_record(records):
        if chunk and len(chunk) + len(record_events) > max_events:
            yield chunk
            chunk = []
        if len(record_events) > max_events:
            yield from (
                record_events[begin : begin + max_events]
                for begin in range(0, len(record_events), max_events)
            )
        else:
            chunk += record_events
    if chunk:
        yield chunk


def _by_record(records: Sequence[ShardEvent]) -> Iterator[list[ShardEvent]]:
    """Yield the events of each Kinesis record together."""
    record_events: list[ShardEvent] = []
    for record in records:
        if record_events and record.number != record_events[0].number:
            yield record_events
            record_events = []
        record_events.append(record)
    if record_events:
        yield record_events


def unfinished_events(records: Sequence[ShardEvent], outcomes: Sequence[Outcome]) -> list[UnfinishedEvent]:
    """Return the events of a batch that change profiles, or may have begun to in an earlier delivery."""
    unfinished: list[UnfinishedEvent] = []
    for record, outcome in zip(records, outcomes, strict=True):
        if isinstance(outcome, Decided):
            unfinished.append(
                UnfinishedEvent(record.sequence_number, outcome.payment.transaction_id, decided=True)
            )
        elif isinstance(outcome, AppliedLabel):
            unfinished.append(
                UnfinishedEvent(record.sequence_number, outcome.label.transaction_id, record.data)
            )
        elif isinstance(outcome, Duplicate):
            unfinished.append(
                UnfinishedEvent(
                    record.sequence_number, outcome.transaction_id, record.data if outcome.is_label else b""
                )
            )
    return unfinished


def counts_as_declined(decision: Decision) -> bool:
    """Return whether a decline cap counts a decision as a decline; one of the control group may be."""
    assignment = decision.control_group
    return (decision.action if assignment is None else assignment.counterfactual_action) is Action.DECLINE


def touches(outcome: Outcome, keys: AbstractSet[ProfileKey]) -> bool:
    """Return whether an event may have to change one of the profiles again."""
    if isinstance(outcome, Quarantined | RedundantLabel | Forbidden):
        return False
    if isinstance(outcome, Duplicate):
        # It may be one whose decision was stored by a delivery that failed; whose it is, is not known here.
        return True
    ids = outcome.payment.entities if isinstance(outcome, Decided) else outcome.ids or ()
    return any((index, entity_id) in keys for index, entity_id in enumerate(ids) if entity_id is not None)
