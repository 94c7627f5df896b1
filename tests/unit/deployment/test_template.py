"""The template: pure, as the golden file says, clean by cfn-lint, and true to what its readers need."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import botocore.session
import msgspec
import pytest
from msgspec.structs import replace

from fraud_detection.core.decoding import to_plain
from fraud_detection.core.errors import ConfigError
from fraud_detection.deployment.release import Release
from fraud_detection.deployment.settings import (
    Alarms,
    Canary,
    Deployment,
    Endpoint,
    Function,
    History,
    Scaling,
    Serverless,
    Stream,
    check,
    load_settings,
)
from fraud_detection.deployment.template.monitoring import ROLLBACK
from fraud_detection.deployment.template.stream import HANDLER, environment
from fraud_detection.deployment.template.template import build, render
from fraud_detection.serving.aws_lambda.settings import ProcessorSettings

GOLDEN = Path(__file__).parent / "golden" / "template.json"
HISTORY_GOLDEN = GOLDEN.with_name("history.json")
FEW = {"ecr:GetAuthorizationToken"}
"""Actions that AWS gives no resource to."""

VARIANTS = {
    "default": Deployment(),
    "on demand, called by mail, protected": Deployment(
        stream=Stream(shards=None), alarms=Alarms(email="on-call@example.com"), protect=True
    ),
    "serverless": Deployment(endpoint=Endpoint(serverless=Serverless())),
    "scaled": Deployment(endpoint=Endpoint(instance_type="ml.c6i.large", scaling=Scaling())),
    "feature store": Deployment(profiles="feature-store"),
    "history on many machines": Deployment(history=History(read=("s3://lake/payments/",))),
    "one instance, nothing captured, concurrency kept": Deployment(
        endpoint=Endpoint(instances=1, capture=0.0), function=Function(reserved_concurrency=8)
    ),
}


def of_type(template: dict[str, Any], kind: str) -> dict[str, dict[str, Any]]:
    return {
        name: resource
        for name, resource in template["Resources"].items()
        if resource["Type"] == f"AWS::{kind}"
    }


def statements(template: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for role in of_type(template, "IAM::Role").values():
        for policy in role["Properties"]["Policies"]:
            yield from policy["PolicyDocument"]["Statement"]


def test_the_template_is_the_golden_file(
    settings: Deployment, release: Release, pytestconfig: pytest.Config
) -> None:
    made = json.dumps(build(settings, release), indent=2) + "\n"
    if pytestconfig.getoption("--golden"):
        GOLDEN.write_text(made)
    assert made == GOLDEN.read_text(), "if the change is wanted: make test ARGS='--golden -k golden'"


def test_history_adds_what_its_golden_file_says_and_changes_nothing_else(
    settings: Deployment, release: Release, pytestconfig: pytest.Config
) -> None:
    without = build(settings, release)
    chosen = msgspec.structs.replace(settings, history=History(read=("s3://lake/payments/",)))
    whole = build(check(chosen), release)
    added = {
        part: {name: value for name, value in whole[part].items() if without[part].get(name) != value}
        for part in ("Resources", "Outputs")
    }
    rules = [
        made["Resources"]["Bucket"]["Properties"]["LifecycleConfiguration"]["Rules"]
        for made in (without, whole)
    ]
    assert set(added["Resources"]) == {"Bucket", "HistoryRole", "HistoryApplication"}
    added["Resources"]["Bucket"] = {"rules": rules[1][len(rules[0]) :]}
    made = json.dumps(added, indent=2) + "\n"
    if pytestconfig.getoption("--golden"):
        HISTORY_GOLDEN.write_text(made)
    assert made == HISTORY_GOLDEN.read_text(), "if the change is wanted: make test ARGS='--golden -k golden'"


def test_history_is_off_unless_it_is_asked_for(release: Release) -> None:
    assert not of_type(build(Deployment(), release), "EMRServerless::Application")


def test_an_application_takes_no_more_than_its_driver_and_executors(release: Release) -> None:
    chosen = Deployment(history=History(executors=9, disk_gb=100))
    (application,) = of_type(build(chosen, release), "EMRServerless::Application").values()
    assert application["Properties"]["MaximumCapacity"] == {
        "Cpu": "40 vCPU",
        "Memory": "160 GB",
        "Disk": "1000 GB",
    }


def test_cfn_lint_finds_nothing(release: Release, tmp_path: Path) -> None:
    for number, variant in enumerate(VARIANTS.values()):
        chosen = check(variant)
        for stem, template in (("whole", build(chosen, release)), ("foundation", build(chosen))):
            (tmp_path / f"{stem}-{number}.json").write_text(render(template))
    lint = [str(Path(sys.executable).with_name("cfn-lint")), "--regions", "eu-central-1", "us-east-1", "--"]
    result = subprocess.run([*lint, *tmp_path.glob("*.json")], capture_output=True, text=True, check=False)  # noqa: S603 - of our own
    assert (result.returncode, result.stdout) == (0, "")


def test_a_template_fits_into_one_call(settings: Deployment, release: Release) -> None:
    assert len(render(build(settings, release))) < 51_200


def test_every_name_carries_the_environment(settings: Deployment, release: Release) -> None:
    elsewhere = Deployment(environment="elsewhere", region="eu-central-1")
    mine, yours = render(build(settings, release)), render(build(elsewhere, release))
    assert "golden" not in yours
    assert mine.replace("golden", "elsewhere").count("elsewhere") == yours.count("elsewhere")


MAX_LENGTHS = {
    "RoleName": 64,
    "FunctionName": 64,
    "BucketName": 63,
    "EndpointName": 63,
    "EndpointConfigName": 63,
    "ModelName": 63,
    "FeatureGroupName": 64,
    "QueueName": 80,
    "TableName": 255,
    "AlarmName": 255,
}


@pytest.mark.parametrize("profiles", ["dynamodb", "feature-store"])
def test_the_longest_names_are_within_what_aws_takes(release: Release, profiles: Any, tmp_path: Path) -> None:  # noqa: ANN401 - one of two words
    """As long as an environment may be called, in the region with the longest name of all partitions."""
    longest = "a" * 20
    (tmp_path / "deploy.yaml").write_text(f"environment: {longest}\nprofiles: {profiles}")
    named = build(load_settings(tmp_path / "deploy.yaml"), release)["Resources"]
    session = botocore.session.get_session()
    regions = [
        region
        for partition in session.get_available_partitions()
        for region in session.get_available_regions("lambda", partition)
    ]
    filled = {"${AWS::Region}": max(regions, key=len), "${AWS::AccountId}": "1" * 12}
    seen = set[str]()
    for resource in named.values():
        for kind in MAX_LENGTHS.keys() & resource["Properties"].keys():
            name = resource["Properties"][kind]
            text = name.get("Fn::Sub", "") if isinstance(name, dict) else name
            for variable, value in filled.items():
                text = text.replace(variable, value)
            assert len(text) <= MAX_LENGTHS[kind], text
            seen |= {kind} if longest in text else set()
    assert seen >= MAX_LENGTHS.keys() - {"FeatureGroupName"}
    (tmp_path / "deploy.yaml").write_text(f"environment: {longest}a")
    with pytest.raises(ConfigError, match="at most 64 letters"):
        load_settings(tmp_path / "deploy.yaml")


def test_reserved_concurrency_is_of_the_function_alone(release: Release) -> None:
    made = {
        reserved: build(Deployment(function=Function(reserved_concurrency=reserved)), release)
        for reserved in (None, 8)
    }
    by_concurrency = {
        reserved: name["Resources"]["Processor"]["Properties"] for reserved, name in made.items()
    }
    assert by_concurrency[8] == by_concurrency[None] | {"ReservedConcurrentExecutions": 8}
    assert "ReservedConcurrentExecutions" not in by_concurrency[None]


@pytest.mark.parametrize("name", VARIANTS)
def test_no_role_may_do_anything_to_everything(name: str, release: Release) -> None:
    template = build(VARIANTS[name], release)
    for statement in statements(template):
        assert not any("*" in action for action in statement["Action"])
        assert "*" not in statement["Resource"] or set(statement["Action"]) <= FEW


def test_the_function_may_do_each_thing_that_it_does(settings: Deployment, release: Release) -> None:
    allowed = {action for statement in statements(build(settings, release)) for action in statement["Action"]}
    assert {
        "kinesis:GetRecords",
        "dynamodb:BatchGetItem",
        "dynamodb:BatchWriteItem",
        "dynamodb:PartiQLInsert",
        "dynamodb:PartiQLUpdate",
        "s3:PutObject",
        "sqs:SendMessage",
        "sagemaker:InvokeEndpoint",
        "logs:PutLogEvents",
    } <= allowed


def test_the_function_gets_just_the_settings_that_it_reads(settings: Deployment, release: Release) -> None:
    variables = {
        name: value if isinstance(value, str) else "x"
        for name, value in environment(settings, release).items()
    }
    read = ProcessorSettings.read(variables)
    assert (read.environment, read.budget_ms, read.decisions_days) == ("golden", 2_000, 400)
    assert set(to_plain(read)) == {name.removeprefix("FRAUD_").lower() for name in variables}


def test_the_mapping_loses_nothing_and_reports_single_records(settings: Deployment, release: Release) -> None:
    (mapping,) = of_type(build(settings, release), "Lambda::EventSourceMapping").values()
    properties = mapping["Properties"]
    assert properties["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert properties["BisectBatchOnFunctionError"] is True
    assert properties["ParallelizationFactor"] == 1
    assert properties["StartingPosition"] == "TRIM_HORIZON"
    assert properties["DestinationConfig"]["OnFailure"]["Destination"] == {"Fn::GetAtt": ["Failures", "Arn"]}
    assert properties["MaximumRecordAgeInSeconds"] < 3600 * settings.stream.retention_hours
    assert HANDLER == "fraud_detection.serving.aws_lambda.handler.handler"


def test_a_new_model_goes_out_by_a_canary_that_alarms_take_back(
    settings: Deployment, release: Release
) -> None:
    template = build(settings, release)
    (endpoint,) = of_type(template, "SageMaker::Endpoint").values()
    deployment = endpoint["Properties"]["DeploymentConfig"]
    routing = deployment["BlueGreenUpdatePolicy"]["TrafficRoutingConfiguration"]
    assert routing["Type"] == "CANARY"
    assert routing["CanarySize"] == {"Type": "CAPACITY_PERCENT", "Value": 10}
    rollback_alarms = [
        alarm["AlarmName"]["Ref"] for alarm in deployment["AutoRollbackConfiguration"]["Alarms"]
    ]
    assert rollback_alarms == list(ROLLBACK)
    alarms = of_type(template, "CloudWatch::Alarm")
    assert set(rollback_alarms) <= set(alarms)
    # Those of decisions look at what the new bundle answered, not at the mixture with the old one.
    for name in ("DeclineRate", "ScoreDrift"):
        for by_concurrency in alarms[name]["Properties"]["Metrics"][:-1]:
            dimensions = by_concurrency["MetricStat"]["Metric"]["Dimensions"]
            assert {"Name": "bundle", "Value": release.bundle} in dimensions


def test_another_model_changes_the_endpoint_in_place_and_other_features_get_a_second_one(
    settings: Deployment, release: Release
) -> None:
    def endpoint(wanted: Release) -> Any:  # noqa: ANN401 - a template's tree
        (resource,) = of_type(build(settings, wanted), "SageMaker::Endpoint").values()
        (made_of,) = of_type(build(settings, wanted), "SageMaker::EndpointConfig").values()
        return resource["Properties"]["EndpointName"], made_of["Properties"]["EndpointConfigName"]

    better = replace(release, bundle="ba9876543210", model="releases/model-other.tar.gz")
    changed_release = replace(better, fingerprint="0000000000000000")
    assert endpoint(release)[0] == endpoint(better)[0] != endpoint(changed_release)[0]
    assert endpoint(release)[1] != endpoint(better)[1]


def test_one_instance_is_never_split(release: Release) -> None:
    (endpoint,) = of_type(
        build(Deployment(endpoint=Endpoint(instances=1, canary=Canary(share=0.5))), release),
        "SageMaker::Endpoint",
    ).values()
    policy = endpoint["Properties"]["DeploymentConfig"]["BlueGreenUpdatePolicy"]
    assert policy["TrafficRoutingConfiguration"]["Type"] == "ALL_AT_ONCE"


def test_an_alarm_of_drift_computes_what_the_bands_do(release: Release) -> None:
    """CloudWatch's expression, read as Python, gives the same index as the code."""
    (alarm,) = (
        resource["Properties"]
        for name, resource in build(Deployment(), release)["Resources"].items()
        if name == "ScoreDrift"
    )
    expression = alarm["Metrics"][-1]["Expression"]
    inner = re.fullmatch(r"IF\((.+?), (.+), 0\)", expression)
    assert inner is not None
    for counts in ([500, 400, 90, 10], [10, 20, 300, 670], [1000, 0, 0, 0]):
        names = {f"band{index}": count for index, count in enumerate(counts)}
        assert eval(inner[1], {}, names)  # noqa: S307 - an expression of our own
        index = eval(inner[2], {"LOG": math.log}, names)  # noqa: S307 - an expression of our own
        assert index == pytest.approx(release.bands.drift(counts))
