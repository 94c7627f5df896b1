"""Where data is stored: the bucket, the tables, the queue of failures, the groups of the feature store."""

from __future__ import annotations

from typing import Any

from fraud_detection.adapters.aws.state.feature_store_schema import (
    EVENT_TIME,
    FEATURES,
    RECORD_IDENTIFIER,
    group_name,
)
from fraud_detection.deployment.release import Release
from fraud_detection.deployment.settings import Deployment
from fraud_detection.deployment.template.resources import (
    ON_AWS,
    Resource,
    Resources,
    allow,
    arn,
    deletion_policy,
    ref,
    resource,
    role,
    sub,
)

QUEUE_RETENTION_S = 14 * 86_400
TIME_TO_LIVE = "expires"


def bucket(settings: Deployment) -> Resources:
    """Return the bucket of releases, quarantine, captured requests and data, and who may not use it."""
    return {
        "Bucket": resource(
            "S3::Bucket",
            {
                "BucketName": sub(f"{settings.name}-${{AWS::AccountId}}-${{AWS::Region}}"),
                "VersioningConfiguration": {"Status": "Enabled"},
                "BucketEncryption": {
                    "ServerSideEncryptionConfiguration": [
                        {"ServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}
                    ]
                },
                "PublicAccessBlockConfiguration": {
                    "BlockPublicAcls": True,
                    "BlockPublicPolicy": True,
                    "IgnorePublicAcls": True,
                    "RestrictPublicBuckets": True,
                },
                "OwnershipControls": {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]},
                "LifecycleConfiguration": {"Rules": _lifecycle(settings)},
            },
            **deletion_policy(settings),
        ),
        "BucketPolicy": resource(
            "S3::BucketPolicy",
            {
                "Bucket": ref("Bucket"),
                "PolicyDocument": {"Version": "2012-10-17", "Statement": [_encrypted_only()]},
            },
        ),
    }


def tables(settings: Deployment, release: Release) -> Resources:
    """Return the tables.

    Profiles made of other features cannot be read, so their table carries the features' fingerprint: other
    features get a table of their own, and the old one goes when they serve.  It would be in the way of the
    features of before, should they come back; DynamoDB keeps a backup of it for 35 days.
    """
    profiles = _table(settings, profiles_table(settings, release), "k")
    return {
        "Profiles": profiles | {"UpdateReplacePolicy": "Delete"},
        "Decisions": _table(settings, f"{settings.name}-decisions", "id"),
        "Labels": _table(settings, f"{settings.name}-labels", "id"),
    }


def profiles_table(settings: Deployment, release: Release) -> str:
    """Return the name of the table of profiles."""
    return f"{settings.name}-profiles-{release.features}"


def feature_groups(settings: Deployment, release: Release) -> Resources:
    """Return the group of the entity that orders the stream, where Feature Store keeps its profiles."""
    if settings.profiles != "feature-store":
        return {}
    name = group_name(group_prefix(settings, release), release.entities[0])
    group = resource(
        "SageMaker::FeatureGroup",
        {
            "FeatureGroupName": name,
            "RecordIdentifierFeatureName": RECORD_IDENTIFIER,
            "EventTimeFeatureName": EVENT_TIME,
            "FeatureDefinitions": [
                {"FeatureName": feature, "FeatureType": kind} for feature, kind in FEATURES.items()
            ],
            "OnlineStoreConfig": {"EnableOnlineStore": True},
            "OfflineStoreConfig": {"S3StorageConfig": {"S3Uri": sub("s3://${Bucket}/feature-store")}},
            "RoleArn": arn("FeatureStoreRole"),
        },
        Condition=ON_AWS,
        **deletion_policy(settings) | {"UpdateReplacePolicy": "Delete"},
    )
    writing = ["s3:GetBucketAcl", "s3:PutObject", "s3:PutObjectAcl"]
    statements = [allow(writing, arn("Bucket"), sub("${Bucket.Arn}/feature-store/*"))]
    trusted = role(f"{settings.name}-feature-store", "sagemaker.amazonaws.com", statements)
    return {"FeatureStoreRole": trusted | {"Condition": ON_AWS}, "FeatureGroup": group}


def group_prefix(settings: Deployment, release: Release) -> str:
    """Return what the names of the feature groups begin with; other features get other groups."""
    return f"{settings.name}-{release.features}"


def failures(settings: Deployment) -> Resources:
    """Return the queue that names the dead-lettered batches."""
    properties = {
        "QueueName": f"{settings.name}-failures",
        "MessageRetentionPeriod": QUEUE_RETENTION_S,
        "SqsManagedSseEnabled": True,
    }
    return {"Failures": resource("SQS::Queue", properties, **deletion_policy(settings))}


def _table(settings: Deployment, name: str, key: str) -> Resource:
    return resource(
        "DynamoDB::Table",
        {
            "TableName": name,
            "BillingMode": "PAY_PER_REQUEST",
            "AttributeDefinitions": [{"AttributeName": key, "AttributeType": "S"}],
            "KeySchema": [{"AttributeName": key, "KeyType": "HASH"}],
            "TimeToLiveSpecification": {"AttributeName": TIME_TO_LIVE, "Enabled": True},
            "PointInTimeRecoverySpecification": {"PointInTimeRecoveryEnabled": True},
            "SSESpecification": {"SSEEnabled": True},
            "DeletionProtectionEnabled": settings.protect,
        },
        **deletion_policy(settings),
    )


def _lifecycle(settings: Deployment) -> list[dict[str, Any]]:
    old = {"NoncurrentVersionExpiration": {"NoncurrentDays": 90}}
    begun = {"AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 7}}
    days = {"quarantine": settings.retention.quarantine, "capture": settings.retention.capture}
    return [
        {"Id": "old-versions", "Status": "Enabled", **old, **begun},
        *(
            {"Id": prefix, "Status": "Enabled", "Prefix": f"{prefix}/", "ExpirationInDays": retention_days}
            for prefix, retention_days in days.items()
        ),
        *([] if settings.history is None else [_runs(settings)]),
    ]


def _runs(settings: Deployment) -> dict[str, Any]:
    """Return how long the logs of history jobs stay; the parts of a table that was made go at once."""
    return {
        "Id": "history-runs",
        "Status": "Enabled",
        "Prefix": "history-runs/",
        "ExpirationInDays": settings.retention.logs,
        "NoncurrentVersionExpiration": {"NoncurrentDays": 1},
    }


def _encrypted_only() -> dict[str, Any]:
    return {
        "Sid": "OnlyOverTls",
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:*",
        "Resource": [arn("Bucket"), sub("${Bucket.Arn}/*")],
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }
