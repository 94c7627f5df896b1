"""The mapping on a stream in memory and a function of this process: the contract, with everything failing."""

from __future__ import annotations

import base64
import json
import threading
from collections import defaultdict
from collections.abc import Callable
from itertools import chain, pairwise
from random import Random
from typing import Any

import pytest

from fraud_detection.core.errors import ConfigError, RetryError
from fraud_detection.testing.aws_fakes import refusal
from fraud_detection.testing.kinesis_fake import FakeKinesis
from tools.local_aws.event_source_mapping import EventSourceMapping
from tools.local_aws.invocation import Invocation
from tools.local_aws.kinesis_event import MAX_EVENT_BYTES
from tools.local_aws.mapping_settings import MappingSettings
from tools.local_aws.shard_poller import PollIntervals

FAST = PollIntervals(poll_s=0.001, lagging_poll_s=0.0, initial_backoff_s=0.0001, max_backoff_s=0.001)
TIMEOUT_S = 20.0
Event = dict[str, Any]
GOOD = b'{"batchItemFailures": []}'


def values(event: Event) -> list[Any]:
    return [json.loads(base64.b64decode(record["kinesis"]["data"]))["n"] for record in event["Records"]]


def numbers(event: Event) -> list[str]:
    return [record["kinesis"]["sequenceNumber"] for record in event["Records"]]


def failing_at(event: Event, index: int) -> bytes:
    return json.dumps({"batchItemFailures": [{"itemIdentifier": numbers(event)[index]}]}).encode()


class Function:
    """Answers by a function of the event; an answer that is no bytes is an error of that name."""

    def __init__(self, handle: Callable[[Event], bytes | str]) -> None:
        self.events: list[Event] = []
        self.sizes: list[int] = []
        self.closed = False
        self._handle, self._busy = handle, threading.Lock()

    def invoke(self, event: bytes, timeout_s: float | None = None) -> Invocation:
        assert timeout_s is None
        assert self._busy.acquire(blocking=False), "one invocation of a shard at a time"
        self.sizes.append(len(event))
        self.events.append(json.loads(event))
        handle = self._handle(self.events[-1])
        self._busy.release()
        if isinstance(handle, bytes):
            return Invocation(str(len(self.events)), handle)
        return Invocation.failed(str(len(self.events)), handle, "failed")

    def close(self) -> None:
        self.closed = True


class MappingHarness:
    """A stream, a function a shard, and what was told about records that were dead-lettered."""

    def __init__(
        self,
        handle: Callable[[Event], bytes | str] = lambda _: GOOD,
        shards: int = 1,
        **settings: Any,  # noqa: ANN401
    ) -> None:
        self.kinesis = FakeKinesis(shards)
        self.functions: dict[str, Function] = {}
        self.failures: list[dict[str, Any]] = []
        self.on_failure: Callable[[bytes], object] = lambda message: self.failures.append(json.loads(message))
        self._handle = handle
        start = settings.pop("starting_position", "TRIM_HORIZON")
        self.settings = MappingSettings(
            self.kinesis.arn, "arn:f", start, **{"report_batch_item_failures": True, **settings}
        )

    def put(self, *values: int, key: str = "card") -> None:
        records = [{"PartitionKey": key, "Data": json.dumps({"n": n}).encode()} for n in values]
        for begin in range(0, len(records), 500):
            self.kinesis.put_records(Records=records[begin : begin + 500])

    def mapping(
        self, checkpoints: dict[str, str] | None = None, intervals: PollIntervals = FAST
    ) -> EventSourceMapping:
        def function(shard: str) -> Function:
            self.functions[shard] = Function(self._handle)
            return self.functions[shard]

        return EventSourceMapping(
            self.settings,
            self.kinesis,
            function,
            self.on_failure,
            intervals=intervals,
            checkpoints=checkpoints,
        )

    def run(self) -> EventSourceMapping:
        with self.mapping() as mapping:
            assert mapping.drained(TIMEOUT_S)
        return mapping

    @property
    def events(self) -> list[Event]:
        return [event for function in self.functions.values() for event in function.events]


def test_an_event_has_the_shape_that_aws_documents() -> None:
    harness = MappingHarness()
    harness.kinesis.clock = lambda: 1545084650.987
    harness.put(7, key="card-1")
    harness.run()
    ((record,),) = [event["Records"] for event in harness.events]
    number = harness.kinesis.records("shardId-000000000000")[0]["SequenceNumber"]
    assert record == {
        "kinesis": {
            "kinesisSchemaVersion": "1.0",
            "partitionKey": "card-1",
            "sequenceNumber": number,
            "data": base64.b64encode(b'{"n": 7}').decode(),
            "approximateArrivalTimestamp": 1545084650.987,
        },
        "eventSource": "aws:kinesis",
        "eventVersion": "1.0",
        "eventID": f"shardId-000000000000:{number}",
        "eventName": "aws:kinesis:record",
        "invokeIdentityArn": "arn:aws:iam::000000000000:role/event-source-mapping",
        "awsRegion": "eu-central-1",
        "eventSourceARN": "arn:aws:kinesis:eu-central-1:000000000000:stream/payments",
    }


def test_what_was_dead_lettered_is_reported_in_the_shape_that_aws_documents() -> None:
    harness = MappingHarness(lambda _: "ValueError", maximum_retry_attempts=1)
    harness.kinesis.clock = lambda: 1573691884.835
    harness.put(1, 2)
    harness.run()
    (message,) = harness.failures
    first, last = harness.kinesis.records("shardId-000000000000")
    assert message.pop("timestamp").endswith("Z")
    assert message == {
        "requestContext": {
            "requestId": "2",
            "functionArn": "arn:f",
            "condition": "RetryAttemptsExhausted",
            "approximateInvokeCount": 2,
        },
        "responseContext": {"statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled"},
        "version": "1.0",
        "KinesisBatchInfo": {
            "shardId": "shardId-000000000000",
            "startSequenceNumber": first["SequenceNumber"],
            "endSequenceNumber": last["SequenceNumber"],
            "approximateArrivalOfFirstRecord": "2019-11-14T00:38:04.835Z",
            "approximateArrivalOfLastRecord": "2019-11-14T00:38:04.835Z",
            "batchSize": 2,
            "streamArn": harness.kinesis.arn,
        },
    }


@pytest.mark.parametrize("bisect", [True, False])
@pytest.mark.parametrize("seed", range(5))
def test_whatever_fails_every_record_is_processed_or_reported_and_each_key_stays_in_order(
    *, seed: int, bisect: bool
) -> None:
    chance, done = Random(seed), defaultdict[str, list[int]](list)

    def handle(event: Event) -> bytes | str:
        dice, records = chance.random(), event["Records"]
        index = chance.randrange(len(records)) if dice < 0.4 else len(records)
        if dice < 0.15:
            return "Sandbox.Timedout"
        for record, value in zip(records[:index], values(event), strict=False):
            done[record["kinesis"]["partitionKey"]].append(value)
        return GOOD if index == len(records) else failing_at(event, index)

    # By chance, since a rhythm might be that of the mapping's own calls.
    calls = Random(seed + 100)
    kinds = chain(
        ["throttled"], iter(lambda: calls.choice(["throttled", "expired", "healthy", "healthy"]), "")
    )

    def fault(operation: str) -> None:
        kind = next(kinds)
        if kind == "throttled":
            raise refusal("ProvisionedThroughputExceededException", operation)
        if kind == "expired":
            harness.kinesis.expire_iterators()

    harness = MappingHarness(handle, 3, bisect_on_error=bisect, maximum_retry_attempts=2, batch_size=20)
    for n in range(400):
        harness.put(n, key=f"card-{n % 20}")
    with harness.mapping() as mapping:
        harness.kinesis.before = fault
        assert mapping.drained(TIMEOUT_S)
    dead_lettered = {
        json.loads(record["Data"])["n"]
        for info in (failure["KinesisBatchInfo"] for failure in harness.failures)
        for record in harness.kinesis.records(info["shardId"])
        if int(info["startSequenceNumber"]) <= int(record["SequenceNumber"]) <= int(info["endSequenceNumber"])
    }
    reported = [n for numbers in done.values() for n in numbers]
    assert len(reported) == len(set(reported))
    assert set(reported) | dead_lettered == set(range(400))
    assert set(reported).isdisjoint(dead_lettered)
    assert all(earlier < later for numbers in done.values() for earlier, later in pairwise(numbers))
    assert sum(shard.records for shard in mapping.progress.values()) == len(reported)
    assert sum(shard.dead_lettered for shard in mapping.progress.values()) == len(dead_lettered)
    assert sum(shard.throttled for shard in mapping.progress.values()) > 0


def test_batches_are_cut_by_count() -> None:
    harness = MappingHarness(batch_size=4)
    harness.put(*range(10))
    harness.run()
    assert [values(event) for event in harness.events] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_batches_are_cut_where_the_event_would_be_larger_than_lambda_takes() -> None:
    harness = MappingHarness(batch_size=100)
    large = json.dumps({"n": 1, "x": "x" * 700_000}).encode()
    for _ in range(2):
        harness.kinesis.put_records(Records=[{"PartitionKey": "k", "Data": large}] * 10)
    harness.run()
    (function,) = harness.functions.values()
    # A read holds ten MiB: fourteen of them, then six.
    assert [len(event["Records"]) for event in function.events] == [6, 6, 2, 6]
    assert MAX_EVENT_BYTES - 950_000 < max(function.sizes) <= MAX_EVENT_BYTES


def test_a_window_gathers_what_comes_within_it() -> None:
    harness = MappingHarness(window_s=0.3, batch_size=100)
    read = threading.Event()
    with harness.mapping() as mapping:
        harness.put(1)
        harness.kinesis.before = lambda operation: read.set() if operation == "GetRecords" else None
        assert read.wait(TIMEOUT_S)
        harness.put(2)
        assert mapping.drained(TIMEOUT_S)
    assert [values(event) for event in harness.events] == [[1, 2]]


def test_a_full_batch_does_not_wait_for_its_window() -> None:
    came = threading.Event()

    def handle(_: Event) -> bytes:
        came.set()
        return GOOD

    harness = MappingHarness(handle, window_s=300, batch_size=2)
    harness.put(1, 2)
    with harness.mapping():
        assert came.wait(TIMEOUT_S)
    assert [values(event) for event in harness.events] == [[1, 2]]


def test_records_that_became_too_old_are_dead_lettered_without_an_invocation() -> None:
    harness = MappingHarness(maximum_record_age_s=60, batch_size=10)
    now, harness.kinesis.clock = harness.kinesis.clock, lambda: 1000.0
    harness.put(1, 2)
    harness.kinesis.clock = now
    harness.put(3)
    mapping = harness.run()
    assert [values(event) for event in harness.events] == [[3]]
    (message,) = harness.failures
    assert message["requestContext"]["condition"] == "RecordAgeExceeded"
    assert message["requestContext"]["approximateInvokeCount"] == 0
    assert "responseContext" not in message
    assert message["KinesisBatchInfo"]["batchSize"] == 2
    assert [
        (shard_progress.records, shard_progress.dead_lettered) for shard_progress in mapping.progress.values()
    ] == [(1, 2)]


def test_without_a_bound_a_shard_waits_for_its_batch_and_the_others_do_not() -> None:
    harness = MappingHarness(
        lambda event: "ValueError" if -1 in values(event) else GOOD, shards=2, batch_size=1
    )
    for n in range(40):
        harness.put(n, key=f"card-{n}")
    harness.put(-1, key="card-0")
    harness.put(99, key="card-0")
    with harness.mapping() as mapping:
        assert not mapping.drained(0.2)
        stuck = next(shard_progress for shard_progress in mapping.progress.values() if shard_progress.retries)
    assert stuck.retries > 3
    assert {n for event in harness.events for n in values(event) if n >= 0} >= set(range(40))
    assert sum(shard_progress.records for shard_progress in mapping.progress.values()) == 40
    assert harness.failures == []


def test_a_stopped_mapping_goes_on_behind_its_checkpoints() -> None:
    stop = threading.Event()

    def handle(event: Event) -> bytes:
        if values(event)[-1] >= 50:
            stop.set()
        return GOOD

    harness = MappingHarness(handle, batch_size=10)
    harness.put(*range(100))
    with harness.mapping() as mapping:
        assert stop.wait(TIMEOUT_S)
    seen = [n for event in harness.events for n in values(event)]
    assert all(function.closed for function in harness.functions.values())
    with harness.mapping(mapping.checkpoints) as resumed:
        assert resumed.drained(TIMEOUT_S)
    assert seen + [n for event in harness.events for n in values(event)] == list(range(100))


def test_a_mapping_stopped_within_a_batch_goes_on_behind_the_part_that_is_done() -> None:
    stuck = threading.Event()

    def handle(event: Event) -> bytes | str:
        if len(event["Records"]) == 10:
            return failing_at(event, 3)
        stuck.set()
        return "ValueError"

    harness = MappingHarness(handle, batch_size=10)
    harness.put(*range(10))
    with harness.mapping() as mapping:
        assert stuck.wait(TIMEOUT_S)
    third = harness.kinesis.records("shardId-000000000000")[2]
    assert mapping.checkpoints == {"shardId-000000000000": third["SequenceNumber"]}
    assert {tuple(values(event)) for event in harness.events} == {tuple(range(10)), tuple(range(3, 10))}


def test_a_failure_that_cannot_be_reported_yet_is_not_passed_over() -> None:
    failures = [3]

    def on_failure(message: bytes) -> None:
        failures[0] -= 1
        if failures[0] >= 0:
            raise RetryError("the queue is away")
        harness.failures.append(json.loads(message))

    harness = MappingHarness(
        lambda event: "ValueError" if 1 in values(event) else GOOD, batch_size=1, maximum_retry_attempts=0
    )
    harness.on_failure = on_failure
    harness.put(1, 2)
    harness.run()
    assert len(harness.failures) == 1
    assert [values(event) for event in harness.events] == [[1], [2]]


def test_latest_delivers_what_comes_after_the_first_read() -> None:
    harness = MappingHarness(starting_position="LATEST")
    harness.put(1)
    with harness.mapping() as mapping:
        assert mapping.drained(TIMEOUT_S)
        # An iterator that expires before anything was read must not pass over what came meanwhile.
        harness.kinesis.expire_iterators()
        harness.put(2)
        assert mapping.drained(TIMEOUT_S)
    assert [values(event) for event in harness.events] == [[2]]


def test_a_closed_shard_is_read_to_its_end_before_those_it_was_split_into() -> None:
    seen: list[int] = []

    def handle(event: Event) -> bytes:
        seen.extend(values(event))
        return GOOD

    harness = MappingHarness(handle, batch_size=7, starting_position="LATEST")
    with harness.mapping() as mapping:
        assert mapping.drained(TIMEOUT_S)
        for n in range(30):
            harness.put(n)
            if n == 20:
                harness.kinesis.split("shardId-000000000000")
        assert mapping.drained(TIMEOUT_S)
        assert len(mapping.progress) == 3
    assert seen == list(range(30))


def test_a_shard_that_was_split_before_is_read_to_its_end_first_too() -> None:
    seen: list[int] = []
    begun: list[int] = []
    started = threading.Event()

    def handle(event: Event) -> bytes:
        assert started.wait(TIMEOUT_S)
        seen.extend(values(event))
        begun.append(len(harness.functions))
        return GOOD

    harness = MappingHarness(handle, batch_size=2)
    harness.put(*range(30))
    harness.kinesis.split("shardId-000000000000")
    harness.put(*range(30, 60))
    with harness.mapping() as mapping:
        started.set()
        assert mapping.drained(TIMEOUT_S)
    assert seen == list(range(60))
    assert begun[:15] == [1] * 15
    assert min(begun[15:]) > 1


def test_a_configuration_error_fails_the_waiting_requests() -> None:
    harness = MappingHarness()

    def absent(operation: str) -> None:
        if operation == "GetRecords":
            raise refusal("ResourceNotFoundException", operation)

    harness.kinesis.before = absent
    mapping = harness.mapping()
    mapping.start()
    with pytest.raises(ConfigError, match="ResourceNotFound"):
        mapping.drained(TIMEOUT_S)
    with pytest.raises(ConfigError, match="ResourceNotFound"):
        mapping.stop()


def test_a_stream_that_is_read_once_a_second_shows_it_in_its_latencies() -> None:
    harness = MappingHarness()
    with harness.mapping(intervals=PollIntervals(poll_s=0.2)) as mapping:
        assert mapping.drained(TIMEOUT_S)
        harness.put(1)
        assert mapping.drained(TIMEOUT_S)
        (progress,) = mapping.progress.values()
    assert progress.since_put.count == 1
    assert 20 < progress.since_put.percentile_ms(50) < 2_000
