"""State of a deployment for a person on call: alarms, failure queue, endpoint, age of waiting records."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from fraud_detection.core.errors import ConfigError

MINUTES_BACK = 5


class StackMonitor:
    """Questions to AWS's services; `clients` makes boto3's client of each by its name."""

    def __init__(self, clients: Callable[[str], Any]) -> None:
        """Take the factory of clients."""
        self._clients = clients

    def alarms(self, prefix: str) -> dict[str, str]:
        """Return the state of every alarm whose name begins so: OK, ALARM or INSUFFICIENT_DATA."""
        response = _call(lambda: self._clients("cloudwatch").describe_alarms(AlarmNamePrefix=prefix))
        return {alarm["AlarmName"]: alarm["StateValue"] for alarm in response.get("MetricAlarms", [])}

    def waiting(self, queue_url: str) -> int:
        """Return how many messages wait in a queue."""
        name = "ApproximateNumberOfMessages"
        request = {"QueueUrl": queue_url, "AttributeNames": [name]}
        response = _call(lambda: self._clients("sqs").get_queue_attributes(**request))
        return int(response["Attributes"][name])

    def endpoint(self, name: str) -> str:
        """Return the status of an endpoint, and of a model deployment under way."""
        response = _call(lambda: self._clients("sagemaker").describe_endpoint(EndpointName=name))
        pending = response.get("PendingDeploymentSummary")
        going_out = f", {pending['EndpointConfigName']} is going out" if pending else ""
        return f"{response['EndpointStatus']} ({response['EndpointConfigName']}{going_out})"

    def oldest_ms(self, function: str) -> float | None:
        """Return the age of the oldest record that waited in the last minutes; None where nobody counted."""
        now = dt.datetime.now(dt.UTC)
        request = {
            "Namespace": "AWS/Lambda",
            "MetricName": "IteratorAge",
            "Dimensions": [{"Name": "FunctionName", "Value": function}],
            "StartTime": now - dt.timedelta(minutes=MINUTES_BACK),
            "EndTime": now,
            "Period": 60,
            "Statistics": ["Maximum"],
        }
        datapoints = _call(lambda: self._clients("cloudwatch").get_metric_statistics(**request))["Datapoints"]
        return max((float(datapoint["Maximum"]) for datapoint in datapoints), default=None)


def _call(call: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    try:
        return call()
    except (ClientError, BotoCoreError) as error:
        raise ConfigError(f"AWS refuses: {error}") from None
