"""Dead-lettered batches that are put into the stream again have the effect of one delivery."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from fraud_detection.adapters.aws.sqs_queue import SqsQueue
from fraud_detection.core.parse.identity import redriven_key
from fraud_detection.core.score.archive import read_bundle
from fraud_detection.deployment.redrive import Redriven, redrive
from fraud_detection.engine.engine import make_engine
from fraud_detection.project.checks import open_project
from fraud_detection.serving.aws_lambda.batch import records_of
from fraud_detection.testing.kinesis_fake import FakeKinesis
from tests.conftest import SmallSimulation
from tests.functional.aws_lambda.test_handler import Cloud, Killed, profiles
from tests.functional.serving.test_identity import EVENT, OTHER, config
from tests.unit.adapters.aws.kpl_aggregates import aggregate

__all__ = ["config"]


class Queue:
    """The calls of boto3's client of SQS that are used; a message that is not removed comes again."""

    def __init__(self) -> None:
        self.messages: list[str] = []
        self.removing = True

    def get_queue_url(self, **_: str) -> dict[str, str]:
        return {"QueueUrl": "q"}

    def receive_message(self, **_: object) -> dict[str, Any]:
        return {"Messages": [{"Body": message, "ReceiptHandle": message} for message in self.messages[:1]]}

    def delete_message(self, *, ReceiptHandle: str, **_: str) -> None:  # noqa: N803 - AWS's names
        if not self.removing:
            raise Killed
        self.messages.remove(ReceiptHandle)


class Aws(Cloud):
    """A stream of one shard, the processor behind it, and the dead-letter queue."""

    def __init__(self, simulation: SmallSimulation, config: Path) -> None:
        super().__init__(simulation)
        self.simulation, self.config = simulation, config
        self.kinesis, self.queue, self.read = FakeKinesis(1), Queue(), 0
        (self.shard,) = [
            shard["ShardId"] for shard in self.kinesis.list_shards(StreamARN=self.kinesis.arn)["Shards"]
        ]

    def put(self, *events: bytes, key: str = "c1") -> None:
        self.kinesis.put_records(Records=[{"PartitionKey": key, "Data": event} for event in events])

    def fresh(self) -> list[dict[str, Any]]:
        """Return what came since, as Lambda hands it over."""
        records = self.kinesis.records(self.shard)[self.read :]
        self.read += len(records)
        return [
            {
                "kinesis": {
                    "sequenceNumber": record["SequenceNumber"],
                    "partitionKey": record["PartitionKey"],
                    "data": base64.b64encode(record["Data"]).decode(),
                    "approximateArrivalTimestamp": 1.0,
                }
            }
            for record in records
        ]

    def deliver(self, records: Sequence[dict[str, Any]]) -> None:
        processor = self.processor()
        processor.engine = make_engine(
            read_bundle(self.simulation.bundle), processor.scorer, open_project(self.config)
        )
        assert processor.handle(self.shard, records_of({"Records": records})) == []

    def dead_letter(self, records: Sequence[dict[str, Any]], after_calls: int) -> bool:
        """Deliver a batch that dies after so many calls, and give it up; return whether it died."""
        calls = iter(range(after_calls))

        def dying(_: str) -> None:
            if next(calls, None) is None:
                raise Killed

        self.inject_faults(dying, lambda _: None)
        try:
            self.deliver(records)
        except Killed:
            numbers = [record["kinesis"]["sequenceNumber"] for record in records]
            info = {
                "shardId": self.shard,
                "startSequenceNumber": numbers[0],
                "endSequenceNumber": numbers[-1],
                "streamArn": self.kinesis.arn,
                "batchSize": len(numbers),
            }
            self.queue.messages.append(json.dumps({"KinesisBatchInfo": info}))
            return True
        finally:
            self.inject_faults(lambda _: None)
        return False

    def redrive(self) -> Redriven:
        return redrive(SqsQueue(self.queue, "q"), self.kinesis, "payments", 0)


def given(aws: Aws) -> list[dict[str, Any]]:
    """Put three equal payments, and two more in one aggregate."""
    aws.put(*[EVENT] * 3, aggregate([("c1", EVENT), ("c1", EVENT)]))
    return aws.fresh()


def test_payments_without_ids_that_are_redriven_are_decided_and_counted_once(
    small_simulation: SmallSimulation, config: Path
) -> None:
    calm, calls = Aws(small_simulation, config), list[str]()
    calm.inject_faults(calls.append, lambda _: None)
    calm.deliver(given(calm))
    calm.inject_faults(lambda _: None)
    calm.put(OTHER, OTHER)
    calm.deliver(calm.fresh())
    stored_before = set[int]()
    for dies_at in range(len(calls)):
        aws = Aws(small_simulation, config)
        aws.dead_letter(given(aws), dies_at)
        stored_before.add(len(aws.decisions()))
        aws.put(OTHER)
        aws.deliver(aws.fresh())
        # A redrive that dies before its message is removed puts all of it twice.
        aws.queue.removing = False
        with pytest.raises(Killed):
            aws.redrive()
        aws.queue.removing = True
        assert aws.redrive() == Redriven(1, 4, 0)
        again = aws.fresh()
        assert {event["kinesis"]["partitionKey"].rpartition(":")[2] for event in again} == {"c1"}
        # What was put again may be dead-lettered and redriven too.
        aws.dead_letter(again, len(calls) - dies_at)
        aws.redrive()
        aws.put(OTHER)
        aws.deliver(aws.fresh())
        assert len(aws.decisions()) == len(calm.decisions()) == 7
        assert sum(line["conflicts"] for line in aws.lines_of("batch")) == 0
        assert profiles(aws) == profiles(calm)
    assert {0, 5} <= stored_before


def test_a_sequence_number_that_somebody_forged_takes_no_decision_from_anybody(
    small_simulation: SmallSimulation, config: Path
) -> None:
    aws = Aws(small_simulation, config)
    aws.put(EVENT)
    aws.deliver(first := aws.fresh())
    number = first[0]["kinesis"]["sequenceNumber"]
    before = aws.decisions()
    # The sequence number of a decided payment: a copy of it is repeated, anything else a conflict.
    for event, found in ((EVENT, (0, 1, 0)), (OTHER, (0, 0, 1))):
        aws.put(event, key=redriven_key(aws.shard, number, "c1"))
        aws.deliver(aws.fresh())
        batch = aws.lines_of("batch")[-1]
        assert (batch["decided"], batch["duplicates"], batch["conflicts"]) == found
    assert aws.decisions() == before
    # A sequence number that is still to come cannot be taken: each record is known by its own.
    aws.put(OTHER, key=redriven_key(aws.shard, str(int(number) + 4), "c1"))
    aws.put(EVENT)
    aws.deliver(aws.fresh())
    assert [int(decision.rpartition(":")[2]) - int(number) for decision in sorted(aws.decisions())] == [
        0,
        3,
        4,
    ]


def test_a_key_that_leaves_no_room_for_a_sequence_number_stays_as_it_is(
    small_simulation: SmallSimulation, config: Path
) -> None:
    aws = Aws(small_simulation, config)
    aws.put(EVENT, key="k" * 200)
    assert aws.dead_letter(aws.fresh(), 0)
    aws.redrive()
    assert [record["kinesis"]["partitionKey"] for record in aws.fresh()] == ["k" * 200]
