"""The stand-ins refuse what the services refuse, and take what these take."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import botocore.session
import pytest
from botocore.exceptions import ClientError

from fraud_detection.adapters.aws import kinesis_producer
from fraud_detection.adapters.aws.sagemaker_endpoint import MAX_REQUEST_BYTES
from fraud_detection.testing import aws_fakes, dynamodb_fake, kinesis_fake
from fraud_detection.testing.aws_fakes import FakeLog, FakeRuntime, FakeS3
from fraud_detection.testing.dynamodb_fake import FakeDynamo, item_bytes
from fraud_detection.testing.kinesis_fake import FakeKinesis

LARGE = 380 << 10
SERVERLESS = aws_fakes.MAX_SERVERLESS_BYTES


def puts(count: int, size: int, key: str = "k") -> Callable[[], object]:
    items = [{"k": {"S": f"{key}{index}"}, "c": {"B": b"x" * size}} for index in range(count)]
    request = {"table": [{"PutRequest": {"Item": item}} for item in items]}
    return lambda: FakeDynamo().batch_write_item(RequestItems=request)


def gets(count: int) -> Callable[[], object]:
    keys = [{"k": {"S": str(index)}} for index in range(count)]
    return lambda: FakeDynamo().batch_get_item(RequestItems={"table": {"Keys": keys}})


def statements(count: int, size: int = 1) -> Callable[[], object]:
    def call() -> object:
        text = "INSERT INTO \"table\" VALUE {'k': ?, 'c': ?}"
        values = ({"S": str(index)} for index in range(count))
        request = [{"Statement": text, "Parameters": [value, {"B": b"x" * size}]} for value in values]
        response = FakeDynamo().batch_execute_statement(Statements=request)
        for item in response["Responses"]:
            if "Error" in item:
                raise ClientError(item, "BatchExecuteStatement")
        return response

    return call


def added(size: int) -> Callable[[], object]:
    return lambda: FakeDynamo().update_item(
        TableName="table",
        Key={"k": {"S": "k"}},
        UpdateExpression="ADD names :one",
        ExpressionAttributeValues={":one": {"SS": ["x" * size]}},
    )


def records(count: int, size: int, key: str = "k") -> Callable[[], object]:
    record = {"PartitionKey": key, "Data": b"x" * size}
    return lambda: FakeKinesis(1).put_records(Records=[record] * count)


def read(most: int) -> Callable[[], object]:
    def call() -> object:
        stream = FakeKinesis(1)
        name = stream.list_shards(StreamARN=stream.arn)["Shards"][0]["ShardId"]
        iterator = stream.get_shard_iterator(
            StreamARN=stream.arn, ShardId=name, ShardIteratorType="TRIM_HORIZON"
        )
        return stream.get_records(ShardIterator=iterator["ShardIterator"], Limit=most)

    return call


def request(size: int, response: int = 1, most: int = aws_fakes.MAX_BODY_BYTES) -> Callable[[], object]:
    endpoint = FakeRuntime(lambda _: b"x" * response, most)
    return lambda: endpoint.invoke_endpoint(EndpointName="e", Body=b"x" * size)


def kept(key: int) -> Callable[[], object]:
    return lambda: FakeS3().put_object(Bucket="b", Key="k" * key, Body=b"")


def log_event(size: int = 0, metrics: int = 1, values: int = 1) -> Callable[[], object]:
    names = [f"m{index}" for index in range(metrics)]
    directive = {"Namespace": "n", "Dimensions": [[]], "Metrics": [{"Name": name} for name in names]}
    line: dict[str, Any] = {"_aws": {"CloudWatchMetrics": [directive]}} | {
        name: [1.0] * values for name in names
    }
    line["text"] = "x" * (size - len(json.dumps(line | {"text": ""})))
    return lambda: FakeLog().write(json.dumps(line).encode())


@pytest.mark.parametrize(
    ("accepted", "refused"),
    [
        (puts(25, 1), puts(26, 1)),
        (puts(1, 409_590), puts(1, 409_600)),
        (puts(1, 1, "k" * 2_047), puts(1, 1, "k" * 2_048)),
        (gets(100), gets(101)),
        (statements(25), statements(26)),
        (statements(1, 409_590), statements(1, 409_600)),
        (added(409_590), added(409_600)),
        (records(500, 1), records(501, 1)),
        (records(1, (1 << 20) - 1), records(1, 1 << 20)),
        (records(10, (1 << 20) - 1), records(11, (1 << 20) - 1)),
        (records(1, 1, "k" * 256), records(1, 1, "k" * 257)),
        (read(10_000), read(10_001)),
        (request(6 << 20), request((6 << 20) + 1)),
        (request(1, 6 << 20), request(1, (6 << 20) + 1)),
        (
            request(4_000_000, 1, aws_fakes.MAX_SERVERLESS_BYTES),
            request(4_000_001, 1, aws_fakes.MAX_SERVERLESS_BYTES),
        ),
        (kept(1_024), kept(1_025)),
        (log_event(256 << 10), log_event((256 << 10) + 1)),
        (log_event(metrics=100), log_event(metrics=101)),
        (log_event(values=100), log_event(values=101)),
    ],
)
def test_what_is_one_too_much_is_refused(
    accepted: Callable[[], object], refused: Callable[[], object]
) -> None:
    accepted()
    with pytest.raises(ClientError):
        refused()


def test_more_than_one_answer_holds_is_left_for_the_next() -> None:
    dynamo = FakeDynamo()
    item = {"k": {"S": "k"}, "c": {"B": b"x" * LARGE}}
    dynamo.tables["table"] = {str(index): item for index in range(100)}
    keys = [{"k": {"S": str(index)}} for index in range(100)]
    response = dynamo.batch_get_item(RequestItems={"table": {"Keys": keys}})
    got, left = response["Responses"]["table"], response["UnprocessedKeys"]["table"]["Keys"]
    assert sum(map(item_bytes, got)) <= 16 << 20 < sum(map(item_bytes, got)) + item_bytes(item)
    assert len(got) + len(left) == 100


def test_a_read_of_a_stream_holds_ten_mebibytes() -> None:
    stream = FakeKinesis(1)
    for _ in range(3):
        stream.put_records(Records=[{"PartitionKey": "k", "Data": b"x" * 900_000}] * 5)
    (shard,) = stream.list_shards(StreamARN=stream.arn)["Shards"]
    request = {"StreamARN": stream.arn, "ShardId": shard["ShardId"], "ShardIteratorType": "TRIM_HORIZON"}
    iterator = stream.get_shard_iterator(**request)["ShardIterator"]
    records_read: list[int] = []
    while sum(records_read) < 15:
        response = stream.get_records(ShardIterator=iterator, Limit=10_000)
        iterator = response["NextShardIterator"]
        records_read.append(len(response["Records"]))
    assert records_read == [11, 4]


def test_the_limits_are_those_of_aws_own_description() -> None:
    session = botocore.session.get_session()

    def most(service: str, shape: str) -> int:
        return int(session.get_service_model(service).shape_for(shape).metadata["max"])

    assert (
        most("kinesis", "PutRecordsRequestEntryList")
        == kinesis_fake.MAX_PUT_RECORDS
        == kinesis_producer.MAX_RECORDS
    )
    assert most("kinesis", "PartitionKey") == kinesis_fake.MAX_KEY_LENGTH == kinesis_producer.MAX_KEY_LENGTH
    assert most("kinesis", "GetRecordsInputLimit") == kinesis_fake.MAX_GET_RECORDS
    assert most("sagemaker-runtime", "BodyBlob") == aws_fakes.MAX_BODY_BYTES
    assert most("dynamodb", "PartiQLBatchRequest") == dynamodb_fake.MAX_STATEMENTS
    assert most("dynamodb", "WriteRequests") == dynamodb_fake.MAX_PUTS
    assert most("dynamodb", "KeyList") == dynamodb_fake.MAX_KEYS
    # What is sent stays below what is taken.
    assert kinesis_producer.MAX_BYTES <= kinesis_fake.MAX_PUT_BYTES
    assert kinesis_producer.MAX_RECORD_BYTES <= kinesis_fake.MAX_RECORD_BYTES
    assert MAX_REQUEST_BYTES <= aws_fakes.MAX_SERVERLESS_BYTES
