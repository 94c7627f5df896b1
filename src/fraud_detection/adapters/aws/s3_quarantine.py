"""Quarantine in S3: events that can never be decided, in one object a batch.

Equal events of a batch are one line of its object, which counts them and has their sequence numbers.
Those of other batches are lines of other objects: to merge them would take a call for each record.

An object is named after the first record in it.  A batch that comes again begins where it began before, so
its first bad record is the same, and the object is written anew; where it ends earlier, the later bad records
come in a batch of their own.  So each is in one object, however often it came.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import msgspec
from botocore.exceptions import BotoCoreError, ClientError

from fraud_detection.core.errors import ConfigError, RetryError

PREFIX = "quarantine/"
Kind = Literal["refused", "conflict", "beginning", "internal_error"]
"""Why an event is quarantined: it cannot be decided; its id was decided with other content; it is too large,
and only its beginning is stored; the program met an error with it."""


class RecordPosition(msgspec.Struct, frozen=True):
    """Sequence number of an event, after a point its index in an aggregate, and its partition key."""

    sequence_number: str
    partition_key: str


class QuarantinedEvent(msgspec.Struct, frozen=True):
    """A quarantined event: one line of an object.

    sequence_number, partition_key: of its record.  error: the traceback where it was an error of the program.
    count: equal events of the batch; all but the first lay in `duplicates`.  first_at, last_at: when the
    first and the last of them came into the stream, in ms since 1970.
    """

    shard: str
    sequence_number: str
    partition_key: str
    reason: str
    path: str
    event_base64: str
    error: str = ""
    count: int = 1
    first_at: int = 0
    last_at: int = 0
    duplicates: tuple[RecordPosition, ...] = ()
    kind: Kind = "refused"

    @property
    def positions(self) -> tuple[RecordPosition, ...]:
        """Return the positions of all events that it counts."""
        return (RecordPosition(self.sequence_number, self.partition_key), *self.duplicates)

    @property
    def event(self) -> bytes:
        """Return the event, byte for byte; of an aggregate this event alone."""
        return base64.b64decode(self.event_base64)


class S3Quarantine:
    """Stores the quarantined events of a batch under `quarantine/<shard>/<first sequence number>.jsonl`."""

    def __init__(self, client: Any, bucket: str) -> None:  # noqa: ANN401 - boto3's client has no type
        """Take boto3's client."""
        self._client, self._bucket = client, bucket

    def put(self, records: Sequence[QuarantinedEvent]) -> None:
        """Store the quarantined events of a batch; raise RetryError when that fails."""
        if not records:
            return
        body = b"".join([msgspec.json.encode(record) + b"\n" for record in _merged(records)])
        key = f"{PREFIX}{records[0].shard}/{records[0].sequence_number}.jsonl"
        try:
            self._client.put_object(Bucket=self._bucket, Key=key, Body=body)
        except (ClientError, BotoCoreError) as error:
            raise RetryError(f"bucket {self._bucket}: {error}") from None


def _merged(records: Sequence[QuarantinedEvent]) -> Iterator[QuarantinedEvent]:
    """Yield a record for all that have the same event, reason and path, in the order of the first."""
    equal: dict[tuple[str, ...], list[QuarantinedEvent]] = {}
    for record in records:
        equal.setdefault((record.reason, record.path, record.error, record.event_base64), []).append(record)
    for first, *others in equal.values():
        duplicates = tuple(position for record in others for position in record.positions)
        last_at = max(record.last_at for record in (first, *others))
        yield msgspec.structs.replace(first, count=1 + len(others), last_at=last_at, duplicates=duplicates)


def read_quarantined(name: str, content: bytes) -> Iterator[QuarantinedEvent]:
    """Yield the records of an object; raise ConfigError with the number of a line that is none."""
    for number, line in enumerate(content.splitlines(), 1):
        try:
            yield msgspec.json.decode(line, type=QuarantinedEvent)
        except msgspec.DecodeError as error:
            raise ConfigError(f"{name}, line {number}: no quarantined record: {error}") from None
