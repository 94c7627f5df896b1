"""Settings and a release in, one CloudFormation template out; nothing is read, asked or changed here.

Without a release it is the foundation: the bucket that a release must lie in before the rest can be made.
"""

from __future__ import annotations

from typing import Any

import msgspec

from fraud_detection.deployment.release import Release
from fraud_detection.deployment.secrets import parameters
from fraud_detection.deployment.settings import Deployment
from fraud_detection.deployment.template.dashboard import dashboard
from fraud_detection.deployment.template.history import history, history_outputs
from fraud_detection.deployment.template.model import endpoint, endpoint_name
from fraud_detection.deployment.template.monitoring import alarms
from fraud_detection.deployment.template.resources import ON_AWS, Resources, ref
from fraud_detection.deployment.template.stores import (
    bucket,
    failures,
    feature_groups,
    group_prefix,
    profiles_table,
    tables,
)
from fraud_detection.deployment.template.stream import processor, stream, stream_name

Template = dict[str, Any]

PARAMETERS = {
    "Local": {
        "Type": "String",
        "AllowedValues": ["true", "false"],
        "Default": "false",
        "Description": "true where local services take AWS's place: no SageMaker, and a mapping of our own",
    },
}


def build(settings: Deployment, release: Release | None = None) -> Template:
    """Return the template."""
    template: Template = {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Description": f"Real-time fraud detection, environment {settings.environment}",
        "Resources": bucket(settings) | ({} if release is None else _whole(settings, release)),
        "Outputs": {name: {"Value": value} for name, value in _outputs(settings, release).items()},
    }
    if release is not None:
        template["Parameters"] = PARAMETERS | parameters(release.secrets)
        template["Outputs"] |= history_outputs(settings)
        template["Conditions"] = {ON_AWS: {"Fn::Equals": [ref("Local"), "false"]}}
    return template


def render(template: Template) -> str:
    """Return the template as CloudFormation takes it, as short as JSON can be."""
    return msgspec.json.encode(template).decode()


def _whole(settings: Deployment, release: Release) -> Resources:
    at = endpoint_name(settings, release)
    return {
        **tables(settings, release),
        **feature_groups(settings, release),
        **failures(settings),
        **stream(settings),
        **alarms(settings, release, at),
        **endpoint(settings, release),
        **processor(settings, release),
        **dashboard(settings, release, stream_name(settings), at),
        **history(settings),
    }


def _outputs(settings: Deployment, release: Release | None) -> dict[str, Any]:
    """Return what other commands look up instead of guessing names."""
    outputs: dict[str, Any] = {"Bucket": ref("Bucket")}
    if release is None:
        return outputs
    return outputs | {
        "Bundle": release.bundle,
        "Fingerprint": release.fingerprint,
        "Stream": ref("Stream"),
        "Function": ref("Processor"),
        "LogGroup": settings.log_group,
        "Endpoint": endpoint_name(settings, release),
        "FeatureGroups": group_prefix(settings, release),
        "ProfilesTable": profiles_table(settings, release),
        "DecisionsTable": ref("Decisions"),
        "LabelsTable": ref("Labels"),
        "Failures": ref("Failures"),
    }
