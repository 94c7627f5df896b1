"""One alarm: what it measures, over which periods, and from when on it calls.

What CloudWatch documents of data that are missing is what the alarms rest on; where it documents nothing
(`FILL` of a metric that never had a value), no alarm depends on it alone.
"""

from __future__ import annotations

from typing import Any

from fraud_detection.deployment.settings import Deployment
from fraud_detection.deployment.template.resources import ON_AWS, Resource, ref, resource

NAMESPACE = "FraudDetection"
MINUTE = 60
MANY = 1_000_000_000
"""More records than ever come in during one period."""


def alarm(  # noqa: PLR0913 - an alarm is just these
    settings: Deployment,
    name: str,
    message: str,
    metric: dict[str, Any],
    above: float,
    *,
    periods: int = 1,
    of_them: int | None = None,
) -> Resource:
    """Return an alarm that stands when `of_them` (all) of the last periods lie above a value.

    A period without data does not count as above.
    """
    calls = [ref("Calls")] if settings.alarms.email is not None else None
    # Local services have no SageMaker, measure no streams and do not compute.
    on_aws = "Metrics" in metric or metric["Namespace"] in ("AWS/SageMaker", "AWS/Kinesis")
    return resource(
        "CloudWatch::Alarm",
        {
            "AlarmName": f"{settings.name}-{name}",
            "AlarmDescription": message,
            **metric,
            "Period": None if "Metrics" in metric else MINUTE,
            "EvaluationPeriods": periods,
            "DatapointsToAlarm": of_them,
            "Threshold": above,
            "ComparisonOperator": "GreaterThanThreshold",
            "TreatMissingData": "notBreaching",
            "AlarmActions": calls,
            "OKActions": calls,
        },
        **({"Condition": ON_AWS} if on_aws else {}),
    )


def alarm_below(
    settings: Deployment, name: str, message: str, metric: dict[str, Any], below: float, *, periods: int
) -> Resource:
    """Return an alarm that stands when all of the last periods lie below a value, or have none at all."""
    low_alarm = alarm(settings, name, message, metric, below, periods=periods)
    low_alarm["Properties"] |= {"ComparisonOperator": "LessThanThreshold", "TreatMissingData": "breaching"}
    return low_alarm


def ours(name: str, settings: Deployment, bundle: str | None = None) -> dict[str, Any]:
    """Return one of the counts that the function logs: of one bundle's scores, or of all."""
    values = {"environment": settings.environment} | ({} if bundle is None else {"bundle": bundle})
    return _metric(NAMESPACE, name, **values)


def of_function(name: str, settings: Deployment) -> dict[str, Any]:
    """Return a metric that Lambda makes of the function."""
    return _metric("AWS/Lambda", name, FunctionName=settings.function_name)


def of_stream(name: str, settings: Deployment) -> dict[str, Any]:
    """Return a metric that Kinesis makes of the stream."""
    return _metric("AWS/Kinesis", name, StreamName=f"{settings.name}-payments")


def of_failures(name: str, settings: Deployment) -> dict[str, Any]:
    """Return a metric that SQS makes of the queue of dead-lettered batches."""
    return _metric("AWS/SQS", name, QueueName=f"{settings.name}-failures")


def of_endpoint(name: str, endpoint: str, variant: str) -> dict[str, Any]:
    """Return a metric that SageMaker makes of the endpoint."""
    return _metric("AWS/SageMaker", name, EndpointName=endpoint, VariantName=variant)


def _metric(namespace: str, name: str, **dimensions: str) -> dict[str, Any]:
    named = [{"Name": key, "Value": value} for key, value in dimensions.items()]
    return {"Namespace": namespace, "MetricName": name, "Dimensions": named}


def computed(counts: dict[str, dict[str, Any]], expression: str, minutes: int = 1) -> dict[str, Any]:
    """Return what an expression makes of sums over so many minutes, by name."""
    queries = [
        {
            "Id": name,
            "ReturnData": False,
            "MetricStat": {"Metric": count, "Period": minutes * MINUTE, "Stat": "Sum"},
        }
        for name, count in counts.items()
    ]
    return {"Metrics": [*queries, {"Id": "result", "Expression": expression, "ReturnData": True}]}


def share(part: str, whole: str, min_count: int) -> str:
    """Return the share of a part in a whole, 0 where the whole is less than `min_count`."""
    return f"IF({whole} >= {min_count}, {part} / {whole}, 0)"


def rate_of_some(part: str, whole: str, min_count: int) -> str:
    """Return the share of a part in a whole, 0 where the part is less than `min_count`."""
    return f"IF({part} >= {min_count}, {part} / {whole}, 0)"


def without(incoming: str, counted: tuple[str, ...]) -> str:
    """Return how many came in during a period in which nothing was taken, else 0 or less.

    A number wherever one of the metrics has one: CloudWatch skips a period without for an older one.

    >>> without("incoming", ("decided",))
    'SUM([FILL(incoming, 0), -1000000000 * FILL(decided, 0)])'
    """
    parts = [f"FILL({incoming}, 0)", *(f"-{MANY} * FILL({name}, 0)" for name in counted)]
    return f"SUM([{', '.join(parts)}])"


def stability_index(shares: tuple[float, ...], min_count: int) -> str:
    """Return `Bands.drift` in CloudWatch's language, 0 below `min_count` scores a minute.

    >>> stability_index((0.75, 0.25), 10)
    'IF(band0+band1 >= 10, ((band0+0.5)/(band0+band1+1.0)-0.75)*LOG((band0+0.5)/(band0+band1+1.0)/0.75)\
+((band1+0.5)/(band0+band1+1.0)-0.25)*LOG((band1+0.5)/(band0+band1+1.0)/0.25), 0)'
    """
    total = "+".join(f"band{index}" for index in range(len(shares)))
    smoothed = f"({total}+{0.5 * len(shares)})"
    now = [f"(band{index}+0.5)/{smoothed}" for index in range(len(shares))]
    terms = [
        f"({share_now}-{share})*LOG({share_now}/{share})"
        for share_now, share in zip(now, shares, strict=True)
    ]
    return f"IF({total} >= {min_count}, {'+'.join(terms)}, 0)"
