"""What watches the system: alarms that call somebody, alarms that take a new model back."""

from __future__ import annotations

from typing import Any

from fraud_detection.deploy.pieces import ON_AWS, Resource, Resources, ref, resource
from fraud_detection.deploy.release import Release
from fraud_detection.deploy.settings import Deployment

NAMESPACE = "FraudDetection"
ROLLBACK = {
    "EndpointErrors": "endpoint-5xx",
    "EndpointLatency": "endpoint-latency",
    "DeclineShare": "decline-share",
    "ScoreDrift": "score-drift",
}
"""The alarms that take a new model back: their names in the template, and what their own names end in."""
MINUTE = 60
VARIANT = "live"
SAGEMAKER_MICROSECONDS = 1000


def alarms(settings: Deployment, release: Release, endpoint: str) -> Resources:
    """Return every alarm; those of the new model look only at what that model answered."""
    found = {
        "BehindTime": _alarm(
            settings,
            "behind-time",
            "The oldest record waits too long: is the function failing, or is the stream too narrow?",
            _lambda("IteratorAge", "Maximum", settings),
            1000 * settings.alarms.behind_s,
            minutes=3,
        ),
        "FunctionErrors": _alarm(
            settings,
            "function-errors",
            "The function fails, and its batches are tried again: see its log.",
            _lambda("Errors", "Sum", settings),
            0,
            minutes=3,
            of_them=2,
        ),
        "QuarantinedShare": _alarm(
            settings,
            "quarantined-share",
            "Events cannot be read: has a producer changed its fields or its encoding?",
            _computed(
                {name: _ours(name, settings) for name in ("decided", "quarantined")},
                _share("quarantined", "(decided + quarantined)", settings.alarms.least),
            ),
            settings.alarms.quarantined_share,
            minutes=2,
        ),
        "NothingDecided": _alarm(
            settings,
            "nothing-decided",
            "Records come in and no payment is decided: is the mapping disabled, paused or lost?",
            _idle(settings),
            0,
            minutes=5,
        ),
        "Conflicts": _alarm(
            settings,
            "conflicts",
            "Ids that were decided come again with other content: somebody tries, or a producer repeats ids.",
            _ours("conflicts", settings) | {"Statistic": "Sum"},
            0,
        ),
        "InternalErrors": _alarm(
            settings,
            "internal-errors",
            "The program met an error with single payments, and sent them to review.",
            _ours("internal_errors", settings) | {"Statistic": "Sum"},
            0,
        ),
        "Limited": _alarm(
            settings,
            "limited",
            "The limiter holds: something declines more than it may, and the rest goes to review.",
            _ours("limited", settings) | {"Statistic": "Sum"},
            0,
        ),
        "FailuresWaiting": _alarm(
            settings,
            "failures-waiting",
            "Batches were given up: their records are in the stream only as long as it keeps them.",
            {
                "Namespace": "AWS/SQS",
                "MetricName": "ApproximateNumberOfMessagesVisible",
                "Dimensions": [{"Name": "QueueName", "Value": f"{settings.name}-failures"}],
                "Statistic": "Maximum",
            },
            0,
        ),
        **_model_alarms(settings, release, endpoint),
    }
    if settings.alarms.email is not None:
        found["Calls"] = resource(
            "SNS::Topic",
            {
                # Not encrypted: alarms may not use AWS's own key for topics, and say nothing of anybody.
                "TopicName": f"{settings.name}-alarms",
                "Subscription": [{"Protocol": "email", "Endpoint": settings.alarms.email}],
            },
        )
    return found


def _model_alarms(settings: Deployment, release: Release, endpoint: str) -> Resources:
    limits = settings.alarms
    on_endpoint = {
        "Namespace": "AWS/SageMaker",
        "Dimensions": [
            {"Name": "EndpointName", "Value": endpoint},
            {"Name": "VariantName", "Value": VARIANT},
        ],
    }
    answered = {name: _ours(name, settings, release.bundle) for name in ("answered", "above_decline")}
    # What was decided without a score was answered by no bundle.
    without = {name: _ours(name, settings) for name in ("decided", "degraded")}
    banded = {name: _ours(name, settings, release.bundle) for name in ("band0", "band1", "band2", "band3")}
    return {
        "EndpointErrors": _alarm(
            settings,
            "endpoint-5xx",
            "The endpoint fails; payments go to review meanwhile.",
            # The mean of a count that is 0 or 1 for each request is the share of those that failed.
            {**on_endpoint, "MetricName": "Invocation5XXErrors", "Statistic": "Average"},
            limits.error_share,
            minutes=3,
            of_them=2,
        ),
        "EndpointLatency": _alarm(
            settings,
            "endpoint-latency",
            "The model answers slowly (99 % of the requests, in microseconds).",
            {**on_endpoint, "MetricName": "ModelLatency", "ExtendedStatistic": "p99"},
            SAGEMAKER_MICROSECONDS * limits.latency_ms,
            minutes=3,
        ),
        "DeclineShare": _alarm(
            settings,
            "decline-share",
            f"Bundle {release.bundle} declines more than it may.",
            _computed(answered, _share("above_decline", "answered", limits.least)),
            limits.decline_share,
            minutes=2,
        ),
        "DegradedShare": _alarm(
            settings,
            "degraded-share",
            "Payments are decided without a score: the endpoint is away or refuses the features.",
            _computed(without, _share("degraded", "decided", limits.least)),
            limits.degraded_share,
            minutes=2,
        ),
        "ScoreDrift": _alarm(
            settings,
            "score-drift",
            f"The scores of bundle {release.bundle} are not distributed as in training.",
            _computed(banded, stability_index(release.bands.shares, limits.least)),
            limits.score_drift,
            minutes=5,
        ),
    }


def rollback_arns(settings: Deployment) -> list[str]:
    """Return the ARNs of the alarms that take a new model back, to be filled in by `Fn::Sub`."""
    where = "arn:${AWS::Partition}:cloudwatch:${AWS::Region}:${AWS::AccountId}:alarm:"
    return [f"{where}{settings.name}-{name}" for name in ROLLBACK.values()]


def _idle(settings: Deployment) -> dict[str, Any]:
    """Return how many records came in during a minute in which nothing was taken off the stream.

    What is missing is 0 on both sides: a mapping that is lost leaves no data, a quiet stream none either.
    What was taken counts whatever became of it, so that a night of labels alone is no alarm.
    """
    stream = {
        "Namespace": "AWS/Kinesis",
        "MetricName": "IncomingRecords",
        "Dimensions": [{"Name": "StreamName", "Value": f"{settings.name}-payments"}],
    }
    taken = ("decided", "repeated", "labels")
    counts = {"incoming": stream} | {name: _ours(name, settings) for name in taken}
    done = " + ".join(f"FILL({name}, 0)" for name in taken)
    return _computed(counts, f"IF({done} > 0, 0, FILL(incoming, 0))")


def _share(part: str, whole: str, least: int) -> str:
    return f"IF({whole} >= {least}, {part} / {whole}, 0)"


def stability_index(shares: tuple[float, ...], least: int) -> str:
    """Return `Bands.drift` in CloudWatch's language, 0 below `least` scores a minute.

    >>> stability_index((0.75, 0.25), 10)
    'IF(band0+band1 >= 10, ((band0+0.5)/(band0+band1+1.0)-0.75)*LOG((band0+0.5)/(band0+band1+1.0)/0.75)\
+((band1+0.5)/(band0+band1+1.0)-0.25)*LOG((band1+0.5)/(band0+band1+1.0)/0.25), 0)'
    """
    total = "+".join(f"band{place}" for place in range(len(shares)))
    smoothed = f"({total}+{0.5 * len(shares)})"
    now = [f"(band{place}+0.5)/{smoothed}" for place in range(len(shares))]
    terms = [f"({one}-{share})*LOG({one}/{share})" for one, share in zip(now, shares, strict=True)]
    return f"IF({total} >= {least}, {'+'.join(terms)}, 0)"


def _ours(name: str, settings: Deployment, bundle: str | None = None) -> dict[str, Any]:
    """Return one of the counts that the function logs: of one bundle's answers, or of all."""
    values = {"environment": settings.environment} | ({} if bundle is None else {"bundle": bundle})
    return {
        "Namespace": NAMESPACE,
        "MetricName": name,
        "Dimensions": [{"Name": key, "Value": value} for key, value in values.items()],
    }


def _computed(counts: dict[str, dict[str, Any]], expression: str) -> dict[str, Any]:
    asked = [
        {"Id": name, "ReturnData": False, "MetricStat": {"Metric": count, "Period": MINUTE, "Stat": "Sum"}}
        for name, count in counts.items()
    ]
    return {"Metrics": [*asked, {"Id": "result", "Expression": f"FILL({expression}, 0)", "ReturnData": True}]}


def _lambda(name: str, statistic: str, settings: Deployment) -> dict[str, Any]:
    return {
        "Namespace": "AWS/Lambda",
        "MetricName": name,
        "Dimensions": [{"Name": "FunctionName", "Value": settings.function_name}],
        "Statistic": statistic,
    }


def _alarm(  # noqa: PLR0913 - an alarm is just these
    settings: Deployment,
    name: str,
    words: str,
    metric: dict[str, Any],
    above: float,
    *,
    minutes: int = 1,
    of_them: int | None = None,
) -> Resource:
    calls = [ref("Calls")] if settings.alarms.email is not None else None
    # Local services have no SageMaker, and do not compute.
    on_aws = "Metrics" in metric or metric["Namespace"] == "AWS/SageMaker"
    return resource(
        "CloudWatch::Alarm",
        {
            "AlarmName": f"{settings.name}-{name}",
            "AlarmDescription": words,
            **metric,
            "Period": None if "Metrics" in metric else MINUTE,
            "EvaluationPeriods": minutes,
            "DatapointsToAlarm": of_them,
            "Threshold": above,
            "ComparisonOperator": "GreaterThanThreshold",
            "TreatMissingData": "notBreaching",
            "AlarmActions": calls,
            "OKActions": calls,
        },
        **({"Condition": ON_AWS} if on_aws else {}),
    )
