"""What the function on AWS sets aside: one call a batch, and equal events of a batch in one line."""

from __future__ import annotations

import base64
import json
from random import Random
from typing import Any

import pytest

from fraud_detection.run.lane_batch import records_of
from tests.conftest import SmallWorld
from tests.functional.test_conflicts import LARGE, SMALL, raw
from tests.functional.test_stream_door import FIRST, Cloud, Killed

LANE = "shardId-000000000001"


def delivered(events: list[bytes], first: int = FIRST) -> dict[str, Any]:
    """Return what Lambda hands to the function, one event a record and a millisecond."""
    records = [
        {
            "kinesis": {
                "sequenceNumber": str(first + number),
                "partitionKey": f"key-{number % 3}",
                "approximateArrivalTimestamp": 1_700_000_000 + number / 1000,
                "data": base64.b64encode(event).decode(),
            },
            "eventID": f"{LANE}:{first + number}",
        }
        for number, event in enumerate(events)
    ]
    return {"Records": records}


def handle(cloud: Cloud, events: list[bytes]) -> None:
    assert cloud.processor().handle(LANE, records_of(delivered(events))) == []


def bad(number: int, size: int = 0) -> bytes:
    return json.dumps({"transaction_id": f"b{number}", "text": "x" * size}).encode()


@pytest.mark.parametrize(("count", "size"), [(1, 0), (10, 0), (500, 0), (14, 300_000)])
def test_a_batch_of_bad_records_costs_one_call_however_many_and_large_they_are(
    small_world: SmallWorld, count: int, size: int
) -> None:
    cloud = Cloud(small_world)
    handle(cloud, [bad(number, size) for number in range(count)])
    assert cloud.s3.puts == 1
    assert [one.sequence_number for one in cloud.aside()] == [str(FIRST + n) for n in range(count)]
    assert len(cloud.told("quarantined")) == count


def test_a_batch_without_bad_records_costs_no_call(small_world: SmallWorld) -> None:
    cloud = Cloud(small_world)
    handle(cloud, [raw(SMALL)])
    assert cloud.s3.puts == 0


def test_equal_events_of_a_batch_are_one_line_with_all_their_places(small_world: SmallWorld) -> None:
    chance, cloud = Random(3), Cloud(small_world)
    pool = [bad(1), bad(2), bad(2) + b" ", b"no JSON", raw(LARGE), bad(3, 300_000), bad(3, 300_001)]
    events = [raw(SMALL), *chance.choices(pool, k=60)]
    handle(cloud, events)
    wanted: dict[bytes, list[int]] = {}
    for number, event in enumerate(events[1:], start=1):
        wanted.setdefault(event, []).append(number)
    found = cloud.aside()
    assert len(found) == len(wanted) == len(pool)
    for one, (event, numbers) in zip(found, wanted.items(), strict=True):
        assert one.event == event[:65_536] if len(event) > 262_144 else event
        assert one.count == len(numbers)
        assert [(place.sequence_number, place.partition_key) for place in one.places] == [
            (str(FIRST + number), f"key-{number % 3}") for number in numbers
        ]
        assert (one.first_at, one.last_at) == (
            1_700_000_000_000 + numbers[0],
            1_700_000_000_000 + numbers[-1],
        )
    # Metrics and log count and tell each.
    assert cloud.told("batch")[0]["quarantined"] + cloud.told("batch")[0]["conflicts"] == 60
    assert len(cloud.told("quarantined")) + len(cloud.told("conflict")) == 60


def test_a_batch_that_was_killed_and_comes_again_writes_the_same_object(small_world: SmallWorld) -> None:
    cloud = Cloud(small_world)
    events = [raw(SMALL), bad(1), bad(2), bad(1)]

    def killed(_: str) -> None:
        if cloud.s3.puts:
            raise Killed

    cloud.trouble(killed)
    with pytest.raises(Killed):
        handle(cloud, events)
    before = dict(cloud.s3.objects)
    assert len(before) == 1
    cloud.trouble(lambda _: None)
    for _ in range(2):
        handle(cloud, events)
    assert cloud.s3.objects == before
    assert [one.count for one in cloud.aside()] == [2, 1]
