"""What a function gets from Kinesis, and the messages about dead-lettered records, in the shapes of AWS."""

from __future__ import annotations

import base64
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import accumulate, takewhile

import msgspec

from fraud_detection.adapters.aws.kinesis_consumer import StreamRecord
from tools.local_aws.invocation import Invocation
from tools.local_aws.mapping_settings import MappingSettings

MAX_EVENT_BYTES = 6_291_556
"""What an invocation takes in bytes: 6 MB, as Lambda counts them."""

HEAD, BETWEEN, TAIL = b'{"Records":[', b",", b"]}"
FAILED, AGED = "RetryAttemptsExhausted", "RecordAgeExceeded"


class Waiting(msgspec.Struct, frozen=True, gc=False):
    """A record that waits for delivery, with its part of the event."""

    number: str
    arrived_s: float
    part: bytes


class DeadLetter(msgspec.Struct, frozen=True):
    """Why records were dead-lettered, after how many invocations, and the last of these, if there was one."""

    condition: str
    invocations: int
    last: Invocation | None


class EventShape:
    """Makes the events of one shard."""

    def __init__(self, settings: MappingSettings, shard: str) -> None:
        """Take what is the same for every record."""
        self._settings, self._shard = settings, shard
        self._region = settings.stream_arn.split(":")[3]
        account = settings.stream_arn.split(":")[4]
        self._identity = f"arn:aws:iam::{account}:role/event-source-mapping"

    def waiting(self, record: StreamRecord) -> Waiting:
        """Return a record as the event will hold it."""
        content = {
            "kinesis": {
                "kinesisSchemaVersion": "1.0",
                "partitionKey": record.key,
                "sequenceNumber": record.number,
                "data": base64.b64encode(record.data).decode(),
                "approximateArrivalTimestamp": round(record.arrived_s, 3),
            },
            "eventSource": "aws:kinesis",
            "eventVersion": "1.0",
            "eventID": f"{self._shard}:{record.number}",
            "eventName": "aws:kinesis:record",
            "invokeIdentityArn": self._identity,
            "awsRegion": self._region,
            "eventSourceARN": self._settings.stream_arn,
        }
        return Waiting(record.number, record.arrived_s, msgspec.json.encode(content))

    def failure(self, records: Sequence[Waiting], dead_lettered: DeadLetter, now_s: float) -> bytes:
        """Return the message about records that were dead-lettered."""
        last = dead_lettered.last
        message: dict[str, object] = {
            "requestContext": {
                "requestId": last.request_id if last else str(uuid.uuid4()),
                "functionArn": self._settings.function_arn,
                "condition": dead_lettered.condition,
                "approximateInvokeCount": dead_lettered.invocations,
            },
        }
        if last is not None:
            response = {"statusCode": 200, "executedVersion": "$LATEST", "functionError": last.function_error}
            message["responseContext"] = response
        message |= {
            "version": "1.0",
            "timestamp": iso(now_s),
            "KinesisBatchInfo": {
                "shardId": self._shard,
                "startSequenceNumber": records[0].number,
                "endSequenceNumber": records[-1].number,
                "approximateArrivalOfFirstRecord": iso(records[0].arrived_s),
                "approximateArrivalOfLastRecord": iso(records[-1].arrived_s),
                "batchSize": len(records),
                "streamArn": self._settings.stream_arn,
            },
        }
        return msgspec.json.encode(message)


def event_of(records: Sequence[Waiting]) -> bytes:
    """Return the event with these records."""
    return HEAD + BETWEEN.join([record.part for record in records]) + TAIL


def fitting(records: Sequence[Waiting]) -> int:
    """Return how many of the first records fit into one event; a record too large for any goes alone."""
    room = MAX_EVENT_BYTES - len(HEAD) - len(TAIL) + len(BETWEEN)
    sizes = accumulate(len(record.part) + len(BETWEEN) for record in records)
    return max(1, sum(1 for _ in takewhile(lambda size: size <= room, sizes)))


def iso(seconds: float) -> str:
    """Return a time as AWS writes it.

    >>> iso(1573691884.835)
    '2019-11-14T00:38:04.835Z'
    """
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
