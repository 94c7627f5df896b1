"""What the function on AWS sets aside, one call a batch, and how it is put into the stream again."""

from __future__ import annotations

import base64
import json
from collections import Counter
from random import Random
from typing import Any

import msgspec
import pytest

from fraud_detection.adapters.aws.s3_objects import Objects
from fraud_detection.adapters.aws.s3_quarantine import QuarantinedEvent, S3Quarantine
from fraud_detection.core.errors import ConfigError
from fraud_detection.core.score.archive import read_bundle
from fraud_detection.core.score.bundle import Bundle
from fraud_detection.deployment.redrive_quarantine import QuarantineRedrive, redrive_quarantine
from fraud_detection.serving.aws_lambda.batch import records_of
from fraud_detection.testing.kinesis_fake import FakeKinesis
from tests.command_line import parsed
from tests.conftest import SmallSimulation
from tests.functional.aws_lambda.test_handler import FIRST, Cloud, Killed
from tests.functional.serving.test_conflicts import LARGE, SMALL, raw

SHARD = "shardId-000000000001"
OTHER = "shardId-000000000002"


def delivered(events: list[bytes], first: int = FIRST, key: str | None = None) -> dict[str, Any]:
    """Return what Lambda hands to the function, one event a record and a millisecond."""
    records = [
        {
            "kinesis": {
                "sequenceNumber": str(first + number),
                "partitionKey": key or f"key-{number % 3}",
                "approximateArrivalTimestamp": 1_700_000_000 + number / 1000,
                "data": base64.b64encode(event).decode(),
            },
            "eventID": f"{SHARD}:{first + number}",
        }
        for number, event in enumerate(events)
    ]
    return {"Records": records}


def handle(cloud: Cloud, events: list[bytes], shard: str = SHARD, first: int = FIRST) -> None:
    assert cloud.processor().handle(shard, records_of(delivered(events, first))) == []


def bad(number: int, size: int = 0) -> bytes:
    return json.dumps({"transaction_id": f"b{number}", "text": "x" * size}).encode()


@pytest.mark.parametrize(("count", "size"), [(1, 0), (10, 0), (500, 0), (14, 300_000)])
def test_a_batch_of_bad_records_costs_one_call_however_many_and_large_they_are(
    small_simulation: SmallSimulation, count: int, size: int
) -> None:
    cloud = Cloud(small_simulation)
    handle(cloud, [bad(number, size) for number in range(count)])
    assert cloud.s3.puts == 1
    assert [record.sequence_number for record in cloud.aside()] == [str(FIRST + n) for n in range(count)]
    assert len(cloud.lines_of("quarantined")) == count


def test_a_batch_without_bad_records_costs_no_call(small_simulation: SmallSimulation) -> None:
    cloud = Cloud(small_simulation)
    handle(cloud, [raw(SMALL)])
    assert cloud.s3.puts == 0


def test_equal_events_of_a_batch_are_one_line_with_all_their_sequence_numbers(
    small_simulation: SmallSimulation,
) -> None:
    chance, cloud = Random(3), Cloud(small_simulation)
    pool = [bad(1), bad(2), bad(2) + b" ", b"no JSON", raw(LARGE), bad(3, 300_000), bad(3, 300_001)]
    events = [raw(SMALL), *chance.choices(pool, k=60)]
    handle(cloud, events)
    wanted: dict[bytes, list[int]] = {}
    for number, event in enumerate(events[1:], start=1):
        wanted.setdefault(event, []).append(number)
    set_aside = cloud.aside()
    assert len(set_aside) == len(wanted) == len(pool)
    for item, (event, numbers) in zip(set_aside, wanted.items(), strict=True):
        assert item.event == event[:65_536] if len(event) > 262_144 else event
        assert item.count == len(numbers)
        assert [(position.sequence_number, position.partition_key) for position in item.positions] == [
            (str(FIRST + number), f"key-{number % 3}") for number in numbers
        ]
        assert (item.first_at, item.last_at) == (
            1_700_000_000_000 + numbers[0],
            1_700_000_000_000 + numbers[-1],
        )
    # Metrics and log count and tell each.
    assert cloud.lines_of("batch")[0]["quarantined"] + cloud.lines_of("batch")[0]["conflicts"] == 60
    assert len(cloud.lines_of("quarantined")) + len(cloud.lines_of("conflict")) == 60


def test_a_batch_that_was_killed_and_comes_again_writes_the_same_object(
    small_simulation: SmallSimulation,
) -> None:
    cloud = Cloud(small_simulation)
    events = [raw(SMALL), bad(1), bad(2), bad(1)]

    def killed(_: str) -> None:
        if cloud.s3.puts:
            raise Killed

    cloud.inject_faults(killed)
    with pytest.raises(Killed):
        handle(cloud, events)
    before = dict(cloud.s3.objects)
    assert len(before) == 1
    cloud.inject_faults(lambda _: None)
    for _ in range(2):
        handle(cloud, events)
    assert cloud.s3.objects == before
    assert [record.count for record in cloud.aside()] == [2, 1]


def renamed(number: int, **more: object) -> bytes:
    """Return a payment whose amount has a name that the schema does not know yet."""
    event = SMALL | {"transaction_id": f"r{number}", "card_id": f"c{number % 4}", "sum": 7.5} | more
    return raw({name: value for name, value in event.items() if name != "amount" and value is not None})


def mended(simulation: SmallSimulation) -> Bundle:
    """Return the bundle with a schema that knows the name."""
    bundle = read_bundle(simulation.bundle)
    schema = bundle.contents.project.schema
    assert schema.amount is not None
    amount = msgspec.structs.replace(schema.amount, aliases=(*schema.amount.aliases, "sum"))
    project = msgspec.structs.replace(
        bundle.contents.project, schema=msgspec.structs.replace(schema, amount=amount)
    )
    return msgspec.structs.replace(bundle, contents=msgspec.structs.replace(bundle.contents, project=project))


def redrive(cloud: Cloud, stream: FakeKinesis, below: str = "") -> QuarantineRedrive:
    return redrive_quarantine(Objects(cloud.s3, "q"), stream, "payments", below)


def arrived(stream: FakeKinesis) -> dict[str, list[dict[str, Any]]]:
    """Return what lies in the stream, by shard."""
    names = [shard["ShardId"] for shard in stream.list_shards(StreamARN=stream.arn)["Shards"]]
    return {name: stream.records(name) for name in names}


def keys_of(stream: FakeKinesis) -> Counter[tuple[str, bytes]]:
    """Return what lies in the stream, by the keys with which it came at first."""
    every = [record for records in arrived(stream).values() for record in records]
    assert all(record["PartitionKey"].startswith("redriven:") for record in every)
    return Counter((record["PartitionKey"].rpartition(":")[2], bytes(record["Data"])) for record in every)


def deliver_all(cloud: Cloud, stream: FakeKinesis, simulation: SmallSimulation) -> None:
    """Deliver what lies in the stream, behind all that came before, to a processor with a mended schema."""
    processor = cloud.processor(mended(simulation))
    for name, records in arrived(stream).items():
        listed = [
            (bytes(record["Data"]), record["PartitionKey"], int(record["SequenceNumber"]))
            for record in records
        ]
        events = [one for event, key, at in listed for one in delivered([event], FIRST + at, key)["Records"]]
        assert processor.handle(name, records_of({"Records": events})) == []


def test_what_was_set_aside_is_decided_once_when_the_schema_is_mended(
    small_simulation: SmallSimulation,
) -> None:
    cloud, stream = Cloud(small_simulation), FakeKinesis(2)
    without_id = [renamed(90, transaction_id=None)] * 3
    first = [renamed(number) for number in range(20)]
    handle(cloud, [raw(SMALL), *first, *without_id])
    handle(cloud, [raw(LARGE), bad(1, 300_000), renamed(30)], OTHER, FIRST + 1_000)
    S3Quarantine(cloud.s3, "q").put(
        [QuarantinedEvent("z", "1", "k", "internal_error", "$", "e30=", "Traceback", kind="internal_error")]
    )
    done = redrive(cloud, stream)
    assert (done.objects, done.events, done.before) == (3, 24, 0)
    assert done.left == {"conflict": 1, "beginning": 1, "internal_error": 1}
    lines = list(done.lines())
    assert lines[0] == "24 events of 3 objects were put into the stream again"
    assert [line.split(",")[0] for line in lines[1:]] == ["1 stay where they are"] * 3
    wanted = Counter((f"key-{number % 3}", event) for number, event in enumerate([*first, *without_id], 1))
    wanted["key-2", renamed(30)] += 1
    assert keys_of(stream) == wanted
    # Again, nothing is put.
    again = redrive(cloud, stream)
    assert (again.events, again.before, keys_of(stream)) == (0, 24, wanted)
    before = cloud.s3.puts
    deliver_all(cloud, stream, small_simulation)
    ids = {f"r{number}" for number in (*range(20), 30)}
    # Those without an id are payments by the sequence numbers that they had first.
    unnamed_ids = {f"{SHARD}:{FIRST + 21 + number}" for number in range(3)}
    assert cloud.decisions().keys() == {"A1"} | ids | unnamed_ids
    assert cloud.s3.puts == before


def test_a_prefix_names_a_shard_or_an_object(small_simulation: SmallSimulation) -> None:
    cloud, stream = Cloud(small_simulation), FakeKinesis(1)
    handle(cloud, [bad(1)])
    handle(cloud, [bad(2)], OTHER)
    handle(cloud, [bad(3)], OTHER, FIRST + 7)
    assert redrive(cloud, stream, f"{OTHER}/{FIRST + 7}").events == 1
    done = redrive(cloud, stream, OTHER)
    assert (done.objects, done.events, done.before) == (2, 1, 1)
    assert keys_of(stream) == {("key-0", bad(3)): 1, ("key-0", bad(2)): 1}


def test_an_object_that_grew_since_has_only_the_rest_put(small_simulation: SmallSimulation) -> None:
    cloud, stream = Cloud(small_simulation), FakeKinesis(1)
    handle(cloud, [bad(1), bad(2)])
    assert redrive(cloud, stream).events == 2
    # The batch comes again, and is longer by now.
    handle(cloud, [bad(1), bad(2), bad(1), bad(3)])
    done = redrive(cloud, stream)
    assert (done.events, done.before) == (2, 2)
    assert sorted(keys_of(stream).values()) == [1, 1, 1, 1]


def test_a_run_that_was_killed_is_gone_on_with(small_simulation: SmallSimulation) -> None:
    cloud, stream, calls = Cloud(small_simulation), FakeKinesis(1), [0]
    for number in range(4):
        handle(cloud, [bad(10 * number), bad(10 * number + 1)], first=FIRST + 100 * number)

    def killed(_: str) -> None:
        calls[0] += 1
        if calls[0] == 3:
            raise Killed

    stream.before = killed
    with pytest.raises(Killed):
        redrive(cloud, stream)
    stream.before = lambda _: None
    done = redrive(cloud, stream)
    assert (done.events, done.before) == (4, 4)
    assert set(keys_of(stream).values()) == {1}


class DiesBeforeProgress(Objects):
    def put(self, key: str, content: bytes) -> None:  # noqa: ARG002 - of the one it replaces
        raise Killed


def test_a_run_that_is_killed_before_its_progress_is_stored_has_nothing_decided_twice(
    small_simulation: SmallSimulation,
) -> None:
    cloud, stream = Cloud(small_simulation), FakeKinesis(1)
    handle(cloud, [renamed(90, transaction_id=None)] * 3)

    with pytest.raises(Killed):
        redrive_quarantine(DiesBeforeProgress(cloud.s3, "q"), stream, "payments", "")
    assert redrive(cloud, stream).events == 3
    assert sum(keys_of(stream).values()) == 6
    deliver_all(cloud, stream, small_simulation)
    assert cloud.decisions().keys() == {f"{SHARD}:{FIRST + number}" for number in range(3)}


def test_what_cannot_be_read_is_refused_by_its_name(small_simulation: SmallSimulation) -> None:
    cloud, stream = Cloud(small_simulation), FakeKinesis(1)
    handle(cloud, [bad(1)])
    ((_, key),) = cloud.s3.objects
    assert redrive(cloud, stream).events == 1
    cloud.s3.objects["q", f"{key}.redriven"] = b"{"
    with pytest.raises(ConfigError, match=rf"{FIRST}\.jsonl\.redriven: is no list"):
        redrive(cloud, stream)
    cloud.s3.objects["q", key] = b"nothing"
    cloud.s3.objects.pop(("q", f"{key}.redriven"))
    with pytest.raises(ConfigError, match=rf"{FIRST}\.jsonl, line 1"):
        redrive(cloud, stream)
    assert set(keys_of(stream).values()) == {1}


def test_an_object_in_a_bucket_of_many_pages_is_found(small_simulation: SmallSimulation) -> None:
    cloud, stream = Cloud(small_simulation), FakeKinesis(1)
    s3_quarantine = S3Quarantine(cloud.s3, "q")
    for number in range(1_005):
        s3_quarantine.put(
            [
                QuarantinedEvent(
                    "s", f"{number:04d}", "k", "no", "$", base64.b64encode(b"%d" % number).decode()
                )
            ]
        )
    assert redrive(cloud, stream).events == 1_005
    assert redrive(cloud, stream).events == 0


@pytest.mark.parametrize(
    ("arguments", "below"), [([], None), (["--quarantine"], ""), (["--quarantine", "s/1"], "s/1")]
)
def test_the_command_takes_a_prefix_or_none(arguments: list[str], below: str | None) -> None:
    assert parsed(["deploy", "redrive", *arguments])["quarantine"] == below
