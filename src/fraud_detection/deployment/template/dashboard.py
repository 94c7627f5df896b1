"""The page with what a person on call looks at first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from fraud_detection.deployment.release import Release
from fraud_detection.deployment.settings import Deployment
from fraud_detection.deployment.template.alarm import MINUTE, NAMESPACE
from fraud_detection.deployment.template.monitoring import VARIANT
from fraud_detection.deployment.template.resources import Resources, resource, sub

STREAM_COUNTS = ("IncomingRecords", "WriteProvisionedThroughputExceeded")


def dashboard(settings: Deployment, release: Release, stream: str, endpoint: str) -> Resources:
    """Return the page with what a person on call looks at first."""
    mine = ["environment", settings.environment]
    ours = [*mine, "bundle", release.bundle]
    function = ["FunctionName", settings.function_name]
    model = ["EndpointName", endpoint, "VariantName", VARIANT]
    queue = ["QueueName", f"{settings.name}-failures"]
    charts = [
        ("Decisions a minute", "Sum", NAMESPACE, ("decided", "declined", "reviewed"), ours),
        ("Refused, or decided without a score", "Sum", NAMESPACE, ("quarantined", "degraded"), mine),
        ("Put to decision, ms", "p99", NAMESPACE, ("iterator_latency_ms",), mine),
        ("Oldest record, ms", "Maximum", "AWS/Lambda", ("IteratorAge",), function),
        ("Function", "Sum", "AWS/Lambda", ("Invocations", "Errors", "Throttles"), function),
        ("Stream", "Sum", "AWS/Kinesis", STREAM_COUNTS, ["StreamName", stream]),
        ("Endpoint, p99 in microseconds", "p99", "AWS/SageMaker", ("ModelLatency", "OverheadLatency"), model),
        ("Batches dead-lettered", "Maximum", "AWS/SQS", ("ApproximateNumberOfMessagesVisible",), queue),
    ]
    widgets = [_chart(index, *chart) for index, chart in enumerate(charts)]
    body = msgspec.json.encode({"widgets": widgets}).decode()
    properties = {"DashboardName": settings.name, "DashboardBody": sub(body)}
    return {"Dashboard": resource("CloudWatch::Dashboard", properties)}


def _chart(
    index: int, title: str, statistic: str, namespace: str, names: Sequence[str], dimensions: list[str]
) -> dict[str, Any]:
    return {
        "type": "metric",
        "x": 12 * (index % 2),
        "y": 6 * (index // 2),
        "width": 12,
        "height": 6,
        "properties": {
            "title": title,
            "region": "${AWS::Region}",
            "stat": statistic,
            "period": MINUTE,
            "metrics": [[namespace, name, *dimensions] for name in names],
        },
    }
