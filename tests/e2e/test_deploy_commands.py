"""`fraud deploy` and its neighbours as a person types them, on local AWS services.

Skipped where the local services are not installed (`make .venv-aws/.locked`).
"""

from __future__ import annotations

import base64
import io
import json
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fraud_detection.adapters.aws.clients import client, clients_of, patient_client
from fraud_detection.adapters.aws.cloudformation import Stack
from fraud_detection.adapters.aws.kinesis_consumer import ShardReader
from fraud_detection.adapters.aws.s3_quarantine import QuarantinedEvent, S3Quarantine
from fraud_detection.cli.main import main
from fraud_detection.core.errors import ConfigError
from fraud_detection.core.parse.identity import redriven_from
from fraud_detection.simulator.history_file import write_history
from tests.conftest import SmallSimulation
from tests.deployed_function import DeployedWay
from tests.docs.blocks import BLOCKS
from tests.functional.serving.test_same_answers import (
    KEY,
    assert_same,
    case,
    setting,
    stream_events,
    wanted,
    without_amount,
)
from tests.optional_settings import TABLE
from tests.root import ROOT
from tests.ways_of_serving import Case, Result, cuttings, killed_once
from tools.local_aws.services import LocalServices

__all__ = ["case", "setting", "stream_events", "wanted", "without_amount"]
TOOLS = ROOT / ".venv-aws"
STACK = "fraud-typed"
PROJECT = ROOT / "src/fraud_detection/simulated.yaml"

pytestmark = [
    pytest.mark.skipif(
        not (TOOLS / ".locked").exists(), reason="the local services are not here: make .venv-aws/.locked"
    ),
]

Fraud = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServices]:
    with LocalServices(TOOLS, tmp_path_factory.mktemp("services")) as running:
        yield running
    # Commands of this process have made clients of services that are gone.
    client.cache_clear()
    patient_client.cache_clear()


@pytest.fixture(scope="module")
def clients(services: LocalServices) -> Callable[[str], Any]:
    return clients_of(services.environment())


@pytest.fixture(scope="module")
def fraud(
    services: LocalServices, small_simulation: SmallSimulation, tmp_path_factory: pytest.TempPathFactory
) -> Fraud:
    folder = tmp_path_factory.mktemp("deploy")
    here = f"environment: typed\nfunction: {{runtime: python3.{sys.version_info.minor}}}\n"
    (folder / "deploy.yaml").write_text(here)
    (folder / "wider.yaml").write_text(here + "stream: {retention_hours: 48}\n")
    (folder / "protected.yaml").write_text(here + "protect: true\n")

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [*arguments]
        if arguments[:2] in (("deploy", "plan"), ("deploy", "apply"), ("deploy", "backfill")):
            command.append(f"--bundle={small_simulation.bundle}")
        out, err = io.StringIO(), io.StringIO()
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
            patch.chdir(folder)
            for name, value in services.environment().items():
                patch.setenv(name, value)
            code = main(command)
        return subprocess.CompletedProcess(command, code, out.getvalue(), err.getvalue())

    return run


@pytest.fixture(scope="module")
def applied(fraud: Fraud) -> str:
    done = fraud("deploy", "apply")
    assert done.returncode == 0, done.stderr
    return done.stderr


def test_before_anything_is_deployed_each_command_reports_it(fraud: Fraud) -> None:
    for arguments in (
        ["status"],
        ["logs"],
        ["deploy", "status"],
        ["deploy", "backfill", "--history=none.csv"],
    ):
        done = fraud(*arguments)
        assert done.returncode == 2
        assert "`fraud deploy apply` creates it" in done.stderr
        assert len(done.stderr.splitlines()) == 1
    assert "there was none" in fraud("deploy", "destroy", "--yes").stderr


def test_history_without_an_application_says_how_it_gets_one(fraud: Fraud) -> None:
    at = "s3://fraud-typed/history/payments.csv"
    done = fraud(
        "deploy", "history", f"--config={PROJECT}", f"--data={at}", "--out=s3://fraud-typed/features/a"
    )
    assert done.returncode == 2
    assert "write `history: {}` into its settings" in done.stderr


def test_a_plan_changes_nothing(fraud: Fraud, clients: Callable[[str], Any]) -> None:
    done = fraud("deploy", "plan")
    assert done.returncode == 0, done.stderr
    assert "to add" in done.stdout
    assert "+ Processor (AWS::Lambda::Function)" in done.stdout
    assert Stack(clients("cloudformation"), STACK).status() == ""


def test_an_apply_shows_its_progress_and_the_next_plan_is_empty(fraud: Fraud, applied: str) -> None:
    assert "CREATE_COMPLETE" in applied
    assert "uploaded releases/processor-" in applied
    assert fraud("deploy", "plan").stdout == f"stack {STACK}: nothing to do\n"
    again = fraud("deploy", "apply", "--json=again.json")
    assert again.stderr == f"stack {STACK}: nothing to do\n"


def test_a_change_names_what_it_changes_and_touches_nothing_else(
    fraud: Fraud, applied: str, clients: Callable[[str], Any]
) -> None:
    assert applied
    plan = fraud("deploy", "plan", "--settings=wider.yaml").stdout
    assert "1 to change" in plan
    assert "RetentionPeriodHours: 168 -> 48" in plan
    assert fraud("deploy", "apply", "--settings=wider.yaml").returncode == 0
    stream = clients("kinesis").describe_stream_summary(StreamName=f"{STACK}-payments")
    assert stream["StreamDescriptionSummary"]["RetentionPeriodHours"] == 48


def test_a_change_that_fails_is_rolled_back_as_a_whole(applied: str, clients: Callable[[str], Any]) -> None:
    """Local services know no SageMaker: a template that asks for it fails half way."""
    assert applied
    stack = Stack(clients("cloudformation"), STACK, 0.05)
    before = stack.template()
    broken = json.loads(json.dumps(before))
    broken["Resources"]["Stream"]["Properties"]["RetentionPeriodHours"] = 96
    broken["Resources"]["Model"].pop("Condition")
    parameters = [{"ParameterKey": name, "UsePreviousValue": True} for name in broken["Parameters"]]
    with pytest.raises(ConfigError, match="SageMaker"):
        stack.change(json.dumps(broken), parameters, "broken")
    stream = clients("kinesis").describe_stream_summary(StreamName=f"{STACK}-payments")
    assert stream["StreamDescriptionSummary"]["RetentionPeriodHours"] != 96


def test_the_mapping_is_made_disabled_where_another_takes_its_place(
    applied: str, clients: Callable[[str], Any]
) -> None:
    assert applied
    name = f"{STACK}-processor"
    (mapping,) = clients("lambda").list_event_source_mappings(FunctionName=name)["EventSourceMappings"]
    assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert mapping["BisectBatchOnFunctionError"] is True
    clients("kinesis").put_record(StreamName=f"{STACK}-payments", Data=b"{}", PartitionKey="a")
    assert clients("logs").describe_log_streams(logGroupName=f"/aws/lambda/{name}")["logStreams"] == []


def test_profiles_are_filled_from_history_once(
    fraud: Fraud, applied: str, small_simulation: SmallSimulation, tmp_path: Path
) -> None:
    assert applied
    history = tmp_path / "history.parquet"
    write_history(msgspec.structs.replace(small_simulation.settings, days=8), history)
    first, again = (fraud("deploy", "backfill", f"--history={history}") for _ in range(2))
    assert "profiles written" in first.stderr
    assert again.stderr.splitlines()[-1] == first.stderr.splitlines()[-1]


def test_batches_that_were_dead_lettered_go_into_the_stream_again(
    fraud: Fraud, applied: str, clients: Callable[[str], Any]
) -> None:
    assert applied
    kinesis, stream = clients("kinesis"), f"{STACK}-payments"
    where = {"StreamName": stream, "PartitionKey": "redriven"}
    put = [kinesis.put_record(Data=f"again {number}".encode(), **where) for number in range(5)]
    described = kinesis.describe_stream_summary(StreamName=stream)["StreamDescriptionSummary"]
    info = {
        "shardId": put[0]["ShardId"],
        "startSequenceNumber": put[1]["SequenceNumber"],
        "endSequenceNumber": put[3]["SequenceNumber"],
        "streamArn": described["StreamARN"],
        "batchSize": 3,
    }
    url = clients("sqs").get_queue_url(QueueName=f"{STACK}-failures")["QueueUrl"]
    clients("sqs").send_message(QueueUrl=url, MessageBody=json.dumps({"KinesisBatchInfo": info}))
    done = fraud("deploy", "redrive")
    assert done.stdout == "1 batches with 3 records were put into the stream again\n", done.stderr
    reader = ShardReader(kinesis, described["StreamARN"], put[0]["ShardId"])
    records = [record for record in reader.read().records if record.key.endswith("redriven")]
    texts = [record.data.decode() for record in records]
    assert texts == [f"again {number}" for number in (0, 1, 2, 3, 4, 1, 2, 3)]
    # Each carries the sequence number that it had first.
    positions = [redriven_from(record.key, record.number) for record in records[5:]]
    assert positions == [(record["ShardId"], record["SequenceNumber"], "redriven") for record in put[1:4]]
    assert fraud("deploy", "redrive").stdout.startswith("0 batches")


def test_what_was_set_aside_goes_into_the_stream_again_as_the_runbook_describes(
    fraud: Fraud, applied: str, clients: Callable[[str], Any]
) -> None:
    assert applied
    bucket, kinesis = Stack(clients("cloudformation"), STACK).outputs()["Bucket"], clients("kinesis")
    quarantine = S3Quarantine(clients("s3"), bucket)
    for shard in (0, 1):
        event = base64.b64encode(b"aside %d" % shard).decode()
        quarantined = QuarantinedEvent(f"shardId-{shard:012d}", "1", "aside", "no amount", "$.amount", event)
        quarantine.put([quarantined, msgspec.structs.replace(quarantined, sequence_number="2")])
        quarantine.put([msgspec.structs.replace(quarantined, sequence_number="3", kind="conflict")])
    (block,) = [block for block in BLOCKS if block.page == "docs/runbook.md" and "--quarantine" in block.text]
    output = [fraud(*shlex.split(line)[1:]).stdout.splitlines() for line in block.commands()]
    assert output == [
        [
            "2 events of 2 objects were put into the stream again",
            "1 stay where they are, in conflict: the first payment of the id stands",
        ],
        [
            "2 events of 4 objects were put into the stream again",
            "2 were put by an earlier run",
            "2 stay where they are, in conflict: the first payment of the id stands",
        ],
    ]
    assert fraud("deploy", "redrive", "--quarantine").stdout.startswith("0 events of 4 objects")
    described = kinesis.describe_stream_summary(StreamName=f"{STACK}-payments")["StreamDescriptionSummary"]
    shards = kinesis.list_shards(StreamARN=described["StreamARN"])["Shards"]
    redriven = [
        (record.data, redriven_from(record.key, record.number))
        for shard in shards
        for record in ShardReader(kinesis, described["StreamARN"], shard["ShardId"]).read().records
        if record.key.endswith("aside")
    ]
    # Each carries the sequence number that it had first.
    assert redriven == [
        (b"aside %d" % shard, (f"shardId-{shard:012d}", number, "aside"))
        for shard in (0, 1)
        for number in ("1", "2")
    ]


def test_status_and_logs_of_a_system_that_has_seen_nothing(fraud: Fraud, applied: str) -> None:
    assert applied
    output = fraud("status", "--json=status.json")
    assert output.returncode == 0, output.stderr
    assert "alarms" in output.stdout
    assert "nan" not in output.stdout
    assert fraud("logs", "--since=1h").stdout == ""


def test_a_protected_stack_loses_nothing_until_its_protection_is_removed(
    fraud: Fraud, applied: str, clients: Callable[[str], Any]
) -> None:
    assert applied
    assert fraud("deploy", "apply", "--settings=protected.yaml").returncode == 0
    bucket = Stack(clients("cloudformation"), STACK).outputs()["Bucket"]
    before = clients("s3").list_objects_v2(Bucket=bucket)["KeyCount"]
    for settings in ("deploy.yaml", "protected.yaml"):
        refused = fraud("deploy", "destroy", "--yes", f"--settings={settings}")
        assert refused.returncode == 2
        assert "is protected" in refused.stderr
    assert clients("s3").list_objects_v2(Bucket=bucket)["KeyCount"] == before > 0
    assert fraud("deploy", "apply").returncode == 0
    description = Stack(clients("cloudformation"), STACK).describe() or {}
    assert not description.get("EnableTerminationProtection")


def test_an_image_that_sagemaker_cannot_take_is_refused(fraud: Fraud) -> None:
    done = fraud("deploy", "plan", "--image=fraud:1")
    assert done.returncode == 2
    assert "expected one in ECR" in done.stderr


def test_destroy_asks_first_and_leaves_nothing(
    fraud: Fraud, applied: str, clients: Callable[[str], Any]
) -> None:
    assert applied
    refused = fraud("deploy", "destroy")
    assert refused.returncode == 2
    assert "give --yes" in refused.stderr
    done = fraud("deploy", "destroy", "--yes")
    assert done.returncode == 0, done.stderr
    left = {
        "buckets": [bucket["Name"] for bucket in clients("s3").list_buckets()["Buckets"]],
        "tables": clients("dynamodb").list_tables()["TableNames"],
        "streams": clients("kinesis").list_streams()["StreamNames"],
        "queues": clients("sqs").list_queues().get("QueueUrls", []),
        "functions": clients("lambda").list_functions()["Functions"],
        "mappings": clients("lambda").list_event_source_mappings()["EventSourceMappings"],
        "logs": clients("logs").describe_log_groups()["logGroups"],
        "alarms": clients("cloudwatch").describe_alarms()["MetricAlarms"],
        "roles": [
            role["RoleName"] for role in clients("iam").list_roles()["Roles"] if "fraud" in role["RoleName"]
        ],
    }
    assert {name: leftover for name, leftover in left.items() if leftover} == {}


IN_SHORT = {"everything"}


@pytest.mark.parametrize(
    "setting",
    [pytest.param(row, marks=() if row.name in IN_SHORT else pytest.mark.long, id=row.name) for row in TABLE],
    indirect=True,
)
def test_the_deployed_package_decides_as_a_file_in_one_piece(
    services: LocalServices, case: Case, wanted: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FRAUD_CONTROL_GROUP_KEY", KEY)
    service = DeployedWay(services)
    cuts = killed_once(cuttings(len(case.events), 9), len(case.events))
    assert_same(case, service, wanted, service.decide(case, cuts, tmp_path))
