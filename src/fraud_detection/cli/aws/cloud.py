"""The environment that a settings file names, and what would be deployed to it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import msgspec

from fraud_detection.adapters.aws.clients import is_local, patient_client
from fraud_detection.adapters.aws.cloudformation import Stack
from fraud_detection.adapters.aws.emr_serverless import EmrApplication
from fraud_detection.adapters.aws.s3_files import S3Files
from fraud_detection.adapters.aws.s3_objects import Objects
from fraud_detection.adapters.xgboost.bundle_trial import try_bundle
from fraud_detection.core.errors import ConfigError
from fraud_detection.core.score.archive import read_bundle
from fraud_detection.deployment.apply import Cloud
from fraud_detection.deployment.history_run import HistoryRuns, Target, asked_for
from fraud_detection.deployment.package import package
from fraud_detection.deployment.release import Artefact, Release, prepare
from fraud_detection.deployment.settings import LOCAL_IMAGE, Deployment, History, check, load_settings


def open_cloud(path: Path) -> tuple[Deployment, Cloud]:
    """Return the settings of a file, and the AWS services that they are about."""
    settings = load_settings(path)
    region = settings.region
    local = is_local()
    stack = Stack(patient_client("cloudformation", region), settings.name, 0.1 if local else 2.0)
    return settings, Cloud(
        stack,
        lambda name: Objects(patient_client("s3", region), name),
        local,
        os.environ,
        lambda application: EmrApplication(patient_client("emr-serverless", region), application),
    )


def open_runs(path: Path, log: Callable[[str], object]) -> tuple[HistoryRuns, History]:
    """Return the runs of the application for history that a settings file names, and its settings."""
    settings, cloud = open_cloud(path)
    chosen = asked_for(settings)
    s3 = patient_client("s3", settings.region)
    target = Target.of(settings, outputs_of(cloud.stack), s3.meta.region_name)
    return HistoryRuns(chosen, target, cloud.application(target.application), S3Files(s3), log), chosen


def release_of(settings: Deployment, path: Path, image: str | None) -> tuple[Release, list[Artefact]]:
    """Return what a bundle and the image of the container make to deploy."""
    bundle = read_bundle(path)
    try_bundle(bundle)
    image = image or settings.image or (LOCAL_IMAGE if is_local() else None)
    if image is not None:
        check(msgspec.structs.replace(settings, image=image))
    if image is None:
        raise ConfigError(
            "no container image: give --image URI, or `image:` in the settings; docs/aws.md says how "
            "to build it"
        )
    return prepare(bundle, package(bundle, settings.function), image)


def outputs_of(stack: Stack) -> dict[str, str]:
    """Return the outputs of a stack that is there."""
    outputs = stack.outputs()
    if "LogGroup" not in outputs:
        raise ConfigError(
            f"stack {stack.name} does not exist, or is incomplete: `fraud deploy apply` creates it"
        )
    return outputs
