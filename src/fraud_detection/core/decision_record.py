"""The records that every way of serving writes of an event: one type a kind, one encoder, one version.

A file, a pipe, an HTTP response, a worker's reply and the log on AWS hold the same fields of the same types.
What only one way of serving knows is in `delivery`, and nowhere else.  docs/decision-record.md describes it
for readers; the JSON Schema next to it is generated from these types.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from functools import lru_cache
from typing import Annotated, Any, Literal, cast

import msgspec
from msgspec import Meta

from fraud_detection.core.events import (
    Conflict,
    ControlGroupAssignment,
    Decision,
    Label,
    Quarantined,
    Verdict,
)

SCHEMA_VERSION: Literal[2] = 2
"""Raised whenever a field changes its name, type or meaning; one that is added may be optional at once."""

DAY_MS = 86_400_000
EPOCH = dt.date(1970, 1, 1)
ActionName = Literal["approve", "review", "decline"]
ACTIONS: tuple[ActionName, ...] = ("approve", "review", "decline")
Utc = Annotated[
    str,
    Meta(description="ISO 8601 in UTC, to the millisecond", extra_json_schema={"format": "date-time"}),
]


class Reason(msgspec.Struct, frozen=True, gc=False):
    """One reason of a decision: the code of a rule, list, feature or cut-off, and what a person reads."""

    code: str
    message: str


class ControlGroupRecord(msgspec.Struct, frozen=True, gc=False):
    """Approved as control group: the action without that, and the probability of assignment."""

    counterfactual_action: Literal["review", "decline"]
    sampling_rate: Annotated[float, Meta(ge=0, le=1)]


class Delivery(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """What only the way of serving knows; each field is absent where it does not."""

    row: Annotated[int, Meta(description="row number in the file, counted from 1")] | None = None
    shard: str = ""
    sequence_number: str = ""
    model: Annotated[str, Meta(description="the bundle whose endpoint gave the score")] = ""
    entities: Annotated[dict[str, str], Meta(description="a token for each id, by entity")] = {}
    profile_versions: Annotated[dict[str, int], Meta(description="of the profiles that were read")] = {}
    iterator_latency_ms: Annotated[float, Meta(description="from put to decision")] | None = None
    producer_latency_ms: Annotated[float, Meta(description="from being sent to decision")] | None = None


class DecisionRecord(
    msgspec.Struct, frozen=True, gc=False, omit_defaults=True, tag_field="type", tag="decision"
):
    """A decision on one payment."""

    schema_version: Literal[2]
    transaction_id: str
    event_time: Utc
    action: ActionName
    score: Annotated[float, Meta(ge=0, le=1, description="probability of fraud")] | None
    reasons: tuple[Reason, ...]
    policy: str
    bundle: str
    config_id: Annotated[str, Meta(description="names bundle, policy, rules and lists by content")] = ""
    control_group: ControlGroupRecord | None = None
    caller: Annotated[str, Meta(description="the name of the key that sent it")] = ""
    notes: Annotated[tuple[str, ...], Meta(description="what the sender should look at")] = ()
    duplicate: Annotated[bool, Meta(description="it was decided before")] = False
    delivery: Delivery | None = None


class LabelRecord(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, tag_field="type", tag="label"):
    """A label that was applied."""

    schema_version: Literal[2]
    transaction_id: str
    label: Literal["fraud", "legitimate"]
    caller: Annotated[str, Meta(description="the name of the key that sent it")] = ""
    delivery: Delivery | None = None


class QuarantineRecord(
    msgspec.Struct, frozen=True, gc=False, omit_defaults=True, tag_field="type", tag="quarantined"
):
    """An event that can never be decided: why, and the path of the field."""

    schema_version: Literal[2]
    reason: str
    path: str
    delivery: Delivery | None = None


class ConflictRecord(
    msgspec.Struct, frozen=True, gc=False, omit_defaults=True, tag_field="type", tag="conflict"
):
    """A payment under an id that was decided with other content: quarantined; the first one stands."""

    schema_version: Literal[2]
    transaction_id: str
    reason: str
    path: str
    delivery: Delivery | None = None


class DuplicateRecord(
    msgspec.Struct, frozen=True, gc=False, omit_defaults=True, tag_field="type", tag="duplicate"
):
    """An event that had come before, where its first decision is not logged again."""

    schema_version: Literal[2]
    transaction_id: str
    duplicate: bool
    delivery: Delivery | None = None


Record = DecisionRecord | LabelRecord | QuarantineRecord | ConflictRecord | DuplicateRecord
RECORDS = (DecisionRecord, LabelRecord, QuarantineRecord, ConflictRecord, DuplicateRecord)

encode = msgspec.json.Encoder().encode
"""Returns the JSON of a record, without an end of line."""


def decision_record(
    decision: Decision, event_time: int, delivery: Delivery | None = None, *, duplicate: bool = False
) -> DecisionRecord:
    """Return the record of a decision; `event_time` is in ms."""
    reasons, assignment = decision.reasons, decision.control_group
    return DecisionRecord(
        SCHEMA_VERSION,
        decision.transaction_id,
        iso(event_time),
        ACTIONS[decision.action],
        decision.score,
        _reasons(reasons) if reasons else (),
        decision.policy,
        decision.bundle,
        decision.config_id,
        None if assignment is None else _control_group(assignment),
        decision.caller,
        decision.notes,
        duplicate,
        delivery,
    )


def label_record(label: Label, delivery: Delivery | None = None) -> LabelRecord:
    """Return the record of a label."""
    verdict: Literal["fraud", "legitimate"] = "fraud" if label.fraud else "legitimate"
    return LabelRecord(SCHEMA_VERSION, label.transaction_id, verdict, label.caller, delivery)


def quarantine_record(refused: Quarantined, delivery: Delivery | None = None) -> QuarantineRecord:
    """Return the record of an event that cannot be decided."""
    return QuarantineRecord(SCHEMA_VERSION, refused.reason, refused.path, delivery)


def conflict_record(refused: Conflict, delivery: Delivery | None = None) -> ConflictRecord:
    """Return the record of a payment whose id was decided with other content."""
    return ConflictRecord(SCHEMA_VERSION, refused.transaction_id, refused.reason, refused.path, delivery)


def duplicate_record(transaction_id: str, delivery: Delivery | None = None) -> DuplicateRecord:
    """Return the record of a duplicate event."""
    return DuplicateRecord(SCHEMA_VERSION, transaction_id, duplicate=True, delivery=delivery)


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of a line, of whichever kind."""
    refs, definitions = msgspec.json.schema_components(RECORDS)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A line of fraud decisions",
        "oneOf": list(refs),
        "$defs": definitions,
    }


def iso(time_ms: int) -> str:
    """Return the time in ISO 8601, UTC.

    >>> iso(1767225600123)
    '2026-01-01T00:00:00.123Z'
    """
    days, of_day = divmod(time_ms, DAY_MS)
    seconds, ms = divmod(of_day, 1000)
    return f"{_date(days)}T{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}.{ms:03d}Z"


@lru_cache(maxsize=64)
def _date(days: int) -> str:
    """Return the date so many days after 1970-01-01; most payments of a minute share it."""
    return (EPOCH + dt.timedelta(days)).isoformat()


def _reasons(reasons: Sequence[Verdict]) -> tuple[Reason, ...]:
    return tuple([Reason(reason.code, reason.message) for reason in reasons])


def _control_group(assignment: ControlGroupAssignment) -> ControlGroupRecord:
    return ControlGroupRecord(
        cast("Literal['review', 'decline']", ACTIONS[assignment.counterfactual_action]),
        assignment.sampling_rate,
    )
