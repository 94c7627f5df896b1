"""The stream, the function that decides it, and the mapping between them."""

from __future__ import annotations

from fraud_detection.adapters.aws.state.feature_store_schema import group_name
from fraud_detection.core.errors import ConfigError
from fraud_detection.deployment.release import Release
from fraud_detection.deployment.secrets import TOKEN_KEY, parameter_of
from fraud_detection.deployment.settings import Deployment
from fraud_detection.deployment.template.model import endpoint_name
from fraud_detection.deployment.template.resources import (
    ON_AWS,
    Resource,
    Resources,
    allow,
    arn,
    digest,
    ref,
    resource,
    role,
    sub,
)
from fraud_detection.deployment.template.stores import group_prefix

HANDLER = "fraud_detection.serving.aws_lambda.handler.handler"
ALIAS = "live"
BUNDLE_FOLDER = "bundle"


def stream(settings: Deployment) -> Resources:
    """Return the stream, encrypted."""
    shards = settings.stream.shards
    return {
        "Stream": resource(
            "Kinesis::Stream",
            {
                "Name": stream_name(settings),
                "RetentionPeriodHours": settings.stream.retention_hours,
                "ShardCount": shards,
                "StreamModeDetails": {"StreamMode": "ON_DEMAND" if shards is None else "PROVISIONED"},
                "StreamEncryption": {"EncryptionType": "KMS", "KeyId": "alias/aws/kinesis"},
            },
        )
    }


def stream_name(settings: Deployment) -> str:
    """Return the name of the stream."""
    return f"{settings.name}-payments"


def processor(settings: Deployment, release: Release) -> Resources:
    """Return the function, a version of just this code and configuration, and the alias that leads to it."""
    function = _function(settings, release)
    version = f"ProcessorVersion{digest(function['Properties'])}"
    return {
        "ProcessorLog": resource(
            "Logs::LogGroup",
            {"LogGroupName": settings.log_group, "RetentionInDays": settings.retention.logs},
            DeletionPolicy="Delete",
            UpdateReplacePolicy="Delete",
        ),
        "ProcessorRole": _role(settings, release),
        "Processor": function,
        version: resource("Lambda::Version", {"FunctionName": ref("Processor")}),
        "ProcessorAlias": resource(
            "Lambda::Alias",
            {
                "Name": ALIAS,
                "FunctionName": ref("Processor"),
                "FunctionVersion": {"Fn::GetAtt": [version, "Version"]},
            },
        ),
        "Mapping": _mapping(settings),
    }


def environment(settings: Deployment, release: Release) -> dict[str, object]:
    """Return the function's environment; the endpoint by reference, so that it exists first.

    Raises ConfigError when the project calls a secret as one of these.
    """
    name = endpoint_name(settings, release)
    there = {"Fn::GetAtt": ["Endpoint", "EndpointName"]}
    grouped = settings.profiles == "feature-store"
    variables: dict[str, object] = {
        "FRAUD_ENVIRONMENT": settings.environment,
        "FRAUD_BUNDLE": BUNDLE_FOLDER,
        "FRAUD_ENDPOINT": {"Fn::If": [ON_AWS, there, name]},
        "FRAUD_BUDGET_MS": str(settings.function.budget_ms),
        "FRAUD_PROFILES_TABLE": ref("Profiles"),
        "FRAUD_PROFILES_STORE": settings.profiles,
        "FRAUD_FEATURE_GROUPS": group_prefix(settings, release) if grouped else "",
        "FRAUD_DECISIONS_TABLE": ref("Decisions"),
        "FRAUD_LABELS_TABLE": ref("Labels"),
        "FRAUD_QUARANTINE_BUCKET": ref("Bucket"),
        "FRAUD_PROFILES_DAYS": str(settings.retention.profiles),
        "FRAUD_DECISIONS_DAYS": str(settings.retention.decisions),
        "FRAUD_TOKEN_KEY": ref(TOKEN_KEY),
    }
    if clashes := sorted(variables.keys() & set(release.secrets)):
        raise ConfigError(
            f"control_group.key_variable: {clashes[0]} is a setting of the function itself; name another, "
            "such as FRAUD_CONTROL_GROUP_KEY"
        )
    return variables | {secret: ref(parameter_of(secret)) for secret in release.secrets}


def _function(settings: Deployment, release: Release) -> Resource:
    function = settings.function
    return resource(
        "Lambda::Function",
        {
            "FunctionName": settings.function_name,
            "Description": f"Decides payments with bundle {release.bundle}",
            "Runtime": function.runtime,
            "Architectures": [function.architecture],
            "Handler": HANDLER,
            "Code": {"S3Bucket": ref("Bucket"), "S3Key": release.code},
            "MemorySize": function.memory_mb,
            "Timeout": function.timeout_s,
            "ReservedConcurrentExecutions": function.reserved_concurrency,
            "Role": arn("ProcessorRole"),
            "Environment": {"Variables": environment(settings, release)},
            # A line of ours is a line of the log: the runtime must not wrap it.
            "LoggingConfig": {"LogGroup": ref("ProcessorLog"), "LogFormat": "Text"},
        },
    )


def _mapping(settings: Deployment) -> Resource:
    batches = settings.batches
    return resource(
        "Lambda::EventSourceMapping",
        {
            "FunctionName": ref("ProcessorAlias"),
            "EventSourceArn": arn("Stream"),
            "StartingPosition": "TRIM_HORIZON",
            "BatchSize": batches.size,
            "MaximumBatchingWindowInSeconds": batches.window_s,
            "MaximumRetryAttempts": batches.retries,
            "MaximumRecordAgeInSeconds": batches.age_s,
            "BisectBatchOnFunctionError": True,
            "ParallelizationFactor": 1,
            "FunctionResponseTypes": ["ReportBatchItemFailures"],
            "DestinationConfig": {"OnFailure": {"Destination": arn("Failures")}},
            # Local services keep only a part of the contract; a mapping of ours takes its place there.
            "Enabled": {"Fn::If": [ON_AWS, not settings.stream.paused, False]},
        },
    )


def _role(settings: Deployment, release: Release) -> Resource:
    reading = ["DescribeStream", "DescribeStreamSummary", "GetRecords", "GetShardIterator", "ListShards"]
    profiles = ["BatchGetItem", "PartiQLInsert", "PartiQLUpdate"]
    decisions = ["BatchGetItem", "BatchWriteItem", "PartiQLInsert"]
    labels = ["BatchGetItem", "BatchWriteItem"]
    endpoint_path = f"endpoint/{endpoint_name(settings, release)}"
    groups = [] if settings.profiles == "dynamodb" else [_on_group(settings, release)]
    # The function of today needs its table and endpoint until the new one has taken over: a role of its own.
    return role(
        f"{settings.name}-processor-{release.features}",
        "lambda.amazonaws.com",
        [
            allow([f"kinesis:{action}" for action in reading], arn("Stream")),
            allow([f"dynamodb:{action}" for action in profiles], arn("Profiles")),
            allow([f"dynamodb:{action}" for action in decisions], arn("Decisions")),
            allow([f"dynamodb:{action}" for action in labels], arn("Labels")),
            # The names of the shards whose decline caps count together.
            allow(["dynamodb:UpdateItem"], arn("Decisions")),
            allow(["s3:PutObject"], sub("${Bucket.Arn}/quarantine/*")),
            allow(["sqs:SendMessage"], arn("Failures")),
            allow(
                ["sagemaker:InvokeEndpoint"],
                sub(
                    f"arn:${{AWS::Partition}}:sagemaker:${{AWS::Region}}:${{AWS::AccountId}}:{endpoint_path}"
                ),
            ),
            allow(["logs:CreateLogStream", "logs:PutLogEvents"], arn("ProcessorLog")),
            *groups,
        ],
    )


def _on_group(settings: Deployment, release: Release) -> dict[str, object]:
    name = f"feature-group/{group_name(group_prefix(settings, release), release.entities[0])}"
    where = sub(f"arn:${{AWS::Partition}}:sagemaker:${{AWS::Region}}:${{AWS::AccountId}}:{name}")
    return allow(["sagemaker:BatchGetRecord", "sagemaker:PutRecord"], where)
