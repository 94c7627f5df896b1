"""A broken new model: the canary's share suffers, the alarms of the template rise, the old one serves on."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fraud_detection.core.errors import ConfigError
from fraud_detection.core.score.archive import pack, read_bundle
from fraud_detection.core.score.bundle import Bundle, assemble
from fraud_detection.core.score.calibration import Calibration
from fraud_detection.core.score.protocol import JSON
from fraud_detection.deployment.release import Release, prepare
from fraud_detection.deployment.settings import Alarms, Deployment
from fraud_detection.deployment.template.template import build
from fraud_detection.serving.aws_lambda.batch import ShardEvent
from fraud_detection.serving.aws_lambda.handler import Processor
from fraud_detection.serving.aws_lambda.settings import ProcessorSettings
from fraud_detection.serving.sagemaker.container import Endpoint
from fraud_detection.testing.aws_fakes import FakeRuntime, FakeS3
from fraud_detection.testing.dynamodb_fake import FakeDynamo
from tests.cloudwatch import Series, series_of
from tests.conftest import SmallSimulation
from tools.local_aws.model_server import ModelServer

IMAGE = "123456789012.dkr.ecr.eu-central-1.amazonaws.com/fraud:1.0"
CANARY_EVERY = 10
BATCH = 30


class AlarmMonitor:
    """CloudWatch, as far as the template's alarms need it: counts by dimension, and their arithmetic."""

    def __init__(self, settings: Deployment, release: Release) -> None:
        resources = build(settings, release)["Resources"]
        (endpoint,) = (
            resource for resource in resources.values() if resource["Type"] == "AWS::SageMaker::Endpoint"
        )
        rollback = endpoint["Properties"]["DeploymentConfig"]["AutoRollbackConfiguration"]["Alarms"]
        self.alarms = {
            each["AlarmName"]["Ref"]: resources[each["AlarmName"]["Ref"]]["Properties"] for each in rollback
        }
        self.counts: dict[tuple[str, frozenset[tuple[str, str]]], float] = defaultdict(float)

    def take(self, line: dict[str, Any]) -> None:
        """Count what a line of the log carries in the embedded metric format."""
        for directive in line.get("_aws", {}).get("CloudWatchMetrics", []):
            assert directive["Namespace"] == "FraudDetection"
            for names in directive["Dimensions"]:
                where = frozenset((name, line[name]) for name in names)
                for metric in directive["Metrics"]:
                    if metric["Unit"] == "Count":
                        self.counts[metric["Name"], where] += line[metric["Name"]]

    def risen(self) -> list[str]:
        return [name for name, alarm in self.alarms.items() if "Metrics" in alarm and self._above(alarm)]

    def _above(self, alarm: dict[str, Any]) -> bool:
        *queries, result = alarm["Metrics"]
        values: dict[str, Series] = {}
        for query in queries:
            metric = query["MetricStat"]["Metric"]
            where = frozenset((each["Name"], each["Value"]) for each in metric["Dimensions"])
            values[query["Id"]] = [self.counts[metric["MetricName"], where]]
        (value,) = series_of(result["Expression"], values)
        return value is not None and value > alarm["Threshold"]


def broken(bundle: Bundle) -> Bundle:
    """Return a bundle that takes everything for fraud; all else about it is in order."""
    wrong = Calibration(bundle.manifest.calibration.slope, bundle.manifest.calibration.intercept + 20.0)
    expected = tuple(wrong.probability(raw) for raw in bundle.contents.vectors.raw)
    vectors = msgspec.structs.replace(bundle.contents.vectors, expected=expected)
    contents = msgspec.structs.replace(bundle.contents, vectors=vectors)
    return assemble(contents, msgspec.structs.replace(bundle.manifest, calibration=wrong))


class BlueGreen:
    """An endpoint while a new model goes out: a share of the requests goes to it until it is rolled back."""

    def __init__(self, old: Bundle, new: Bundle) -> None:
        self.fleets = {"old": Endpoint(old), "new": Endpoint(new)}
        self.calls = 0
        self.canary = True

    def __call__(self, body: bytes) -> bytes:
        self.calls += 1
        fleet = "new" if self.canary and self.calls % CANARY_EVERY == 0 else "old"
        return self.fleets[fleet].invoke(body, JSON, JSON)[0]


def processor_of(simulation: SmallSimulation, endpoint: BlueGreen, lines: list[dict[str, Any]]) -> Processor:
    clients = {"dynamodb": FakeDynamo(), "s3": FakeS3(), "sagemaker-runtime": FakeRuntime(endpoint)}
    settings = ProcessorSettings(
        endpoint="e",
        profiles_table="p",
        decisions_table="d",
        labels_table="l",
        quarantine_bucket="q",
        token_key="secret",  # noqa: S106 - of a test
        bundle=str(simulation.bundle),
    )
    return Processor(settings, lambda line: lines.append(json.loads(line)), clients.__getitem__)


def deliver(simulation: SmallSimulation, endpoint: BlueGreen, events: list[bytes]) -> list[dict[str, Any]]:
    lines: list[dict[str, Any]] = []
    processor = processor_of(simulation, endpoint, lines)
    for begin in range(0, len(events), BATCH):
        batch = enumerate(events[begin : begin + BATCH], start=begin + 1)
        processor.handle(
            "shardId-000000000000", [ShardEvent(str(number), event, 1.0) for number, event in batch]
        )
    return lines


def test_a_model_that_declines_everything_is_rolled_back_while_the_old_one_serves(
    small_simulation: SmallSimulation,
) -> None:
    old = read_bundle(small_simulation.bundle)
    new = broken(old)
    settings = Deployment(environment="local", alarms=Alarms(min_decisions=20))
    monitor = AlarmMonitor(settings, prepare(new, b"", IMAGE)[0])
    endpoint, lines = BlueGreen(old, new), list[dict[str, Any]]()
    processor = processor_of(small_simulation, endpoint, lines)
    events, rolled_back_at = small_simulation.events(2_000, labels="none"), None
    for begin in range(0, len(events), BATCH):
        line_count = len(lines)
        batch = enumerate(events[begin : begin + BATCH], start=begin + 1)
        processor.handle(
            "shardId-000000000000", [ShardEvent(str(number), event, 1.0) for number, event in batch]
        )
        for line in lines[line_count:]:
            monitor.take(line)
        if endpoint.canary and monitor.risen():
            rolled_back_at, endpoint.canary = begin, False
    assert rolled_back_at is not None
    assert {"DeclineRate", "ScoreDrift"} <= set(monitor.risen())
    decisions = [line for line in lines if line["type"] == "decision"]
    assert all(line["score"] is not None for line in decisions)
    by_model = {
        name: [line for line in decisions if line["delivery"]["model"] == name]
        for name in (old.name, new.name)
    }
    assert {line["action"] for line in by_model[new.name]} == {"decline"}
    assert len(by_model[new.name]) < 3 * BATCH
    late = [line for line in decisions if int(line["delivery"]["sequence_number"]) > rolled_back_at + BATCH]
    assert {line["delivery"]["model"] for line in late} == {old.name}
    assert len(late) > 1_000


def test_shares_above_the_limit_raise_the_alarm_and_those_below_do_not(
    small_simulation: SmallSimulation,
) -> None:
    old = read_bundle(small_simulation.bundle)
    release = prepare(old, b"", IMAGE)[0]
    monitor = AlarmMonitor(Deployment(environment="local"), release)
    where = frozenset({("environment", "local"), ("bundle", old.name)})
    typical = {f"band{index}": round(10_000 * share) for index, share in enumerate(release.bands.shares)}
    for name, count in {"scored": 10_000, "above_decline": 900, **typical}.items():
        monitor.counts[name, where] = count
    assert monitor.risen() == []
    monitor.counts["above_decline", where] = 1_100
    assert monitor.risen() == ["DeclineRate"]
    monitor.counts["band3", where] += 5_000
    assert monitor.risen() == ["DeclineRate", "ScoreDrift"]


def test_a_healthy_model_with_another_scale_of_scores_is_not_rolled_back(
    small_simulation: SmallSimulation,
) -> None:
    """The function still holds the old bundle: only the model that answers can say how its scores lie."""
    old = read_bundle(small_simulation.bundle)
    new = rescaled(old)
    monitor = AlarmMonitor(
        Deployment(environment="local", alarms=Alarms(min_decisions=20)), prepare(new, b"", IMAGE)[0]
    )
    endpoint = BlueGreen(old, new)
    lines = deliver(small_simulation, endpoint, small_simulation.events(2_000, labels="none"))
    for line in lines:
        monitor.take(line)
    where = frozenset({("environment", "local"), ("bundle", new.name)})
    assert monitor.counts["scored", where] > 100
    assert monitor.risen() == []


def rescaled(bundle: Bundle) -> Bundle:
    """Return a model that ranks as before and calls every score larger, with all that belongs to it."""
    slope, intercept = bundle.manifest.calibration.slope, bundle.manifest.calibration.intercept + 4.0
    shifted = Calibration(slope, intercept)

    def moved(score: float) -> float:
        return shifted.probability(bundle.manifest.calibration.log_odds(score))

    scores = bundle.contents.reference.score
    edges = tuple(moved(edge) for edge in scores.edges)
    reference = msgspec.structs.replace(
        bundle.contents.reference, score=msgspec.structs.replace(scores, edges=edges)
    )
    vectors = msgspec.structs.replace(
        bundle.contents.vectors, expected=tuple(map(shifted.probability, bundle.contents.vectors.raw))
    )
    cutoffs = bundle.manifest.cutoffs
    manifest = msgspec.structs.replace(
        bundle.manifest,
        calibration=shifted,
        cutoffs=msgspec.structs.replace(
            cutoffs, review_at=moved(cutoffs.review_at), decline_at=moved(cutoffs.decline_at)
        ),
    )
    contents = msgspec.structs.replace(bundle.contents, reference=reference, vectors=vectors)
    return assemble(contents, manifest)


def test_a_model_that_fails_its_own_test_vectors_never_decides(
    small_simulation: SmallSimulation, tmp_path: Path
) -> None:
    """The container proves its bundle before it answers: a fleet that does not start gets no request."""
    old = read_bundle(small_simulation.bundle)
    wrong = msgspec.structs.replace(old.manifest, calibration=Calibration(1.0, 3.0))
    damaged = pack(Bundle(wrong, old.contents).files())
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
    with ModelServer(pack(old.files()), tmp_path / "old") as serving:
        new = ModelServer(damaged, tmp_path / "new")
        with pytest.raises(ConfigError, match="did not start"):
            new.start()
        assert serving.is_ready()
