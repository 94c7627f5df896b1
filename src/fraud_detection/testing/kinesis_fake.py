"""A Kinesis stream in memory, for tests: it answers as boto3's client does, splits, and fails on demand."""

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
    clock: gives arrival times, seconds since 1970.
    """

    def __init__(self, shards: int, stream: str = "payments") -> None:
        """Start empty."""
        self.arn = f"arn:aws:kinesis:eu-central-1:000000000000:stream/{stream}"
        self.before: Callable[[str], object] = lambda _: None
        self.clock: Callable[[], float] = time.time
        self._shards: list[_Shard] = []
        self._iterators: dict[str, tuple[_Shard, int]] = {}
        self._numbers = 0
        self._lock = threading.RLock()
        step = SPACE // shards
        for place in range(shards):
            self._add(place * step, SPACE if place == shards - 1 else (place + 1) * step)

    def put_records(self, *, StreamName: str = "", Records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:  # noqa: N803 - AWS's names
        """Put records."""
        self.before("PutRecords")
        _check_put(Records)
        with self._lock:
            answers = [self._put(**one) for one in Records]
        return {"FailedRecordCount": 0, "Records": answers, "StreamName": StreamName}

    def list_shards(self, *, StreamARN: str) -> dict[str, Any]:  # noqa: N803 - AWS's names
        """Return all shards, closed ones too."""
        self._check("ListShards", StreamARN)
        with self._lock:
            return {"Shards": [_described(one) for one in self._shards]}

    def get_shard_iterator(
        self,
        *,
        StreamARN: str,  # noqa: N803 - AWS's names
        ShardId: str,  # noqa: N803 - AWS's names
        ShardIteratorType: str,  # noqa: N803 - AWS's names
        StartingSequenceNumber: str = "0",  # noqa: N803 - AWS's names
        Timestamp: datetime | None = None,  # noqa: N803 - AWS's names
    ) -> dict[str, Any]:
        """Return where to read from."""
        self._check("GetShardIterator", StreamARN)
        with self._lock:
            (shard,) = [one for one in self._shards if one.name == ShardId]
            match ShardIteratorType:
                case "TRIM_HORIZON":
                    place = 0
                case "LATEST":
                    place = len(shard.records)
                case "AFTER_SEQUENCE_NUMBER" | "AT_SEQUENCE_NUMBER":
                    first = int(StartingSequenceNumber) + (ShardIteratorType == "AFTER_SEQUENCE_NUMBER")
                    place = sum(1 for one in shard.records if int(one["SequenceNumber"]) < first)
                case _:
                    earlier = [one for one in shard.records if one["ApproximateArrivalTimestamp"] < Timestamp]
                    place = len(earlier)
            return {"ShardIterator": self._iterator(shard, place)}

    def get_records(self, *, ShardIterator: str, Limit: int) -> dict[str, Any]:  # noqa: N803 - AWS's names
        """Return records; an unknown iterator has expired."""
        self.before("GetRecords")
        if not 0 < Limit <= MAX_GET_RECORDS:
            raise refusal("InvalidArgumentException", "GetRecords")
        with self._lock:
            if ShardIterator not in self._iterators:
                raise refusal("ExpiredIteratorException", "GetRecords")
            shard, place = self._iterators[ShardIterator]
            records = _fitting(shard.records[place : place + Limit])
            rest = shard.records[place + len(records) :]
            behind_s = self.clock() - rest[0]["ApproximateArrivalTimestamp"].timestamp() if rest else 0.0
            answer = {"Records": records, "MillisBehindLatest": max(bool(rest), int(1000 * behind_s))}
            if rest or not shard.closed:
                answer["NextShardIterator"] = self._iterator(shard, place + len(records))
            return answer

    def expire_iterators(self) -> None:
        """Let every iterator expire at once."""
        with self._lock:
            self._iterators.clear()

    def split(self, name: str) -> None:
        """Close a shard; two others take its keys."""
        with self._lock:
            (shard,) = [one for one in self._shards if one.name == name]
            shard.closed = True
            middle = (shard.low + shard.high) // 2
            self._add(shard.low, middle, (name,))
            self._add(middle, shard.high, (name,))

    def records(self, name: str) -> list[dict[str, Any]]:
        """Return what lies in a shard."""
        with self._lock:
            return [record for one in self._shards if one.name == name for record in one.records]

    def _put(self, PartitionKey: str, Data: bytes, ExplicitHashKey: str = "") -> dict[str, str]:  # noqa: N803 - AWS's names
        key, data = PartitionKey, Data
        place = int(ExplicitHashKey or int(hashlib.md5(key.encode(), usedforsecurity=False).hexdigest(), 16))
        (shard,) = [one for one in self._shards if not one.closed and one.low <= place < one.high]
        self._numbers += 1
        number = str(FIRST + self._numbers)
        at = datetime.fromtimestamp(self.clock(), UTC)
        record = {"SequenceNumber": number, "PartitionKey": key, "Data": data}
        shard.records.append({**record, "ApproximateArrivalTimestamp": at})
        return {"SequenceNumber": number, "ShardId": shard.name}

    def _add(self, low: int, high: int, parents: tuple[str, ...] = ()) -> None:
        self._shards.append(_Shard(f"shardId-{len(self._shards):012d}", low, high, parents))

    def _iterator(self, shard: _Shard, place: int) -> str:
        self._numbers += 1
        name = f"{shard.name}:{place}:{self._numbers}"
        self._iterators[name] = shard, place
        return name

    def _check(self, operation: str, stream_arn: str) -> None:
        self.before(operation)
        if stream_arn != self.arn:
            raise refusal("ResourceNotFoundException", operation)


def _size(record: Mapping[str, Any]) -> int:
    return len(record["Data"]) + len(record["PartitionKey"].encode())


def _check_put(records: Sequence[Mapping[str, Any]]) -> None:
    sizes = [_size(one) for one in records]
    if not 0 < len(records) <= MAX_PUT_RECORDS or sum(sizes) > MAX_PUT_BYTES:
        raise refusal("InvalidArgumentException", "PutRecords")
    if max(sizes) > MAX_RECORD_BYTES:
        raise refusal("InvalidArgumentException", "PutRecords")
    if not all(0 < len(one["PartitionKey"]) <= MAX_KEY_LENGTH for one in records):
        raise refusal("ValidationException", "PutRecords")


def _fitting(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the first records that one answer holds."""
    sizes = itertools.accumulate(map(_size, records))
    return [one for one, size in zip(records, sizes, strict=True) if size <= MAX_GOT_BYTES]


def _described(shard: _Shard) -> dict[str, Any]:
    parents = zip(("ParentShardId", "AdjacentParentShardId"), shard.parents, strict=False)
    return {"ShardId": shard.name, **dict(parents)}
