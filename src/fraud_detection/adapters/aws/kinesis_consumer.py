"""Read a Kinesis stream shard by shard, in order, from where a reader left off.

An iterator that expired is replaced by one that starts behind the last record that was read.  What is
busy or away is RetryError; the same read may succeed later.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec
from botocore.exceptions import BotoCoreError, ClientError

from fraud_detection.adapters.aws.kinesis_producer import BUSY
from fraud_detection.core.errors import ConfigError, RetryError

MAX_RECORDS = 10_000
"""What one call returns at most."""

Position = Literal["TRIM_HORIZON", "LATEST", "AT_TIMESTAMP"]


class StreamRecord(msgspec.Struct, frozen=True, gc=False):
    """A record as it lies in a shard; `arrived_s` is Kinesis' clock, seconds since 1970."""

    number: str
    key: str
    data: bytes
    arrived_s: float


class Shard(msgspec.Struct, frozen=True):
    """A shard, and those that it was split or merged from."""

    name: str
    parents: tuple[str, ...] = ()


class Reading(msgspec.Struct, frozen=True):
    """What one call returned.

    lag_ms: how far the reader lags behind the end of the shard.
    closed: the shard was split or merged, and this was the rest of it.
    """

    records: list[StreamRecord]
    lag_ms: int
    closed: bool


def list_shards(client: Any, stream_arn: str) -> list[Shard]:  # noqa: ANN401 - botocore's client has no type
    """Return every shard of a stream that may still hold records."""
    response = _call(stream_arn, client.list_shards, StreamARN=stream_arn)
    shards = list(response["Shards"])
    while response.get("NextToken"):
        response = _call(stream_arn, client.list_shards, NextToken=response["NextToken"])
        shards += response["Shards"]
    names = ("ParentShardId", "AdjacentParentShardId")
    return [
        Shard(shard["ShardId"], tuple(shard[name] for name in names if shard.get(name))) for shard in shards
    ]


class ShardReader:
    """Reads one shard; `after` is the number of the last record that was read, None before the first."""

    def __init__(
        self,
        client: Any,  # noqa: ANN401 - botocore's client has no type
        stream_arn: str,
        shard: str,
        *,
        start: Position = "TRIM_HORIZON",
        start_s: float | None = None,
        after: str | None = None,
    ) -> None:
        """Take botocore's client; `start` counts only without `after`, `start_s` only for AT_TIMESTAMP."""
        self.after = after
        self._client, self._stream_arn, self._shard = client, stream_arn, shard
        self._start, self._start_s = start, start_s
        self._iterator: str | None = None
        self._name = f"{stream_arn}, {shard}"

    def read(self, limit: int = MAX_RECORDS) -> Reading:
        """Return the next records, which may be none; raise RetryError when that fails."""
        response = self._get_records(min(limit, MAX_RECORDS))
        records = [
            StreamRecord(
                record["SequenceNumber"],
                record["PartitionKey"],
                record["Data"],
                record["ApproximateArrivalTimestamp"].timestamp(),
            )
            for record in response["Records"]
        ]
        if records:
            self.after = records[-1].number
        self._iterator = response.get("NextShardIterator")
        return Reading(records, response.get("MillisBehindLatest", 0), closed=self._iterator is None)

    def resume(self, iterator: str) -> None:
        """Read on at an iterator that another caller requested."""
        self._iterator = iterator

    def _get_records(self, limit: int) -> dict[str, Any]:
        if self._iterator is not None:
            try:
                return self._get(self._iterator, limit)
            except _ExpiredError:
                pass
        self._iterator = self._new_iterator()
        return self._get(self._iterator, limit)

    def _get(self, iterator: str, limit: int) -> dict[str, Any]:
        return _call(self._name, self._client.get_records, ShardIterator=iterator, Limit=limit)

    def _new_iterator(self) -> str:
        where = {"StreamARN": self._stream_arn, "ShardId": self._shard, **self._position()}
        response = _call(self._name, self._client.get_shard_iterator, **where)
        if self._start == "LATEST":
            # Should it expire before anything was read: what came meanwhile must not be passed over.
            self._start, self._start_s = "AT_TIMESTAMP", time.time()
        return str(response["ShardIterator"])

    def _position(self) -> dict[str, object]:
        if self.after is not None:
            return {"ShardIteratorType": "AFTER_SEQUENCE_NUMBER", "StartingSequenceNumber": self.after}
        if self._start == "AT_TIMESTAMP" and self._start_s is not None:
            at = datetime.fromtimestamp(self._start_s, UTC)
            return {"ShardIteratorType": "AT_TIMESTAMP", "Timestamp": at}
        return {"ShardIteratorType": self._start}


def read_range(
    client: Any,  # noqa: ANN401 - botocore's client has no type
    stream_arn: str,
    shard: str,
    first: str,
    last: str,
) -> list[StreamRecord]:
    """Return the records of a shard from one number to another, as far as the stream still has them."""
    where = {"StreamARN": stream_arn, "ShardId": shard, "ShardIteratorType": "AT_SEQUENCE_NUMBER"}
    reader = ShardReader(client, stream_arn, shard)
    try:
        response = _call(
            f"{stream_arn}, {shard}", client.get_shard_iterator, StartingSequenceNumber=first, **where
        )
    except ConfigError:
        # A number that has left the stream is refused; what came later may still be there.
        pass
    else:
        reader.resume(str(response["ShardIterator"]))
    records: list[StreamRecord] = []
    while not records or int(records[-1].number) < int(last):
        reading = reader.read()
        records += reading.records
        if not reading.records and (reading.closed or not reading.lag_ms):
            break
    return [record for record in records if int(first) <= int(record.number) <= int(last)]


class _ExpiredError(RetryError):
    """The iterator is too old: a new one will do."""


def _call(what: str, call: Callable[..., dict[str, Any]], **arguments: object) -> dict[str, Any]:
    """Make a call; raise RetryError for what may succeed later, ConfigError for any other refusal."""
    try:
        return call(**arguments)
    except ClientError as error:
        code = error.response["Error"]["Code"]
        if code == "ExpiredIteratorException":
            raise _ExpiredError(f"{what}: {error}") from None
        kind = RetryError if code in BUSY else ConfigError
        raise kind(f"{what}: {error}") from None
    except BotoCoreError as error:
        raise RetryError(f"{what}: {error}") from None
