"""The Lambda function under the Kinesis Producer Library: aggregates are batches like any other."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from fraud_detection.serving.aws_lambda.batch import ShardEvent, records_of
from fraud_detection.testing.aws_fakes import refusal
from tests.conftest import SmallSimulation
from tests.functional.aws_lambda.test_handler import FIRST, Cloud, calm, profiles, run, throttled
from tests.unit.adapters.aws.kpl_aggregates import aggregate

SHARD = "shardId-000000000003"


@pytest.fixture(scope="module")
def events(small_simulation: SmallSimulation) -> list[bytes]:
    return small_simulation.events(300, late_share=0.05, duplicate_share=0.04, malformed_share=0.02)


def delivered(datas: list[bytes]) -> list[ShardEvent]:
    """Return the records of a Lambda event, taken apart."""
    return records_of({"Records": [record(index, data) for index, data in enumerate(datas)]})


def record(position: int, data: bytes) -> dict[str, Any]:
    return {
        "eventID": f"{SHARD}:{FIRST + position}",
        "kinesis": {
            "sequenceNumber": str(FIRST + position),
            "partitionKey": "a",
            "data": base64.b64encode(data).decode(),
            "approximateArrivalTimestamp": 1.0,
        },
    }


def aggregated(events: list[bytes], seed: int) -> list[bytes]:
    """Return the same events, some alone and some in aggregates of various sizes."""
    chance, found, at = Random(seed), list[bytes](), 0
    while at < len(events):
        size = chance.choice([1, 1, 3, 20, 90])
        part = events[at : at + size]
        found.append(
            part[0] if size == 1 else aggregate([(f"key-{at + n}", event) for n, event in enumerate(part)])
        )
        at += size
    return found


def copies(events: list[bytes], count: int) -> list[bytes]:
    """Return payments that are alike but for their ids."""
    payment = json.loads(next(event for event in events if b'"card_id"' in event and b'"label"' not in event))
    return [json.dumps(payment | {"transaction_id": f"t{n}"}).encode() for n in range(count)]


def outcomes_of(cloud: Cloud) -> dict[str, tuple[object, ...]]:
    return {
        transaction_id: (decision[4], decision[5], decision[6])
        for transaction_id, decision in cloud.decisions().items()
    }


def refused(cloud: Cloud) -> list[bytes]:
    return sorted(one.event for one in cloud.aside() for _ in one.positions)


@pytest.fixture(scope="module")
def alone(small_simulation: SmallSimulation, events: list[bytes]) -> Cloud:
    cloud = Cloud(small_simulation)
    assert run(cloud, {SHARD: delivered(events)}, 1, calm) == 0
    return cloud


@pytest.mark.parametrize("fault", [calm, throttled])
@pytest.mark.parametrize("seed", [1, 2])
def test_aggregates_are_decided_as_their_events_alone(
    small_simulation: SmallSimulation,
    events: list[bytes],
    alone: Cloud,
    fault: Callable[[Random, str], None],
    seed: int,
) -> None:
    cloud = Cloud(small_simulation)
    run(cloud, {SHARD: delivered(aggregated(events, seed))}, seed, fault)
    assert outcomes_of(cloud) == outcomes_of(alone)
    assert profiles(cloud) == profiles(alone)
    assert refused(cloud) == refused(alone)


def test_each_event_of_an_aggregate_has_a_sequence_number_of_its_own(
    small_simulation: SmallSimulation, events: list[bytes]
) -> None:
    cloud = Cloud(small_simulation)
    payments = copies(events, 42)
    records = delivered(
        [payments[0], aggregate([("k", payment) for payment in payments[1:41]]), payments[41]]
    )
    assert cloud.processor().handle(SHARD, records) == []
    logged = [item["delivery"]["sequence_number"] for item in cloud.lines_of("decision")]
    assert logged[0] == str(FIRST)
    assert logged[-1] == str(FIRST + 2)
    assert all(item.startswith(f"{FIRST + 1}.") for item in logged[1:-1])
    assert len(set(logged)) == len(logged) > 20


def test_what_failed_is_named_by_the_record_of_kinesis(
    small_simulation: SmallSimulation, events: list[bytes]
) -> None:
    cloud = Cloud(small_simulation)
    records = delivered([aggregate([("k", event) for event in (events * 3)[:600]]), *events[:3]])
    processor = cloud.processor()

    def busy_later(_operation: str) -> None:
        if len(cloud.lines_of("batch")) == 1:
            raise refusal("ThrottlingException", "x")

    cloud.inject_faults(busy_later)
    # The first 500 events of the aggregate were decided, its last ones were not.
    assert processor.handle(SHARD, records) == [str(FIRST)]
    cloud.inject_faults(lambda _: None)
    assert processor.handle(SHARD, records) == []
    assert len({item["transaction_id"] for item in cloud.lines_of("decision")}) == len(cloud.decisions())


@pytest.mark.parametrize(
    "damage", [lambda one: one[:-3], lambda one: one[:30], lambda one: one[:9] + b"\0" + one[10:]]
)
def test_a_broken_aggregate_is_set_aside_whole_with_the_true_reason(
    small_simulation: SmallSimulation, events: list[bytes], damage: Callable[[bytes], bytes]
) -> None:
    cloud = Cloud(small_simulation)
    broken = damage(aggregate([("k", event) for event in events[:5]]))
    assert cloud.processor().handle(SHARD, delivered([events[0], broken, events[6]])) == []
    (one,) = cloud.aside()
    assert one.event == broken
    assert "Kinesis Producer Library" in one.reason
    assert "checksum" in one.reason
    assert one.sequence_number == str(FIRST + 1)


def test_of_an_aggregate_only_the_bad_event_is_set_aside(
    small_simulation: SmallSimulation, events: list[bytes]
) -> None:
    cloud = Cloud(small_simulation)
    good = [event for event in events[:30] if b'"label"' not in event][:3]
    data = aggregate([("a", good[0]), ("b", b"nonsense"), ("c", good[1])])
    assert cloud.processor().handle(SHARD, delivered([data])) == []
    (one,) = cloud.aside()
    assert (one.event, one.partition_key, one.sequence_number) == (b"nonsense", "b", f"{FIRST}.1")


def test_an_invocation_without_time_leaves_the_rest_and_loses_nothing(
    small_simulation: SmallSimulation, events: list[bytes]
) -> None:
    cloud = Cloud(small_simulation)
    many = copies(events, 1_100)
    datas = [
        aggregate([("k", event) for event in many[:300]]),
        aggregate([("k", event) for event in many[300:]]),
    ]
    processor = cloud.processor()
    assert processor.handle(SHARD, delivered(datas), lambda: 0.0) == [str(FIRST + 1)]
    assert len(cloud.decisions()) == 300
    # Each time more is done, although the record comes whole again.
    assert processor.handle(SHARD, delivered(datas)[300:], lambda: 0.0) == [str(FIRST + 1)]
    assert len(cloud.decisions()) == 800
    assert processor.handle(SHARD, delivered(datas)[300:]) == []
    assert cloud.decisions().keys() == {f"t{n}" for n in range(1_100)}
