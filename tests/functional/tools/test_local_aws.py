"""Local services, the real runtime client, and the mapping between them: what Lambda promises.

Skipped where the local services are not installed (`make .venv-aws/.locked`).
"""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from fraud_detection.adapters.aws.clients import clients_of
from fraud_detection.adapters.aws.kinesis_producer import KinesisProducer
from fraud_detection.adapters.aws.lambda_api import LambdaApi
from fraud_detection.adapters.aws.sqs_queue import SqsQueue
from fraud_detection.core.errors import ConfigError
from tests.root import ROOT
from tools.local_aws.event_source_mapping import EventSourceMapping
from tools.local_aws.local_function import LocalFunction
from tools.local_aws.mapping_settings import MappingSettings
from tools.local_aws.runtime import FunctionRuntime
from tools.local_aws.services import LocalServices
from tools.local_aws.shard_poller import PollIntervals

TOOLS = ROOT / ".venv-aws"
FAST = PollIntervals(poll_s=0.02, lagging_poll_s=0.0, initial_backoff_s=0.01, max_backoff_s=0.05)
TIMEOUT_S = 60.0
NUMBERS = count(1)

pytestmark = pytest.mark.skipif(
    not (TOOLS / ".locked").exists(), reason="the local services are not here: make .venv-aws/.locked"
)

HANDLER = '''
import base64, json, os, time

def handler(event, context):
    """Note every delivery in a file, and do what the records say."""
    records = [json.loads(base64.b64decode(one["kinesis"]["data"])) for one in event["Records"]]
    numbers = [one["kinesis"]["sequenceNumber"] for one in event["Records"]]
    print("delivered", len(records))
    for record, number in zip(records, numbers):
        do = record.get("do")
        if do == "raise":
            raise ValueError("cannot be read")
        if do == "report":
            note(records[:records.index(record)])
            return {"batchItemFailures": [{"itemIdentifier": number}]}
        if do and first_time(do):
            note([{"key": "began", "n": do}])
            while do == "hang" or do == "wait":
                time.sleep(0.01)
    note(records)
    return {"batchItemFailures": []}

def first_time(do):
    try:
        os.close(os.open(f"{os.environ['NOTES']}.{do}", os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True

def note(records):
    with open(os.environ["NOTES"], "a") as notes:
        notes.write("".join(json.dumps([one["key"], one["n"]]) + "\\n" for one in records))

def environment(event, context):
    import boto3
    endpoint = boto3.client("sqs").meta.endpoint_url
    return {"endpoint": endpoint, "variables": dict(os.environ), "id": context.aws_request_id}
'''


class Cloud:
    """A function, a stream, a queue and a disabled mapping, made by AWS's own calls."""

    def __init__(self, services: LocalServices, folder: Path, name: str, **mapping: object) -> None:
        self.services, self.folder, self.name = services, folder, name
        self.client = clients_of(services.environment())
        self.notes = folder / "notes"
        self.notes.touch()
        self.lines: list[bytes] = []
        self.runtimes: dict[str, FunctionRuntime] = {}
        self.client("kinesis").create_stream(StreamName=name, ShardCount=mapping.pop("shards", 1))
        self.stream_arn = self.client("kinesis").describe_stream_summary(StreamName=name)[
            "StreamDescriptionSummary"
        ]["StreamARN"]
        self.queue = self.client("sqs").create_queue(QueueName=name)["QueueUrl"]
        self._create_function()
        self.client("lambda").create_event_source_mapping(
            FunctionName=name,
            EventSourceArn=self.stream_arn,
            Enabled=False,
            StartingPosition="TRIM_HORIZON",
            FunctionResponseTypes=["ReportBatchItemFailures"],
            DestinationConfig={"OnFailure": {"Destination": f"arn:aws:sqs:eu-central-1:000000000000:{name}"}},
            **mapping,
        )
        api = LambdaApi(self.client("lambda"))
        self.function = LocalFunction(api.function(name), TOOLS, folder / "package")
        self.settings = MappingSettings.of(api.mappings(name)[0])

    def _create_function(self) -> None:
        package = io.BytesIO()
        with zipfile.ZipFile(package, "w") as archive:
            archive.writestr("tiny.py", HANDLER)
        self.client("lambda").create_function(
            FunctionName=self.name,
            Runtime="python3.11",
            Handler="tiny.handler",
            Role="arn:aws:iam::000000000000:role/r",
            Timeout=1,
            Code={"ZipFile": package.getvalue()},
            Environment={"Variables": {"NOTES": str(self.notes)}},
        )

    def runtime(self, shard: str) -> FunctionRuntime:
        self.runtimes[shard] = self.function.runtime(self.services.environment(), self.lines.append)
        return self.runtimes[shard]

    def mapping(self) -> EventSourceMapping:
        queue = SqsQueue(self.client("sqs"), str(self.settings.on_failure))
        return EventSourceMapping(
            self.settings, self.client("kinesis"), self.runtime, queue.send, intervals=FAST
        )

    def put(self, *records: dict[str, Any]) -> None:
        producer = KinesisProducer(self.client("kinesis"), self.name)
        for record in records:
            producer.put(record["key"], json.dumps(record).encode())
        producer.flush()

    def delivered(self) -> dict[str, list[Any]]:
        """Return what the function processed, by key, in order."""
        processed = defaultdict(list)
        for line in self.notes.read_text().splitlines():
            key, n = json.loads(line)
            processed[key].append(n)
        return processed

    def messages(self) -> list[dict[str, Any]]:
        bodies = []
        while (
            response := self.client("sqs")
            .receive_message(QueueUrl=self.queue, MaxNumberOfMessages=10)
            .get("Messages")
        ):
            for message in response:
                bodies.append(json.loads(message["Body"]))
                self.client("sqs").delete_message(QueueUrl=self.queue, ReceiptHandle=message["ReceiptHandle"])
        return bodies


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServices]:
    with LocalServices(TOOLS, tmp_path_factory.mktemp("services")) as running:
        yield running


@pytest.fixture
def cloud(services: LocalServices, tmp_path: Path) -> Callable[..., Cloud]:
    return lambda **mapping: Cloud(services, tmp_path, f"s{next(NUMBERS)}", **mapping)


def until(true: Callable[[], bool]) -> None:
    """Wait for something that another process does."""
    limit = time.monotonic() + TIMEOUT_S
    while not true():
        assert time.monotonic() < limit, "it did not come true"
        time.sleep(0.005)


def gone(group: int) -> bool:
    """Say whether no process of a group is left; one that ended but was not waited for does not count."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, pgid = stat.read_text().rpartition(")")[2].split()[:3]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(pgid) == group and state not in "ZX":
            return False
    return True


def test_every_record_of_four_shards_is_delivered_once_and_each_key_in_order(
    cloud: Callable[..., Cloud],
) -> None:
    a = cloud(shards=4, BatchSize=100)
    a.put(*[{"key": f"card-{n % 50}", "n": n} for n in range(2_000)])
    with a.mapping() as mapping:
        assert mapping.drained(TIMEOUT_S)
        assert len(mapping.progress) == 4
        assert sum(shard.records for shard in mapping.progress.values()) == 2_000
        assert sum(shard.since_put.count for shard in mapping.progress.values()) == 2_000
        assert all(shard.retries == 0 for shard in mapping.progress.values())
        groups = [runtime.pid for runtime in a.runtimes.values()]
    processed = a.delivered()
    assert processed == {f"card-{k}": list(range(k, 2_000, 50)) for k in range(50)}
    assert b"delivered 100" in a.lines
    assert a.messages() == []
    assert len(set(groups)) == 4
    until(lambda: all(gone(group) for group in groups))


def test_a_failing_record_is_cut_out_of_its_batch_and_reported_to_the_queue_alone(
    cloud: Callable[..., Cloud],
) -> None:
    a = cloud(BatchSize=100, BisectBatchOnFunctionError=True, MaximumRetryAttempts=2)
    a.put(*[{"key": "card", "n": n, "do": "raise" if n == 37 else None} for n in range(100)])
    with a.mapping() as mapping:
        assert mapping.drained(TIMEOUT_S)
        (progress,) = mapping.progress.values()
    assert a.delivered()["card"] == [n for n in range(100) if n != 37]
    assert (progress.records, progress.dead_lettered) == (99, 1)
    (message,) = a.messages()
    info = message.pop("KinesisBatchInfo")
    records = a.client("kinesis").get_records(
        ShardIterator=a.client("kinesis").get_shard_iterator(
            StreamName=a.name,
            ShardId=info["shardId"],
            ShardIteratorType="AT_SEQUENCE_NUMBER",
            StartingSequenceNumber=info["startSequenceNumber"],
        )["ShardIterator"],
        Limit=1,
    )["Records"]
    assert json.loads(records[0]["Data"])["n"] == 37
    assert info["startSequenceNumber"] == info["endSequenceNumber"] == records[0]["SequenceNumber"]
    assert (info["batchSize"], info["streamArn"]) == (1, a.stream_arn)
    assert message["requestContext"]["condition"] == "RetryAttemptsExhausted"
    assert message["responseContext"]["functionError"] == "Unhandled"


def test_after_a_partial_failure_only_the_records_from_there_on_come_again(
    cloud: Callable[..., Cloud],
) -> None:
    a = cloud(BatchSize=20, MaximumRetryAttempts=1)
    a.put(*[{"key": "card", "n": n, "do": "report" if n == 6 else None} for n in range(30)])
    with a.mapping() as mapping:
        assert mapping.drained(TIMEOUT_S)
        (progress,) = mapping.progress.values()
    # The first batch was 0 to 19: 0 to 5 are done once, 6 to 19 are dead-lettered together, then it goes on.
    assert a.delivered()["card"] == [*range(6), *range(20, 30)]
    assert (progress.records, progress.dead_lettered, progress.retries) == (16, 14, 1)
    (message,) = a.messages()
    assert message["KinesisBatchInfo"]["batchSize"] == 14
    assert message["requestContext"]["approximateInvokeCount"] == 2
    assert message["responseContext"]["functionError"] is None


def test_a_function_that_hangs_is_killed_at_its_time_out_and_its_batch_comes_again(
    cloud: Callable[..., Cloud],
) -> None:
    a = cloud(BatchSize=10)
    a.put(*[{"key": "card", "n": n, "do": "hang" if n == 0 else None} for n in range(5)])
    with a.mapping() as mapping:
        assert mapping.drained(TIMEOUT_S)
        (progress,), (runtime,) = mapping.progress.values(), a.runtimes.values()
    assert a.delivered() == {"began": ["hang"], "card": [0, 1, 2, 3, 4]}
    assert (progress.invocations, progress.retries, runtime.cold_starts) == (2, 1, 2)


def test_a_function_killed_in_the_middle_of_a_batch_gets_it_again(cloud: Callable[..., Cloud]) -> None:
    a = cloud(BatchSize=10)
    a.put(*[{"key": "card", "n": n, "do": "wait" if n == 3 else None} for n in range(25)])
    with a.mapping() as mapping:
        until(lambda: "began" in a.delivered())
        (runtime,) = a.runtimes.values()
        runtime.kill()
        assert mapping.drained(TIMEOUT_S)
        (progress,) = mapping.progress.values()
    assert a.delivered() == {"began": ["wait"], "card": list(range(25))}
    assert (progress.retries, runtime.cold_starts) == (1, 2)


def test_a_function_sees_its_own_variables_and_no_way_to_the_real_aws(
    cloud: Callable[..., Cloud], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("A_SECRET_OF_THIS_MACHINE", "1")
    a = cloud()
    a.client("lambda").update_function_configuration(FunctionName=a.name, Handler="tiny.environment")
    deployed = LambdaApi(a.client("lambda")).function(a.name)
    runtime = LocalFunction(deployed, TOOLS, a.folder / "again").runtime(a.services.environment(), print)
    response = runtime.invoke(b"{}")
    runtime.close()
    seen = json.loads(response.payload)
    assert response.error_type is None
    assert seen["id"] == response.request_id
    assert seen["endpoint"] == f"http://127.0.0.1:{a.services.port}"
    assert seen["variables"]["NOTES"] == str(a.notes)
    assert seen["variables"]["AWS_LAMBDA_FUNCTION_NAME"] == a.name
    assert "A_SECRET_OF_THIS_MACHINE" not in seen["variables"]


def test_a_function_that_cannot_be_loaded_reports_why(cloud: Callable[..., Cloud]) -> None:
    a = cloud()
    a.client("lambda").update_function_configuration(FunctionName=a.name, Handler="absent.handler")
    deployed = LambdaApi(a.client("lambda")).function(a.name)
    runtime = LocalFunction(deployed, TOOLS, a.folder / "again").runtime({}, a.lines.append)
    response = runtime.invoke(b"{}")
    assert response.error_type == "Runtime.ImportModuleError"
    assert "absent" in response.error_message
    assert runtime.pid == 0


def test_nothing_is_left_when_the_one_who_started_it_is_killed(tmp_path: Path) -> None:
    script = (
        "import sys, pathlib\n"
        "from tools.local_aws.services import LocalServices\n"
        "with LocalServices(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])) as services:\n"
        "    print(services.pid, flush=True)\n"
        "    sys.stdin.read()\n"
    )
    parent = subprocess.Popen(  # noqa: S603 - this test's own script
        [sys.executable, "-c", script, str(TOOLS), str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    with parent:
        assert parent.stdout is not None
        group = int(parent.stdout.readline())
        assert not gone(group)
        parent.send_signal(signal.SIGKILL)
    until(lambda: gone(group))


def test_services_are_stopped_when_their_block_fails(tmp_path: Path) -> None:
    threads = threading.active_count()
    services, groups = LocalServices(TOOLS, tmp_path), []

    def fail() -> None:
        with services:
            groups.append(services.pid)
            assert not gone(services.pid)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    until(lambda: gone(groups[0]))
    assert services.pid == 0
    assert threading.active_count() == threads


def test_services_that_do_not_start_show_the_end_of_their_log(tmp_path: Path) -> None:
    tools = tmp_path / "tools"
    (tools / "bin").mkdir(parents=True)
    command = tools / "bin" / "ministack"
    command.write_text("#!/bin/sh\necho no port is good enough\nexit 1\n")
    command.chmod(0o755)
    with pytest.raises(Exception, match="no port is good enough"), LocalServices(tools, tmp_path / "state"):
        pass
    with pytest.raises(ConfigError, match=r"make \.venv-aws"):
        LocalServices(tmp_path / "absent", tmp_path)
