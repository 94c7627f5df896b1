"""One suite for Kinesis through reader and producer: on the fake, on local services, on moto's server."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import botocore.session
import pytest
from botocore.exceptions import ClientError

from fraud_detection.adapters.aws.kinesis_consumer import ShardReader, list_shards, read_range
from fraud_detection.adapters.aws.kinesis_producer import KinesisProducer
from fraud_detection.core.errors import ConfigError
from fraud_detection.testing.feature_store_model import wrongs
from fraud_detection.testing.kinesis_fake import MAX_PUT_BYTES, MAX_RECORD_BYTES, SPACE, FakeKinesis

SHARDS = ["shardId-000000000000", "shardId-000000000001"]
NUMBERS = count(1)


@pytest.fixture(params=["fake", "local", pytest.param("moto", marks=pytest.mark.long)])
def on(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def empty(on: str, request: pytest.FixtureRequest) -> tuple[Any, str]:
    """Return a client and the ARN of a new stream of two shards."""
    name = f"s{next(NUMBERS)}"
    if on == "fake":
        fake = FakeKinesis(2, name)
        return fake, fake.arn
    client = request.getfixturevalue(on)("kinesis")
    client.create_stream(StreamName=name, ShardCount=2)
    arn = str(client.describe_stream_summary(StreamName=name)["StreamDescriptionSummary"]["StreamARN"])
    if on == "moto":
        # An iterator of moto's knows its stream by name alone; AWS takes either, or both.
        client.meta.events.register_first(
            "before-parameter-build.kinesis.GetShardIterator",
            lambda params, **_: params.setdefault("StreamName", params["StreamARN"].rpartition("/")[2]),
            unique_id="by-name",
        )
    return client, arn


@pytest.fixture
def stream(empty: tuple[Any, str]) -> tuple[Any, str]:
    """Return a stream with 0 to 39 of ten keys in it."""
    client, arn = empty
    records = [{"PartitionKey": f"k{n % 10}", "Data": str(n).encode()} for n in range(40)]
    client.put_records(StreamName=arn.rpartition("/")[2], Records=records)
    return client, arn


def test_the_shards_are_named_alike(stream: tuple[Any, str]) -> None:
    assert [(shard.name, shard.parents) for shard in list_shards(*stream)] == [(name, ()) for name in SHARDS]


def test_every_record_lies_in_one_shard_and_each_key_is_in_order(stream: tuple[Any, str]) -> None:
    read = {name: ShardReader(*stream, name).read().records for name in SHARDS}
    assert sorted(int(record.data) for records in read.values() for record in records) == list(range(40))
    for records in read.values():
        numbers = [int(record.number) for record in records]
        assert numbers == sorted(set(numbers))
        for key in {record.key for record in records}:
            values = [int(record.data) for record in records if record.key == key]
            assert values == list(range(int(key[1:]), 40, 10))


def test_reading_goes_on_where_it_left_off_also_in_another_reader(stream: tuple[Any, str]) -> None:
    first = ShardReader(*stream, SHARDS[0])
    head = first.read(3).records
    rest = first.read().records
    again = ShardReader(*stream, SHARDS[0], after=head[-1].number).read().records
    assert len(head) == 3
    assert again == rest != []
    end = first.read()
    assert (end.records, end.lag_ms, end.closed) == ([], 0, False)


def test_latest_passes_over_what_was_there(stream: tuple[Any, str]) -> None:
    client, arn = stream
    readers = [ShardReader(client, arn, name, start="LATEST") for name in SHARDS]
    assert [reader.read().records for reader in readers] == [[], []]
    client.put_records(StreamName=arn.rpartition("/")[2], Records=[{"PartitionKey": "k", "Data": b"new"}])
    assert [record.data for reader in readers for record in reader.read().records] == [b"new"]


def test_a_stream_that_is_not_there_is_a_mistake_in_the_set_up(stream: tuple[Any, str]) -> None:
    client, arn = stream
    with pytest.raises(ConfigError, match="absent"):
        list_shards(client, f"{arn}-absent")


def test_a_producer_puts_each_record_where_its_key_belongs_and_the_reader_finds_it(
    empty: tuple[Any, str],
) -> None:
    client, arn = empty
    producer = KinesisProducer(client, arn.rpartition("/")[2])
    for n in range(120):
        producer.put(f"k{n % 7}", b"%d" % n)
    producer.flush()
    assert (producer.accepted, producer.refused) == (120, 0)
    records = [record for name in SHARDS for record in ShardReader(client, arn, name).read().records]
    assert {
        key: [int(stream_record.data) for stream_record in records if stream_record.key == key]
        for key in {stream_record.key for stream_record in records}
    } == {f"k{start}": list(range(start, 120, 7)) for start in range(7)}


def test_records_that_were_sent_as_another_key_lie_with_those_of_theirs(empty: tuple[Any, str]) -> None:
    client, arn = empty
    producer = KinesisProducer(client, arn.rpartition("/")[2])
    for n in range(20):
        producer.put(f"k{n % 5}", b"%d" % n, f"sent-as-{n}" if n % 2 else "")
    producer.flush()
    where = {
        int(record.data): name for name in SHARDS for record in ShardReader(client, arn, name).read().records
    }
    assert sorted(where) == list(range(20))
    assert all(where[n] == where[n % 5] for n in range(20))


def test_a_range_of_numbers_is_read_to_both_of_its_ends(stream: tuple[Any, str]) -> None:
    records = ShardReader(*stream, SHARDS[1]).read().records
    assert read_range(*stream, SHARDS[1], records[2].number, records[5].number) == records[2:6]


def test_a_time_passes_over_what_came_before_it(stream: tuple[Any, str]) -> None:
    now = datetime.now(UTC)
    for at, number in ((now - timedelta(hours=1), 40), (now + timedelta(hours=1), 0)):
        reader = [ShardReader(*stream, name, start="AT_TIMESTAMP", start_s=at.timestamp()) for name in SHARDS]
        assert sum(len(shard_reader.read().records) for shard_reader in reader) == number


def test_a_reader_that_is_behind_is_reported(stream: tuple[Any, str], on: str) -> None:
    if on == "moto":
        pytest.skip(
            "moto's server counts from the last record instead of now, so 0 among those of one moment"
        )
    reader = ShardReader(*stream, SHARDS[0])
    assert len(reader.read(2).records) == 2
    assert reader.read(1).lag_ms > 0


Call = Callable[[Any, str], object]


def puts(number: int, size: int = 1, key: str = "k", **more: str) -> Call:
    records = [{"PartitionKey": key, "Data": b"x" * size, **more}] * number
    return lambda client, arn: client.put_records(StreamName=arn.rpartition("/")[2], Records=records)


def iterator(kind: str, shard: str = SHARDS[0], **more: object) -> Call:
    return lambda client, arn: client.get_shard_iterator(
        StreamARN=arn, ShardId=shard, ShardIteratorType=kind, **more
    )["ShardIterator"]


def gets(limit: int) -> Call:
    start = iterator("TRIM_HORIZON")
    return lambda client, arn: client.get_records(ShardIterator=start(client, arn), Limit=limit)


MISTAKE = {"InvalidArgumentException", "ValidationException"}
"""AWS says the one of what its description of a call rules out, else the other; neither is retried."""
ABSENT = {"ResourceNotFoundException"}
REFUSED: dict[str, tuple[Call, set[str]]] = {
    "501 records": (puts(501), MISTAKE),
    "no record": (puts(0), MISTAKE),
    "a key of 257 characters": (puts(1, key="k" * 257), MISTAKE),
    "an empty key": (puts(1, key=""), MISTAKE),
    "a record of more than 1 MiB": (puts(1, MAX_RECORD_BYTES + 1), MISTAKE),
    "a record of more than 1 MiB with its key": (puts(1, MAX_RECORD_BYTES), MISTAKE),
    "more than 10 MiB": (puts(1 + MAX_PUT_BYTES // 1_000_000, 1_000_000), MISTAKE),
    "a hash key beyond the last": (puts(1, ExplicitHashKey=str(SPACE)), MISTAKE),
    "another stream": (lambda client, _: puts(1)(client, "absent"), ABSENT),
    "another shard": (iterator("LATEST", "shardId-000000000009"), ABSENT),
    "an unknown kind of iterator": (iterator("FIRST"), MISTAKE),
    "a number that is none": (iterator("AT_SEQUENCE_NUMBER", StartingSequenceNumber="first"), MISTAKE),
    "no number": (iterator("AFTER_SEQUENCE_NUMBER"), MISTAKE),
    "no time": (iterator("AT_TIMESTAMP"), MISTAKE),
    "an iterator that is none": (
        lambda client, _: client.get_records(ShardIterator="none", Limit=1),
        {*MISTAKE, "ExpiredIteratorException"},
    ),
    "a limit of 0": (gets(0), MISTAKE),
    "a limit of 10,001": (gets(10_001), MISTAKE),
}
LENIENT = {
    "local": {
        "no record",
        "an empty key",
        "a record of more than 1 MiB with its key",
        "a hash key beyond the last",
        "a number that is none",
        "no number",
        "a limit of 0",
        "a limit of 10,001",
    },
    "moto": {"no record", "an empty key", "a limit of 0", "a limit of 10,001"},
}
"""What they let pass, and AWS documents as refused: the docstring of FakeKinesis has the pages."""
BROKEN = {"moto": {"a number that is none", "no number", "no time", "an iterator that is none"}}
"""To these moto's server answers with an internal error, which says nothing."""


@pytest.mark.parametrize("what", REFUSED)
def test_what_aws_refuses_is_refused(stream: tuple[Any, str], on: str, what: str) -> None:
    call, codes = REFUSED[what]
    if what in BROKEN.get(on, ()):
        pytest.skip("moto's server answers 500")
    if what in LENIENT.get(on, ()):
        call(*stream)  # fails as soon as it is refused there too
        return
    with pytest.raises(ClientError) as caught:
        call(*stream)
    assert caught.value.response["Error"]["Code"] in codes


class TestFake:
    """What local services do not do on demand, and the shape of the answers, which botocore knows."""

    def test_a_record_that_was_refused_is_sent_again_before_later_ones_of_its_key(self) -> None:
        fake, refusals = FakeKinesis(2), [True, False, True]
        fake.busy = lambda key: key == "k1" and bool(refusals) and refusals.pop()
        producer = KinesisProducer(fake, "payments", pause=lambda _: None)
        for n in range(9):
            producer.put(f"k{n % 3}", b"%d" % n)
        producer.flush()
        records = [record for name in SHARDS for record in fake.records(name)]
        assert [
            stream_record["Data"] for stream_record in records if stream_record["PartitionKey"] == "k1"
        ] == [b"1", b"4", b"7"]
        assert (producer.accepted, producer.refused, len(records)) == (9, 2, 9)

    def test_an_expired_iterator_is_distinguished_from_an_invalid_one(self) -> None:
        fake = FakeKinesis(1)
        at = iterator("LATEST")(fake, fake.arn)
        fake.expire_iterators()
        with pytest.raises(ClientError, match="ExpiredIteratorException"):
            fake.get_records(ShardIterator=str(at), Limit=1)
        with pytest.raises(ClientError, match="InvalidArgumentException"):
            fake.get_records(ShardIterator="none", Limit=1)

    def test_every_response_is_as_aws_describes_it(self) -> None:
        fake, service = FakeKinesis(1), botocore.session.get_session().get_service_model("kinesis")
        fake.busy = lambda key: key == "busy"
        records = [{"PartitionKey": key, "Data": b"x"} for key in ("a", "busy")]
        responses: dict[str, dict[str, Any]] = {"PutRecords": fake.put_records(Records=records)}
        fake.split(SHARDS[0])
        responses["ListShards"] = fake.list_shards(StreamARN=fake.arn)
        at = fake.get_shard_iterator(StreamARN=fake.arn, ShardId=SHARDS[0], ShardIteratorType="TRIM_HORIZON")
        responses["GetShardIterator"] = at
        responses["GetRecords"] = fake.get_records(ShardIterator=at["ShardIterator"], Limit=9)
        for operation, response in responses.items():
            shape = service.operation_model(operation).output_shape
            assert wrongs(shape, response) == []
            assert response.keys() <= shape.members.keys()
