"""What watches the system: alarms that call somebody, alarms that take a new model back."""

from __future__ import annotations

from fraud_detection.deployment.release import Release
from fraud_detection.deployment.settings import Deployment
from fraud_detection.deployment.template.alarm import (
    alarm,
    alarm_below,
    computed,
    of_endpoint,
    of_failures,
    of_function,
    of_stream,
    ours,
    rate_of_some,
    share,
    stability_index,
    without,
)
from fraud_detection.deployment.template.resources import Resource, Resources, resource

ROLLBACK = {
    "EndpointErrors": "endpoint-5xx",
    "EndpointLatency": "endpoint-latency",
    "DeclineRate": "decline-rate",
    "ScoreDrift": "score-drift",
}
"""The alarms that take a new model back: their names in the template, and what their own names end in."""
VARIANT = "live"
SAGEMAKER_MICROSECONDS = 1000
SOME_MINUTES = 5
"""One period of the alarms that watch slow streams too."""
HOUR = {"periods": 12, "of_them": 4}
"""Of the periods of an hour a third: chance makes no series of a few bad events among few."""
MIN_BAD = 2
"""One bad event alone is no share of anything."""


def alarms(settings: Deployment, release: Release, endpoint: str) -> Resources:
    """Return every alarm; those of the new model look only at what that model scored."""
    alarms_by_name = {
        **_flow_alarms(settings),
        **_event_alarms(settings),
        **_model_alarms(settings, release, endpoint),
    }
    if settings.alarms.email is not None:
        alarms_by_name["Calls"] = resource(
            "SNS::Topic",
            {
                # Not encrypted: alarms may not use AWS's own key for topics, and say nothing of anybody.
                "TopicName": f"{settings.name}-alarms",
                "Subscription": [{"Protocol": "email", "Endpoint": settings.alarms.email}],
            },
        )
    return alarms_by_name


def _flow_alarms(settings: Deployment) -> Resources:
    """Return the alarms that call when records are not worked off."""
    counted = ("decided", "duplicates", "labels")
    counts = {"incoming": of_stream("IncomingRecords", settings)}
    counts |= {name: ours(name, settings) for name in counted}
    return {
        "IteratorAge": alarm(
            settings,
            "iterator-age",
            "The iterator age is high: does the function fail, or does the stream need more shards?",
            of_function("IteratorAge", settings) | {"Statistic": "Maximum"},
            1000 * settings.alarms.iterator_age_s,
            periods=3,
        ),
        "FunctionErrors": alarm(
            settings,
            "function-errors",
            "The function fails, and its batches are retried: see its log.",
            of_function("Errors", settings) | {"Statistic": "Sum"},
            0,
            periods=3,
            of_them=2,
        ),
        "StreamUnread": {
            # Lambda asks every shard once a second, whether records come or not.
            **alarm_below(
                settings,
                "stream-unread",
                "The stream is not consumed: is the mapping disabled, paused or lost?",
                of_stream("GetRecords.Success", settings) | {"Statistic": "SampleCount"},
                1,
                periods=5,
            ),
            "DependsOn": "Mapping",
        },
        "NothingDecided": alarm(
            settings,
            "nothing-decided",
            "Records come in and no payment is decided.",
            # What was taken counts whatever became of it, so that a night of labels alone is no alarm.
            computed(counts, without("incoming", counted), SOME_MINUTES),
            0,
            # A record that is decided within a period is decided in the same or in the next one.
            periods=2,
        ),
        "FailuresWaiting": alarm(
            settings,
            "failures-waiting",
            "Batches were dead-lettered: their records are in the stream only as long as it keeps them.",
            of_failures("ApproximateNumberOfMessagesVisible", settings) | {"Statistic": "Maximum"},
            0,
        ),
    }


def _event_alarms(settings: Deployment) -> Resources:
    """Return the alarms that call for what events and payments came to."""
    limits = settings.alarms
    return {
        **_shares(
            settings,
            "QuarantinedRate",
            "quarantined-rate",
            "Events are quarantined: has a producer changed its fields or its encoding?",
            ("quarantined", "(decided + quarantined)", limits.quarantined_rate),
        ),
        **_shares(
            settings,
            "DegradedRate",
            "degraded-rate",
            "Payments are decided without a score: the endpoint is away or refuses the features.",
            # What was decided without a score was answered by no bundle.
            ("degraded", "decided", limits.degraded_rate),
        ),
        "Conflicts": _any(
            settings,
            "conflicts",
            "conflicts",
            "Decided ids arrive again with other content: an attack, or a producer that reuses ids.",
        ),
        "InternalErrors": _any(
            settings,
            "internal-errors",
            "internal_errors",
            "Single payments raised an internal error, and went to review.",
        ),
        "DeclineCap": _any(
            settings,
            "decline-cap",
            "capped",
            "The decline cap is reached: further declines become reviews.",
        ),
    }


def _shares(
    settings: Deployment, key: str, name: str, message: str, of: tuple[str, str, float]
) -> dict[str, Resource]:
    """Return two alarms of one share: of busy minutes, and of an hour in which little comes in."""
    part, whole, limit = of
    counts = {name: ours(name, settings) for name in ("decided", part)}
    at_once = computed(counts, share(part, whole, settings.alarms.min_decisions))
    slowly = computed(counts, rate_of_some(part, whole, MIN_BAD), SOME_MINUTES)
    return {
        key: alarm(settings, name, message, at_once, limit, periods=2),
        f"{key}OfHour": alarm(settings, f"{name}-of-hour", message, slowly, limit, **HOUR),
    }


def _any(settings: Deployment, name: str, count: str, message: str) -> Resource:
    return alarm(settings, name, message, ours(count, settings) | {"Statistic": "Sum"}, 0)


def _model_alarms(settings: Deployment, release: Release, endpoint: str) -> Resources:
    limits = settings.alarms
    scored = {name: ours(name, settings, release.bundle) for name in ("scored", "above_decline")}
    banded = {name: ours(name, settings, release.bundle) for name in ("band0", "band1", "band2", "band3")}
    return {
        "EndpointErrors": alarm(
            settings,
            "endpoint-5xx",
            "The endpoint fails; payments go to review meanwhile.",
            # The mean of a count that is 0 or 1 for each request is the share of those that failed.
            of_endpoint("Invocation5XXErrors", endpoint, VARIANT) | {"Statistic": "Average"},
            limits.error_rate,
            periods=3,
            of_them=2,
        ),
        "EndpointLatency": alarm(
            settings,
            "endpoint-latency",
            "The model answers slowly (99 % of the requests, in microseconds).",
            of_endpoint("ModelLatency", endpoint, VARIANT) | {"ExtendedStatistic": "p99"},
            SAGEMAKER_MICROSECONDS * limits.request_latency_ms,
            periods=3,
        ),
        "DeclineRate": alarm(
            settings,
            "decline-rate",
            f"Bundle {release.bundle} declines too many payments.",
            computed(scored, share("above_decline", "scored", limits.min_decisions)),
            limits.decline_rate,
            periods=2,
        ),
        "ScoreDrift": alarm(
            settings,
            "score-drift",
            f"The scores of bundle {release.bundle} are not distributed as in training.",
            computed(banded, stability_index(release.bands.shares, limits.min_decisions)),
            limits.score_drift,
            periods=5,
        ),
    }


def rollback_arns(settings: Deployment) -> list[str]:
    """Return the ARNs of the alarms that take a new model back, to be filled in by `Fn::Sub`."""
    where = "arn:${AWS::Partition}:cloudwatch:${AWS::Region}:${AWS::AccountId}:alarm:"
    return [f"{where}{settings.name}-{name}" for name in ROLLBACK.values()]
