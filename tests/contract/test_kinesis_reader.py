"""One suite for the stream in memory and the local service: the reader cannot tell them apart."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest

from fraud_detection.adapters.aws.clients import clients_of
from fraud_detection.adapters.aws.kinesis_consumer import ShardReader, list_shards
from fraud_detection.core.errors import ConfigError
from fraud_detection.testing.kinesis_fake import FakeKinesis
from tests.root import ROOT
from tools.local_aws.services import LocalServices

TOOLS = ROOT / ".venv-aws"
SHARDS = ["shardId-000000000000", "shardId-000000000001"]
NUMBERS = count(1)


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    if not (TOOLS / ".locked").exists():
        pytest.skip("the local services are not here: make .venv-aws/.locked")
    with LocalServices(TOOLS, tmp_path_factory.mktemp("services")) as services:
        yield clients_of(services.environment())("kinesis")


@pytest.fixture(params=["memory", "local service"])
def stream(request: pytest.FixtureRequest) -> tuple[Any, str]:
    """Return a client and the ARN of a stream of two shards, with 0 to 39 of ten keys in it."""
    name = f"s{next(NUMBERS)}"
    if request.param == "memory":
        client: Any = FakeKinesis(2, name)
        arn = client.arn
    else:
        client = request.getfixturevalue("local")
        client.create_stream(StreamName=name, ShardCount=2)
        told = client.describe_stream_summary(StreamName=name)
        arn = told["StreamDescriptionSummary"]["StreamARN"]
    records = [{"PartitionKey": f"k{n % 10}", "Data": str(n).encode()} for n in range(40)]
    client.put_records(StreamName=name, Records=records)
    return client, arn


def test_the_shards_are_named_alike(stream: tuple[Any, str]) -> None:
    assert [(one.name, one.parents) for one in list_shards(*stream)] == [(name, ()) for name in SHARDS]


def test_every_record_lies_in_one_shard_and_each_key_is_in_order(stream: tuple[Any, str]) -> None:
    read = {name: ShardReader(*stream, name).read().records for name in SHARDS}
    assert sorted(int(one.data) for records in read.values() for one in records) == list(range(40))
    for records in read.values():
        numbers = [int(one.number) for one in records]
        assert numbers == sorted(set(numbers))
        for key in {one.key for one in records}:
            values = [int(one.data) for one in records if one.key == key]
            assert values == list(range(int(key[1:]), 40, 10))


def test_reading_goes_on_where_it_left_off_also_in_another_reader(stream: tuple[Any, str]) -> None:
    first = ShardReader(*stream, SHARDS[0])
    head = first.read(3).records
    rest = first.read().records
    again = ShardReader(*stream, SHARDS[0], after=head[-1].number).read().records
    assert len(head) == 3
    assert again == rest != []
    end = first.read()
    assert (end.records, end.behind_ms, end.closed) == ([], 0, False)


def test_latest_passes_over_what_was_there(stream: tuple[Any, str]) -> None:
    client, arn = stream
    readers = [ShardReader(client, arn, name, start="LATEST") for name in SHARDS]
    assert [reader.read().records for reader in readers] == [[], []]
    client.put_records(StreamName=arn.rpartition("/")[2], Records=[{"PartitionKey": "k", "Data": b"new"}])
    assert [one.data for reader in readers for one in reader.read().records] == [b"new"]


def test_a_stream_that_is_not_there_is_a_mistake_in_the_set_up(stream: tuple[Any, str]) -> None:
    client, arn = stream
    with pytest.raises(ConfigError, match="absent"):
        list_shards(client, f"{arn}-absent")
