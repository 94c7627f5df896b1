"""deploy.yaml: strict, with advice, and nothing that contradicts itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from fraud_detection.core.errors import ConfigError
from fraud_detection.deployment.settings import Deployment, load_settings

REFUSED = {
    "enviroment: prod": "did you mean `environment`",
    "environment: Prod": "lowercase letters",
    "environment: a-name-that-is-much-too-long": "expected 1 to 20",
    "stream: {shards: 0}": r"\$.stream.shards",
    "endpoint: {instance_type: t2.medium}": r"\$.endpoint.instance_type",
    "endpoint: {scaling: {}}": "does not scale burstable instances",
    "endpoint: {instance_type: ml.c6i.large, instances: 9, scaling: {max_instances: 2}}": "is less than",
    "endpoint: {serverless: {}, scaling: {}}": "scales by itself",
    "endpoint: {canary: {share: 0.9}}": r"\$.endpoint.canary.share",
    "batches: {age_s: 604800}\nstream: {retention_hours: 24}": "more than the stream keeps",
    "function: {budget_ms: 9000, timeout_s: 10}": "at most half",
    "function: {reserved_concurrency: 3}": "3 invocations at once cannot serve 4 shards",
    "alarms: {latency_ms: 100}": "request_latency_ms",
    "retention: {logs: 31}": "allowed here: 1, 3, 5",
    "image: fraud:latest": "expected one in ECR",
    "- environment": "deploy.yaml: [Ee]xpected",
}


def load(tmp_path: Path, text: str) -> Deployment:
    path = tmp_path / "deploy.yaml"
    path.write_text(text)
    return load_settings(path)


@pytest.mark.parametrize("text", REFUSED)
def test_a_wrong_setting_is_refused_with_its_path_and_what_to_do(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match=REFUSED[text]):
        load(tmp_path, text)


def test_everything_has_a_default(tmp_path: Path) -> None:
    assert load(tmp_path, "") == Deployment()
    assert load(tmp_path, "environment: prod").name == "fraud-prod"


def test_a_missing_file_names_what_to_write(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="write `environment: demo` into it"):
        load_settings(tmp_path / "none.yaml")


def test_the_instance_of_the_founding_document_is_the_default() -> None:
    assert Deployment().endpoint.instance_type == "ml.t2.medium"
