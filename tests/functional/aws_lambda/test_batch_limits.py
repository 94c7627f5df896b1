"""Batches as large as the services allow: no item, and no call, is larger than they take."""

from __future__ import annotations

import json
import random

import msgspec
import pytest

from fraud_detection.adapters.aws.kpl import MAX_EVENTS
from fraud_detection.adapters.aws.sagemaker_endpoint import SageMakerScorer
from fraud_detection.adapters.aws.state.dynamodb_decisions import UnfinishedEvent
from fraud_detection.adapters.aws.state.dynamodb_labels import LABELS_A_PART
from fraud_detection.core.parse.oversize import MAX_EVENT_BYTES
from fraud_detection.serving.aws_lambda.batch import ShardEvent
from fraud_detection.testing.aws_fakes import (
    MAX_BODY_BYTES,
    MAX_LOG_LINE_BYTES,
    MAX_SERVERLESS_BYTES,
    FakeRuntime,
)
from fraud_detection.testing.dynamodb_fake import MAX_ITEM_BYTES, item_bytes
from tests.conftest import SmallSimulation
from tests.functional.aws_lambda.test_handler import FIRST, Cloud, Killed

LABELS = 500
TEXT_BYTES = 1_500


def labels(start: int, count: int) -> list[ShardEvent]:
    """Return labels with much text that does not compress, one a record."""
    chance = random.Random(start)
    return [
        ShardEvent(
            str(FIRST + number),
            json.dumps(
                {
                    "type": "label",
                    "transaction_id": f"t{number}",
                    "is_fraud": 1,
                    "label_known_at": "2026-03-01T00:00:00Z",
                    "remark": chance.randbytes(TEXT_BYTES // 2).hex(),
                }
            ).encode(),
            0.0,
        )
        for number in range(start, start + count)
    ]


def known(cloud: Cloud) -> set[str]:
    return set(cloud.dynamo.tables.get("labels", {}))


def test_five_hundred_labels_with_much_text_are_one_batch(small_simulation: SmallSimulation) -> None:
    """They made one item of 595 kB, which DynamoDB refuses for ever."""
    cloud = Cloud(small_simulation)
    assert cloud.processor().handle("shard-1", labels(0, LABELS)) == []
    assert known(cloud) == {f"t{number}" for number in range(LABELS)}
    sizes = [item_bytes(item) for table in cloud.dynamo.tables.values() for item in table.values()]
    assert max(sizes) <= MAX_ITEM_BYTES
    journal = cloud.dynamo.tables["decisions"]["\nshard-1"]
    assert "parts" not in journal


@pytest.mark.parametrize("call", range(1, 8))
def test_a_large_batch_that_is_killed_at_any_call_is_processed_once(
    small_simulation: SmallSimulation, call: int
) -> None:
    cloud, calls = Cloud(small_simulation), 0

    def kill(_: str) -> None:
        nonlocal calls
        calls += 1
        if calls == call:
            raise Killed

    cloud.inject_faults(kill)
    with pytest.raises(Killed):
        cloud.processor().handle("shard-1", labels(0, LABELS))
    cloud.inject_faults(lambda _: None)
    # Lambda may cut the batch otherwise when it comes again.
    again = cloud.processor()
    assert again.handle("shard-1", labels(0, 200)) == []
    assert again.handle("shard-1", labels(200, LABELS - 200)) == []
    assert known(cloud) == {f"t{number}" for number in range(LABELS)}


def test_a_journal_of_many_parts_is_read_as_it_was_written(small_simulation: SmallSimulation) -> None:
    cloud = Cloud(small_simulation)
    processor = cloud.processor()
    dedup_index = processor.dedup_index
    dedup_index.shard = "shard-1"
    many = labels(0, LABELS) + labels(LABELS, LABELS)
    unfinished_events = [UnfinishedEvent(event.number, f"t{at}", event.data) for at, event in enumerate(many)]
    dedup_index.store_unfinished(unfinished_events)
    assert len(cloud.dynamo.tables["decisions"]) > 2
    assert dedup_index.unfinished() == unfinished_events
    dedup_index.store_unfinished([])
    assert dedup_index.unfinished() == []


SAYINGS = 5
"""How many parts of labels one payment has: as one item they would be larger than DynamoDB takes."""


def sayings(start: int, count: int) -> list[ShardEvent]:
    """Return labels that all speak of one payment, each of another day and source."""
    return [
        ShardEvent(
            str(FIRST + number),
            json.dumps(
                {
                    "type": "label",
                    "transaction_id": "t1",
                    "is_fraud": number % 2,
                    "label_known_at": f"2026-03-{1 + number // 60 % 28:02d}T00:00:{number % 60:02d}Z",
                    "source": f"source {number % 97} of a long name",
                }
            ).encode(),
            0.0,
        )
        for number in range(start, start + count)
    ]


def label_numbers(cloud: Cloud) -> list[int]:
    """Return the numbers of the labels of the payment, as another processor reads them."""
    dedup_index = cloud.processor().dedup_index
    dedup_index.shard = "shard-1"
    found = dedup_index.batch_state([], ["t1"])
    return sorted(
        label.sequence // MAX_EVENTS - FIRST for label in found.labels["t1"] + found.redundant["t1"]
    )


@pytest.mark.parametrize("part", [200, pytest.param(LABELS_A_PART, marks=pytest.mark.long)])
def test_very_many_labels_of_one_payment_stop_nobody(
    small_simulation: SmallSimulation, part: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At some 4,300 their one item was larger than DynamoDB takes, and the shard stood still for ever."""
    monkeypatch.setattr("fraud_detection.adapters.aws.state.dynamodb_labels.LABELS_A_PART", part)
    cloud, batch = Cloud(small_simulation), part // 2
    for start in range(0, SAYINGS * part, batch):
        assert cloud.processor().handle("shard-1", sayings(start, batch)) == []
    assert label_numbers(cloud) == list(range(SAYINGS * part))
    largest = max(map(item_bytes, cloud.dynamo.tables["labels"].values()))
    assert largest <= MAX_ITEM_BYTES * part / LABELS_A_PART
    # What comes again is known, and changes nothing.
    before = dict(cloud.dynamo.tables["labels"])
    assert cloud.processor().handle("shard-1", sayings(0, batch)) == []
    assert cloud.dynamo.tables["labels"] == before


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("call", range(1, 6))
def test_labels_that_fill_a_part_are_all_there_after_a_kill(
    small_simulation: SmallSimulation, call: int, when: str
) -> None:
    cloud, calls = Cloud(small_simulation), 0
    for start in (0, 400):
        cloud.processor().handle("shard-1", sayings(start, 400))

    def kill(_: str) -> None:
        nonlocal calls
        calls += 1
        if calls == call:
            raise Killed

    def nothing(_: str) -> None:
        return None

    cloud.inject_faults(*((kill, nothing) if when == "before" else (nothing, kill)))
    with pytest.raises(Killed):
        cloud.processor().handle("shard-1", sayings(800, 400))
    cloud.inject_faults(nothing)
    assert cloud.processor().handle("shard-1", sayings(800, 400)) == []
    assert label_numbers(cloud) == list(range(1_200))


def payments(simulation: SmallSimulation, count: int, **more: object) -> list[ShardEvent]:
    """Return so many payments of different cards, with more fields."""
    live = map(json.loads, simulation.events(10, malformed_share=0.0))
    one = next(plain for plain in live if plain.get("type") != "label")
    plain = [one | {"transaction_id": f"t{index}", "card_id": f"c{index}"} | more for index in range(count)]
    return [ShardEvent(str(FIRST + at), json.dumps(each).encode(), 1.0) for at, each in enumerate(plain)]


def test_a_batch_with_all_that_callers_can_make_grow_stays_within_what_the_log_takes(
    small_simulation: SmallSimulation,
) -> None:
    """1,000 unknown fields made a line of 229 kB; the log of the stand-in refuses what is cut."""
    cloud = Cloud(small_simulation)
    unknown = {f"{index:04d}" + "n" * 200: "v" * 20 for index in range(1_000)}
    long = {"merchant_id": "m" * 256, "device_id": "d" * 256}
    records = payments(small_simulation, 500, **long)
    records[250] = msgspec.structs.replace(
        records[250], data=json.dumps(json.loads(records[250].data) | unknown).encode()
    )
    long_id = json.loads(records[251].data) | {"transaction_id": "ü" * 256}
    records[251] = msgspec.structs.replace(records[251], data=json.dumps(long_id).encode())
    for index in (252, 253):
        records[index] = msgspec.structs.replace(records[index], data=b'{"' + b"x" * 60_000 + b'": nothing')
    assert cloud.processor().handle("shard-1", records) == []
    (counted,) = cloud.lines_of("batch")
    assert (counted["decided"], counted["quarantined"], counted["drift_left_out"] > 800) == (498, 2, True)
    assert max(len(json.dumps(line)) for line in cloud.lines) < MAX_LOG_LINE_BYTES // 4


def test_records_as_large_as_kinesis_gives_are_decided_or_set_aside(
    small_simulation: SmallSimulation,
) -> None:
    """An invocation holds 6 MB: five records of 1 MiB, or twenty events of the largest size."""
    cloud = Cloud(small_simulation)
    chance = random.Random(5)
    text = {f"note{index}": chance.randbytes(31_000).hex() for index in range(4)}
    large = payments(small_simulation, 20, **text)
    assert 240_000 < max(len(event.data) for event in large) <= MAX_EVENT_BYTES
    assert cloud.processor().handle("shard-1", large) == []
    assert len(cloud.decisions()) == 20
    huge = [ShardEvent(str(FIRST + 100 + at), b'{"x":"' + b"x" * ((1 << 20) - 300), 1.0) for at in range(5)]
    assert cloud.processor().handle("shard-1", huge) == []
    assert [record.count for record in cloud.aside()] == [5]


@pytest.mark.parametrize("most", [MAX_BODY_BYTES, MAX_SERVERLESS_BYTES])
def test_a_request_larger_than_an_endpoint_takes_is_sent_in_parts(most: int) -> None:
    names = [f"feature_{index}" for index in range(1_000)]
    rows = [[row + index / 7 for index in range(1_000)] for row in range(500)]

    def response(body: bytes) -> bytes:
        request, why = json.loads(body), [["feature_1", 1.0]]
        predictions = [
            {"score": 0.0, "probability": row[0] / 1_000, "reasons": why * (at in request["explain"])}
            for at, row in enumerate(request["rows"])
        ]
        counts = {"bands": [len(predictions), 0, 1, 0], "above_decline": 1}
        return json.dumps({"bundle": "b", "fingerprint": "f", "predictions": predictions} | counts).encode()

    runtime = FakeRuntime(response, most)
    scorer = SageMakerScorer(runtime, "e", names, "f", explain_at=1.0, budget_s=5.0)
    assert scorer.score(rows, [3, 499]) == [row / 1_000 for row in range(500)]
    assert runtime.calls > 1
    parts = runtime.calls
    assert scorer.response.bands == [500, 0, parts, 0]
    assert scorer.response.above_decline == parts
    assert [sum(contribution) for contribution in scorer.contributions([rows[3], rows[499]])] == [1.0, 1.0]
    assert runtime.calls == parts


def test_parts_of_a_batch_that_two_bundles_score_are_retried() -> None:
    bundles = iter(["old", "new", "new", "new"])

    def response(body: bytes) -> bytes:
        predictions = [{"score": 0.0, "probability": 0.5}] * len(json.loads(body)["rows"])
        return json.dumps({"bundle": next(bundles), "fingerprint": "f", "predictions": predictions}).encode()

    rows = [[row + index / 7 for index in range(1_000)] for row in range(300)]
    runtime = FakeRuntime(response)
    names = [f"feature_{index}" for index in range(1_000)]
    scorer = SageMakerScorer(runtime, "e", names, "f", explain_at=1.0, budget_s=5.0, pause=lambda _: None)
    assert scorer.score(rows) == [0.5] * 300
    assert (runtime.calls, scorer.response.bundle) == (4, "new")
