"""A broken new model: the canary's share suffers, the alarms of the template rise, the old one serves on."""

from __future__ import annotations

import json
import math
import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fraud_detection.adapters.aws_fakes import FakeDynamo, FakeRuntime, FakeS3
from fraud_detection.deploy.release import Release, prepare
from fraud_detection.deploy.settings import Alarms, Deployment
from fraud_detection.deploy.template import build
from fraud_detection.errors import ConfigError
from fraud_detection.local_aws.model_server import ModelServer
from fraud_detection.run.container import Endpoint
from fraud_detection.run.lambda_handler import Processor, ProcessorSettings, Record
from fraud_detection.score.archive import pack, read_bundle
from fraud_detection.score.bundle import Bundle
from fraud_detection.score.calibration import Calibration
from fraud_detection.score.wire import JSON
from tests.conftest import SmallWorld

IMAGE = "123456789012.dkr.ecr.eu-central-1.amazonaws.com/fraud:1.0"
CANARY_EVERY = 10
BATCH = 30


class Watched:
    """CloudWatch, as far as the template's alarms need it: counts by dimension, and their arithmetic."""

    def __init__(self, settings: Deployment, release: Release) -> None:
        resources = build(settings, release)["Resources"]
        (endpoint,) = (one for one in resources.values() if one["Type"] == "AWS::SageMaker::Endpoint")
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
        *asked, result = alarm["Metrics"]
        values = {}
        for one in asked:
            metric = one["MetricStat"]["Metric"]
            where = frozenset((each["Name"], each["Value"]) for each in metric["Dimensions"])
            values[one["Id"]] = self.counts[metric["MetricName"], where]
        condition, then = re.fullmatch(r"FILL\(IF\((.+?), (.+), 0\), 0\)", result["Expression"]).groups()  # type: ignore[union-attr]
        if not eval(condition, {}, values):  # noqa: S307 - an expression of our own
            return False
        return bool(eval(then, {"LOG": math.log}, values) > alarm["Threshold"])  # noqa: S307 - the same


def broken(bundle: Bundle) -> Bundle:
    """Return a bundle that takes everything for fraud; all else about it is in order."""
    wrong = Calibration(bundle.manifest.calibration.slope, bundle.manifest.calibration.intercept + 20.0)
    expected = tuple(wrong.probability(raw) for raw in bundle.contents.vectors.raw)
    vectors = msgspec.structs.replace(bundle.contents.vectors, expected=expected)
    contents = msgspec.structs.replace(bundle.contents, vectors=vectors)
    manifest = msgspec.structs.replace(bundle.manifest, calibration=wrong, name="broken000000")
    return Bundle(manifest, contents)


class BlueGreen:
    """An endpoint while a new model goes out: a share of the requests goes to it until it is taken back."""

    def __init__(self, old: Bundle, new: Bundle) -> None:
        self.fleets = {"old": Endpoint(old), "new": Endpoint(new)}
        self.calls = 0
        self.canary = True

    def __call__(self, body: bytes) -> bytes:
        self.calls += 1
        fleet = "new" if self.canary and self.calls % CANARY_EVERY == 0 else "old"
        return self.fleets[fleet].invoke(body, JSON, JSON)[0]


def test_a_model_that_declines_everything_is_taken_back_while_the_old_one_serves(
    small_world: SmallWorld,
) -> None:
    old = read_bundle(small_world.bundle)
    new = broken(old)
    settings = Deployment(environment="local", alarms=Alarms(least=20))
    watched = Watched(settings, prepare(new, b"", IMAGE)[0])
    endpoint, lines = BlueGreen(old, new), list[dict[str, Any]]()
    clients = {"dynamodb": FakeDynamo(), "s3": FakeS3(), "sagemaker-runtime": FakeRuntime(endpoint)}
    processor = Processor(
        ProcessorSettings(
            endpoint="e",
            profiles_table="p",
            decisions_table="d",
            labels_table="l",
            quarantine_bucket="q",
            token_key="secret",  # noqa: S106 - of a test
            bundle=str(small_world.bundle),
        ),
        lambda line: lines.append(json.loads(line)),
        clients.__getitem__,
    )
    events, taken_back_at = small_world.live(2_000, labels="none"), None
    for begin in range(0, len(events), BATCH):
        told = len(lines)
        batch = enumerate(events[begin : begin + BATCH], start=begin + 1)
        processor.handle("shardId-000000000000", [Record(str(number), event, 1.0) for number, event in batch])
        for line in lines[told:]:
            watched.take(line)
        if endpoint.canary and watched.risen():
            taken_back_at, endpoint.canary = begin, False
    assert taken_back_at is not None
    assert {"DeclineShare", "ScoreDrift"} <= set(watched.risen())
    decisions = [line for line in lines if line["type"] == "decision"]
    assert all(line["score"] is not None for line in decisions)
    by_model = {name: [line for line in decisions if line["model"] == name] for name in (old.name, new.name)}
    assert {line["action"] for line in by_model[new.name]} == {"decline"}
    assert len(by_model[new.name]) < 3 * BATCH
    late = [line for line in decisions if int(line["sequence"]) > taken_back_at + BATCH]
    assert {line["model"] for line in late} == {old.name}
    assert len(late) > 1_000


def test_the_same_model_again_raises_no_alarm(small_world: SmallWorld) -> None:
    """What is normal stays below every threshold of the template's defaults, counted as CloudWatch would."""
    old = read_bundle(small_world.bundle)
    settings = Deployment(environment="local", alarms=Alarms(least=20, decline_share=0.5, score_drift=5.0))
    watched = Watched(settings, prepare(old, b"", IMAGE)[0])
    for name in ("decided", "band0", "band1", "band2", "band3"):
        watched.counts[name, frozenset({("environment", "local"), ("bundle", old.name)})] = 500
    assert watched.risen() == []
    watched.counts["declined", frozenset({("environment", "local"), ("bundle", old.name)})] = 400
    assert watched.risen() == ["DeclineShare"]


def test_a_model_that_fails_its_own_test_vectors_never_answers_beside_the_old_one(
    small_world: SmallWorld, tmp_path: Path
) -> None:
    """The container proves its bundle before it answers: a fleet that does not start gets no request."""
    old = read_bundle(small_world.bundle)
    wrong = msgspec.structs.replace(old.manifest, calibration=Calibration(1.0, 3.0))
    damaged = pack(Bundle(wrong, old.contents).files())
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
    with ModelServer(pack(old.files()), tmp_path / "old") as serving:
        new = ModelServer(damaged, tmp_path / "new")
        with pytest.raises(ConfigError, match="did not start"):
            new.start()
        assert serving.answers()
