"""The SageMaker endpoint: blue/green with a canary, rolled back automatically by alarms."""

from __future__ import annotations

from typing import Any

from fraud_detection.deployment.release import Release
from fraud_detection.deployment.settings import Deployment
from fraud_detection.deployment.template.monitoring import ROLLBACK, VARIANT, rollback_arns
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


def endpoint_name(settings: Deployment, release: Release) -> str:
    """Return the endpoint's name.

    A model of other features cannot answer the function of today, so it gets an endpoint of its own beside
    the old one, which goes when the function has changed over.
    """
    return f"{settings.name}-{release.features}"


def log_group(settings: Deployment, release: Release) -> str:
    """Return where SageMaker writes what the container says."""
    return f"/aws/sagemaker/Endpoints/{endpoint_name(settings, release)}"


def endpoint(settings: Deployment, release: Release) -> Resources:
    """Return model, configuration, endpoint, and what scales it; none of it exists locally."""
    model = _model(settings, release)
    configuration = _configuration(settings, model)
    log = {"LogGroupName": log_group(settings, release), "RetentionInDays": settings.retention.logs}
    wanted: Resources = {
        "EndpointLog": resource("Logs::LogGroup", log, DeletionPolicy="Delete", UpdateReplacePolicy="Delete"),
        "EndpointRole": _role(settings, release),
        "Model": model,
        "EndpointConfiguration": configuration,
        "Endpoint": resource(
            "SageMaker::Endpoint",
            {
                "EndpointName": endpoint_name(settings, release),
                "EndpointConfigName": {"Fn::GetAtt": ["EndpointConfiguration", "EndpointConfigName"]},
                "DeploymentConfig": None if settings.endpoint.serverless else _blue_green(settings),
                # As many instances as scaling has chosen; all else as it is written here.
                "RetainAllVariantProperties": True if settings.endpoint.scaling else None,
                "ExcludeRetainedVariantProperties": _excluded_from_retention(settings),
            },
        ),
        **_scaling(settings, release),
    }
    return {name: {**resource, "Condition": ON_AWS} for name, resource in wanted.items()}


def _model(settings: Deployment, release: Release) -> Resource:
    """Return the model; none of its properties can change, so its name has a digest of them."""
    properties = {
        "ExecutionRoleArn": arn("EndpointRole"),
        "EnableNetworkIsolation": None if settings.endpoint.serverless else True,
        "PrimaryContainer": {
            "Image": release.image,
            "ModelDataUrl": sub(f"s3://${{Bucket}}/{release.model}"),
        },
    }
    name = f"{settings.name}-{release.bundle}-{digest([properties, release.features])}"
    return resource("SageMaker::Model", {"ModelName": name, **properties})


def _configuration(settings: Deployment, model: Resource) -> Resource:
    """Return the configuration of the endpoint; like the model's, its name has a digest of all it says."""
    endpoint = settings.endpoint
    variant: dict[str, Any] = {
        "VariantName": VARIANT,
        "ModelName": {"Fn::GetAtt": ["Model", "ModelName"]},
        "InitialVariantWeight": 1,
    }
    if endpoint.serverless:
        variant["ServerlessConfig"] = {
            "MemorySizeInMB": endpoint.serverless.memory_mb,
            "MaxConcurrency": endpoint.serverless.concurrency,
        }
    else:
        variant |= {"InstanceType": endpoint.instance_type, "InitialInstanceCount": endpoint.instances}
    properties = {
        "ProductionVariants": [variant],
        "DataCaptureConfig": None if endpoint.serverless or not endpoint.capture else _capture(settings),
    }
    name = f"{settings.name}-{digest([properties, model['Properties']['ModelName']])}"
    return resource("SageMaker::EndpointConfig", {"EndpointConfigName": name, **properties})


def _capture(settings: Deployment) -> dict[str, Any]:
    return {
        "EnableCapture": True,
        "InitialSamplingPercentage": max(1, round(100 * settings.endpoint.capture)),
        "DestinationS3Uri": sub("s3://${Bucket}/capture/"),
        "CaptureOptions": [{"CaptureMode": "Input"}, {"CaptureMode": "Output"}],
        "CaptureContentTypeHeader": {"JsonContentTypes": ["application/json"]},
    }


def _blue_green(settings: Deployment) -> dict[str, Any]:
    canary = settings.endpoint.canary
    routing: dict[str, Any] = {"Type": "ALL_AT_ONCE", "WaitIntervalInSeconds": canary.wait_s}
    if settings.endpoint.instances > 1:
        share = {"Type": "CAPACITY_PERCENT", "Value": max(1, round(100 * canary.share))}
        routing = {"Type": "CANARY", "CanarySize": share, "WaitIntervalInSeconds": canary.wait_s}
    alarms = {"AutoRollbackConfiguration": {"Alarms": [{"AlarmName": ref(alarm)} for alarm in ROLLBACK]}}
    return {
        "BlueGreenUpdatePolicy": {
            "TrafficRoutingConfiguration": routing,
            "TerminationWaitInSeconds": canary.bake_s,
            "MaximumExecutionTimeoutInSeconds": 3600 + 2 * canary.wait_s + canary.bake_s,
        },
        **(alarms if settings.alarms.roll_back else {}),
    }


def _excluded_from_retention(settings: Deployment) -> list[dict[str, str]] | None:
    return [{"VariantPropertyType": "DataCaptureConfig"}] if settings.endpoint.scaling else None


def _scaling(settings: Deployment, release: Release) -> Resources:
    scaling = settings.endpoint.scaling
    if scaling is None:
        return {}
    what = {"ServiceNamespace": "sagemaker", "ScalableDimension": "sagemaker:variant:DesiredInstanceCount"}
    target = {
        "MinCapacity": settings.endpoint.instances,
        "MaxCapacity": scaling.max_instances,
        "ResourceId": f"endpoint/{endpoint_name(settings, release)}/variant/{VARIANT}",
        **what,
    }
    tracking = {
        "TargetValue": scaling.invocations,
        "PredefinedMetricSpecification": {"PredefinedMetricType": "SageMakerVariantInvocationsPerInstance"},
        "ScaleOutCooldown": 60,
        "ScaleInCooldown": 600,
    }
    policy = {
        "PolicyName": f"{settings.name}-invocations",
        "PolicyType": "TargetTrackingScaling",
        "ScalingTargetId": ref("ScalingTarget"),
        "TargetTrackingScalingPolicyConfiguration": tracking,
    }
    return {
        "ScalingTarget": resource("ApplicationAutoScaling::ScalableTarget", target, DependsOn="Endpoint"),
        "ScalingPolicy": resource("ApplicationAutoScaling::ScalingPolicy", policy),
    }


def _role(settings: Deployment, release: Release) -> Resource:
    pulling = ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"]
    logs = ["logs:CreateLogStream", "logs:DescribeLogStreams", "logs:PutLogEvents"]
    return role(
        f"{settings.name}-endpoint-{release.features}",
        "sagemaker.amazonaws.com",
        [
            allow(["s3:GetObject"], sub("${Bucket.Arn}/releases/*")),
            allow(["s3:PutObject"], sub("${Bucket.Arn}/capture/*")),
            allow(pulling, sub(repository(release.image))),
            # The log-in to the registry has no resource of its own.
            allow(["ecr:GetAuthorizationToken"], "*"),
            allow(logs, arn("EndpointLog")),
            # Without it SageMaker takes no model back.
            allow(["cloudwatch:DescribeAlarms"], *(sub(arn) for arn in rollback_arns(settings))),
        ],
    )


def repository(image: str) -> str:
    """Return the ARN of the repository that an image of ECR lies in.

    >>> repository("123456789012.dkr.ecr.eu-central-1.amazonaws.com/fraud:1.0")
    'arn:${AWS::Partition}:ecr:eu-central-1:123456789012:repository/fraud'
    """
    host, _, path = image.partition("/")
    account, *_, region = [part for part in host.split(".")[:4] if part not in ("dkr", "ecr")]
    name = path.partition("@")[0].partition(":")[0]
    return f"arn:${{AWS::Partition}}:ecr:{region}:{account}:repository/{name}"
