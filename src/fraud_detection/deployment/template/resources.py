"""Building blocks of the CloudFormation template."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from fraud_detection.deployment.settings import Deployment

Resource = dict[str, Any]
Resources = dict[str, Resource]

ON_AWS = "OnAws"
"""The condition of what no local service has."""


def resource(kind: str, properties: dict[str, Any], **more: Any) -> Resource:  # noqa: ANN401 - CloudFormation's properties
    """Return a resource without the properties that are None."""
    given_properties = {name: value for name, value in properties.items() if value is not None}
    return {"Type": f"AWS::{kind}", **more, "Properties": given_properties}


def ref(name: str) -> dict[str, str]:
    """Refer to another resource or parameter."""
    return {"Ref": name}


def arn(name: str) -> dict[str, list[str]]:
    """Refer to the ARN of another resource."""
    return {"Fn::GetAtt": [name, "Arn"]}


def sub(text: str) -> dict[str, str]:
    """Fill in ${...}."""
    return {"Fn::Sub": text}


def deletion_policy(settings: Deployment) -> dict[str, str]:
    """Say what becomes of data when it leaves the template."""
    # What a failed creation left would be in the way of the next one.
    policy = "RetainExceptOnCreate" if settings.protect else "Delete"
    return {"DeletionPolicy": policy, "UpdateReplacePolicy": "Retain" if settings.protect else "Delete"}


def digest(properties: object) -> str:
    """Return a short name for just these properties: others have another."""
    return hashlib.sha256(msgspec.json.encode(properties, order="sorted")).hexdigest()[:12]


def role(name: str, service: str, statements: list[dict[str, Any]]) -> Resource:
    """Return a role that one service may take, and that may do just what the statements say."""
    trust = {"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"}
    return resource(
        "IAM::Role",
        {
            # Roles are of an account, not of a region: without it a second region could not be made.
            "RoleName": sub(f"{name}-${{AWS::Region}}"),
            "AssumeRolePolicyDocument": {"Version": "2012-10-17", "Statement": [trust]},
            "Policies": [
                {
                    "PolicyName": "all-it-may-do",
                    "PolicyDocument": {"Version": "2012-10-17", "Statement": statements},
                }
            ],
        },
    )


def allow(actions: list[str], *resources: Any, **more: Any) -> dict[str, Any]:  # noqa: ANN401 - names or references
    """Return a statement."""
    return {"Effect": "Allow", "Action": actions, "Resource": list(resources), **more}
