"""The producer against a stream that refuses at random: all arrives, once, each key's in order."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from hypothesis import given, settings
from hypothesis import strategies as st

from fraud_detection.adapters.aws.kinesis_producer import (
    MAX_BYTES,
    MAX_RECORD_BYTES,
    MAX_RECORDS,
    KinesisProducer,
    KinesisReceiver,
)
from fraud_detection.core.errors import ConfigError, RejectError, RetryError


class Stream:
    """Takes records as Kinesis does: some are refused, and within a call there is no order."""

    def __init__(self, seed: int, refusing: float, failing: float = 0.0) -> None:
        self.chance, self.refusing, self.failing = Random(seed), refusing, failing
        self.got: dict[str, list[bytes]] = defaultdict(list)
        self.sizes: list[int] = []

    def put_records(self, *, StreamName: str, Records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:  # noqa: N803 - AWS's names
        assert StreamName == "payments"
        assert 0 < len(Records) <= MAX_RECORDS
        assert sum(len(record["Data"]) + len(record["PartitionKey"]) for record in Records) <= MAX_BYTES
        self.sizes.append(len(Records))
        if self.chance.random() < self.failing:
            raise self.chance.choice([busy(), EndpointConnectionError(endpoint_url="http://127.0.0.1:1")])
        responses: list[dict[str, str]] = [{} for _ in Records]
        for index in self.chance.sample(range(len(Records)), len(Records)):
            record = Records[index]
            if self.chance.random() < self.refusing:
                responses[index] = {"ErrorCode": "ProvisionedThroughputExceededException"}
            else:
                key = record["PartitionKey"].rpartition(":")[2]
                shard = str(int(hashlib.md5(key.encode(), usedforsecurity=False).hexdigest(), 16))
                assert record.get("ExplicitHashKey", shard) == shard
                assert ("ExplicitHashKey" in record) == (key != record["PartitionKey"])
                self.got[key].append(record["Data"])
                responses[index] = {"SequenceNumber": "1", "ShardId": "s"}
        return {"FailedRecordCount": 0, "Records": responses}


def busy(code: str = "ThrottlingException") -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "slow down"}}, "PutRecords")


def producer(stream: Stream, timeout_s: float = 1e9) -> KinesisProducer:
    now = [0.0]

    def pause(seconds: float) -> None:
        now[0] += seconds

    return KinesisProducer(stream, "payments", timeout_s=timeout_s, pause=pause, clock=lambda: now[0])


@settings(max_examples=settings().max_examples // 5, deadline=None)
@given(st.integers(0, 1000), st.sampled_from([0.0, 0.2, 0.9]), st.integers(1, 60), st.integers(0, 1500))
def test_everything_arrives_once_and_each_key_in_order(
    seed: int, refusing: float, keys: int, count: int
) -> None:
    stream, chance = Stream(seed, refusing, failing=0.1), Random(seed)
    sender, sent = producer(stream), defaultdict(list)
    for number in range(count):
        key, data = f"card-{chance.randrange(keys)}", str(number).encode()
        sent[key].append(data)
        sender.put(key, data, chance.choice(["", f"redriven:s:{number}:{key}"]))
    sender.flush()
    assert stream.got == sent
    assert (sender.accepted, sender.waiting) == (count, [])


def test_calls_are_as_large_as_the_limits_allow() -> None:
    stream = Stream(1, 0.0)
    sender = producer(stream)
    for number in range(1_200):
        sender.put(str(number), b"x")
    sender.flush()
    assert stream.sizes == [500, 500, 200]
    for number in range(12):
        sender.put(str(number), b"x" * (MAX_RECORD_BYTES - 10))
    sender.flush()
    assert sum(stream.sizes[3:]) == 12
    assert len(stream.sizes) - 3 <= 4


def test_what_kinesis_never_takes_is_refused_at_once() -> None:
    sender = producer(Stream(1, 0.0))
    for key, data in (("", b"x"), ("k" * 257, b"x"), ("k", b"x" * MAX_RECORD_BYTES)):
        with pytest.raises(RejectError):
            sender.put(key, data)
    assert sender.waiting == []


def test_a_stream_that_accepts_nothing_is_reported_and_nothing_is_lost() -> None:
    sender = producer(Stream(1, 1.0), timeout_s=60)
    sender.put("a", b"1")
    sender.put("b", b"2")
    with pytest.raises(RetryError, match="2 records wait"):
        sender.flush()
    assert [record.data for record in sender.waiting] == [b"1", b"2"]


def test_lines_go_by_their_card_or_else_by_their_payment() -> None:
    stream = Stream(1, 0.0)
    receiver = KinesisReceiver(producer(stream), ("card_id", "transaction_id"))
    receiver.write(
        b'{"card_id": "c", "n": 1}\n{"transaction_id": "t"}\n\n{broken\n{"card_id": "c", "n": 2}\n'
    )
    receiver.write(b'{"card_id": null, "transaction_id": 7}\n')
    receiver.close()
    assert stream.got["c"] == [b'{"card_id": "c", "n": 1}', b'{"card_id": "c", "n": 2}']
    assert {"c", "t", "7"} < stream.got.keys()
    assert max(line for lines in stream.got.values() for line in lines) == b"{broken"


def test_a_stream_that_does_not_exist_is_a_mistake_in_the_set_up() -> None:
    class Absent(Stream):
        def put_records(self, **_: object) -> dict[str, Any]:
            raise busy("ResourceNotFoundException")

    sender = producer(Absent(1, 0.0))
    sender.put("a", b"1")
    with pytest.raises(ConfigError, match="stream payments"):
        sender.flush()
