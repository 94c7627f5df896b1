"""A Kinesis stream in memory, for tests: it responds as boto3's client does, splits, and fails on demand."""

from __future__ import annotations

import hashlib
import itertools
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from fraud_detection.testing.aws_fakes import refusal

FIRST = 49_590_338_271_490_256_608_559_692_538_361_571_095_921_575_989_136_588_898
SPACE = 1 << 128
# What Kinesis takes, and gives, in one call: records and bytes, keys counted.
MAX_PUT_RECORDS, MAX_PUT_BYTES = 500, 10 << 20
MAX_GET_RECORDS, MAX_GOT_BYTES = 10_000, 10 << 20
MAX_RECORD_BYTES = 1 << 20
"""Of a stream as it is made; its `MaxRecordSizeInKiB` may be raised to ten times as much."""
MAX_KEY_LENGTH = 256
BUSY = {"ErrorCode": "ProvisionedThroughputExceededException", "ErrorMessage": "a stand-in"}
"""What stands in the response for a record that was not accepted."""


class _Shard(msgspec.Struct):
    name: str
    low: int
    high: int
    parents: tuple[str, ...] = ()
    records: list[dict[str, Any]] = []
    closed: bool = False


class FakeKinesis:
    """One stream; records go to shards by the MD5 of their key, as in Kinesis.

    before: called with the operation's name before each call; it may raise, and then nothing is done.
    busy: which records of a call are refused one by one, by their partition key.
    clock: gives arrival times, seconds since 1970.

    Unlike Kinesis it lets a call leave the stream's name out, has no throughput to exceed, keeps its records
    for ever, and its iterators expire only by `expire_iterators`.

    Unlike moto's server it takes 10 MiB a call (AWS, "PutRecords"; moto takes 5 MB, the limit of before) and
    the highest hash key; it refuses a call without records, an empty key and a `Limit` out of range, and
    says how far behind now a reader is while records are left ("PutRecords", "GetRecords").

    >>> from fraud_detection.adapters.aws.kinesis_producer import KinesisProducer
    >>> stream = FakeKinesis(2)
    >>> refused = {"c2"}
    >>> stream.busy = lambda key: key in refused and not refused.discard(key)
    >>> producer = KinesisProducer(stream, "payments", pause=lambda _: None)
    >>> for card in ("c1", "c2"):
    ...     producer.put(card, b"{}")
    >>> producer.flush()
    >>> (producer.accepted, producer.refused)
    (2, 1)
    """

    def __init__(self, shards: int, stream: str = "payments") -> None:
        """Start empty."""
        self.arn = f"arn:aws:kinesis:eu-central-1:000000000000:stream/{stream}"
        self.before: Callable[[str], object] = lambda _: None
        self.busy: Callable[[str], bool] = lambda _: False
        self.clock: Callable[[], float] = time.time
        self._shards: list[_Shard] = []
        self._iterators: dict[str, tuple[_Shard, int] | None] = {}
        self._numbers = 0
        self._lock = threading.RLock()
        step = SPACE // shards
        for index in range(shards):
            self._add(index * step, SPACE if index == shards - 1 else (index + 1) * step)

    def put_records(self, *, StreamName: str = "", Records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:  # noqa: N803 - AWS's names
        """Put records; those for which the stream is `busy` are refused one by one."""
        self.before("PutRecords")
        if StreamName not in {"", self.arn.rpartition("/")[2]}:
            raise refusal("ResourceNotFoundException", "PutRecords")
        _check_put(Records)
        with self._lock:
            responses = [
                BUSY if self.busy(record["PartitionKey"]) else self._put(**record) for record in Records
            ]
        return {"FailedRecordCount": sum(response is BUSY for response in responses), "Records": responses}

    def list_shards(self, *, StreamARN: str) -> dict[str, Any]:  # noqa: N803 - AWS's names
        """Return all shards, closed ones too."""
        self._check("ListShards", StreamARN)
        with self._lock:
            return {"Shards": [_described(shard) for shard in self._shards]}

    def get_shard_iterator(
        self,
        *,
        StreamARN: str,  # noqa: N803 - AWS's names
        ShardId: str,  # noqa: N803 - AWS's names
        ShardIteratorType: str,  # noqa: N803 - AWS's names
        StartingSequenceNumber: str = "",  # noqa: N803 - AWS's names
        Timestamp: datetime | None = None,  # noqa: N803 - AWS's names
    ) -> dict[str, Any]:
        """Return where to read from."""
        self._check("GetShardIterator", StreamARN)
        with self._lock:
            shard = next((candidate for candidate in self._shards if candidate.name == ShardId), None)
            if shard is None:
                raise refusal("ResourceNotFoundException", "GetShardIterator")
            offset = _start_offset(shard, ShardIteratorType, StartingSequenceNumber, Timestamp)
            return {"ShardIterator": self._iterator(shard, offset)}

    def get_records(self, *, ShardIterator: str, Limit: int) -> dict[str, Any]:  # noqa: N803 - AWS's names
        """Return records."""
        self.before("GetRecords")
        if not 0 < Limit <= MAX_GET_RECORDS:
            raise refusal("ValidationException", "GetRecords")
        with self._lock:
            if ShardIterator not in self._iterators:
                raise refusal("InvalidArgumentException", "GetRecords")
            at = self._iterators[ShardIterator]
            if at is None:
                raise refusal("ExpiredIteratorException", "GetRecords")
            shard, offset = at
            records = _fitting(shard.records[offset : offset + Limit])
            remaining = shard.records[offset + len(records) :]
            iterator_age_s = (
                self.clock() - remaining[0]["ApproximateArrivalTimestamp"].timestamp() if remaining else 0.0
            )
            response = {
                "Records": records,
                "MillisBehindLatest": max(bool(remaining), int(1000 * iterator_age_s)),
            }
            if remaining or not shard.closed:
                response["NextShardIterator"] = self._iterator(shard, offset + len(records))
            return response

    def expire_iterators(self) -> None:
        """Let every iterator expire at once."""
        with self._lock:
            self._iterators = dict.fromkeys(self._iterators)

    def split(self, name: str) -> None:
        """Close a shard; two others take its keys."""
        with self._lock:
            (shard,) = [candidate for candidate in self._shards if candidate.name == name]
            shard.closed = True
            middle = (shard.low + shard.high) // 2
            self._add(shard.low, middle, (name,))
            self._add(middle, shard.high, (name,))

    def records(self, name: str) -> list[dict[str, Any]]:
        """Return the records of a shard."""
        with self._lock:
            return [record for shard in self._shards if shard.name == name for record in shard.records]

    def _put(self, PartitionKey: str, Data: bytes, ExplicitHashKey: str = "") -> dict[str, str]:  # noqa: N803 - AWS's names
        key, data = PartitionKey, Data
        hash_key = int(
            ExplicitHashKey or int(hashlib.md5(key.encode(), usedforsecurity=False).hexdigest(), 16)
        )
        (shard,) = [
            candidate
            for candidate in self._shards
            if not candidate.closed and candidate.low <= hash_key < candidate.high
        ]
        self._numbers += 1
        number = str(FIRST + self._numbers)
        at = datetime.fromtimestamp(self.clock(), UTC)
        record = {"SequenceNumber": number, "PartitionKey": key, "Data": data}
        shard.records.append({**record, "ApproximateArrivalTimestamp": at})
        return {"SequenceNumber": number, "ShardId": shard.name}

    def _add(self, low: int, high: int, parents: tuple[str, ...] = ()) -> None:
        self._shards.append(_Shard(f"shardId-{len(self._shards):012d}", low, high, parents))

    def _iterator(self, shard: _Shard, offset: int) -> str:
        self._numbers += 1
        name = f"{shard.name}:{offset}:{self._numbers}"
        self._iterators[name] = shard, offset
        return name

    def _check(self, operation: str, stream_arn: str) -> None:
        self.before(operation)
        if stream_arn != self.arn:
            raise refusal("ResourceNotFoundException", operation)


def _size(record: Mapping[str, Any]) -> int:
    return len(record["Data"]) + len(record["PartitionKey"].encode())


def _check_put(records: Sequence[Mapping[str, Any]]) -> None:
    sizes = [_size(record) for record in records]
    keys = [len(record["PartitionKey"]) for record in records]
    if not 0 < len(records) <= MAX_PUT_RECORDS or not all(0 < length <= MAX_KEY_LENGTH for length in keys):
        raise refusal("ValidationException", "PutRecords")
    hashes = [int(record.get("ExplicitHashKey", 0)) for record in records]
    if sum(sizes) > MAX_PUT_BYTES or max(sizes) > MAX_RECORD_BYTES or not 0 <= max(hashes) < SPACE:
        raise refusal("InvalidArgumentException", "PutRecords")


def _start_offset(shard: _Shard, kind: str, number: str, at: datetime | None) -> int:
    """Return how many records of a shard an iterator passes over; raise what it is refused for."""
    if kind == "TRIM_HORIZON":
        return 0
    if kind == "LATEST":
        return len(shard.records)
    if kind == "AT_TIMESTAMP" and at is not None:
        return sum(record["ApproximateArrivalTimestamp"] < at for record in shard.records)
    if kind in {"AFTER_SEQUENCE_NUMBER", "AT_SEQUENCE_NUMBER"} and number.isdecimal():
        first = int(number) + (kind == "AFTER_SEQUENCE_NUMBER")
        return sum(int(record["SequenceNumber"]) < first for record in shard.records)
    raise refusal("InvalidArgumentException", "GetShardIterator")


def _fitting(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the first records that fit into one response."""
    sizes = itertools.accumulate(map(_size, records))
    return [record for record, size in zip(records, sizes, strict=True) if size <= MAX_GOT_BYTES]


def _described(shard: _Shard) -> dict[str, Any]:
    parents = zip(("ParentShardId", "AdjacentParentShardId"), shard.parents, strict=False)
    keys = {"StartingHashKey": str(shard.low), "EndingHashKey": str(shard.high - 1)}
    numbers = {"StartingSequenceNumber": str(FIRST)}
    if shard.closed:
        numbers["EndingSequenceNumber"] = max(
            (record["SequenceNumber"] for record in shard.records), default=str(FIRST)
        )
    return {"ShardId": shard.name, "HashKeyRange": keys, "SequenceNumberRange": numbers, **dict(parents)}
