"""The settings of an event source mapping, read from what Lambda's own API says about it.

A setting that the local mapping cannot keep is refused, never passed over.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

import msgspec

from fraud_detection.adapters.aws.kinesis_consumer import Position
from fraud_detection.core.errors import ConfigError

FOREVER = -1
REPORTS = "ReportBatchItemFailures"
NAMES = {
    "EventSourceArn": "stream_arn",
    "FunctionArn": "function_arn",
    "BatchSize": "batch_size",
    "MaximumBatchingWindowInSeconds": "window_s",
    "ParallelizationFactor": "parallelization_factor",
    "BisectBatchOnFunctionError": "bisect_on_error",
    "MaximumRetryAttempts": "maximum_retry_attempts",
    "MaximumRecordAgeInSeconds": "maximum_record_age_s",
    "StartingPosition": "starting_position",
}
REFUSED = {
    "FilterCriteria": "filters",
    "TumblingWindowInSeconds": "tumbling windows",
}


class MappingSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How records go from a stream to a function; the defaults are AWS's.

    >>> settings = MappingSettings.of({
    ...     "EventSourceArn": "arn:aws:kinesis:eu-central-1:000000000000:stream/payments",
    ...     "FunctionArn": "arn:aws:lambda:eu-central-1:000000000000:function:decide",
    ...     "BatchSize": 500,
    ...     "StartingPosition": "TRIM_HORIZON",
    ...     "FunctionResponseTypes": ["ReportBatchItemFailures"],
    ... })
    >>> settings.batch_size, settings.report_batch_item_failures, settings.maximum_retry_attempts
    (500, True, -1)

    maximum_retry_attempts, maximum_record_age_s: -1 means for ever, that is as long as Kinesis keeps them.
    on_failure: ARN of the SQS queue that gets a message about what was dead-lettered; without it, it is only
    counted. starting_s: where AT_TIMESTAMP starts, seconds since 1970.
    """

    stream_arn: str
    function_arn: str
    starting_position: Position
    batch_size: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 100
    window_s: Annotated[float, msgspec.Meta(ge=0, le=300)] = 0.0
    parallelization_factor: int = 1
    bisect_on_error: bool = False
    maximum_retry_attempts: Annotated[int, msgspec.Meta(ge=-1, le=10_000)] = FOREVER
    maximum_record_age_s: Annotated[int, msgspec.Meta(ge=-1, le=604_800)] = FOREVER
    report_batch_item_failures: bool = False
    on_failure: str | None = None
    starting_s: float | None = None

    def __post_init__(self) -> None:
        """Refuse what would not be kept."""
        if self.parallelization_factor != 1:
            raise ConfigError(
                f"{self.function_arn}: ParallelizationFactor is {self.parallelization_factor}; the local "
                "mapping gives one batch of a shard at a time, as the function needs it: set it to 1"
            )
        if self.on_failure is not None and ":sqs:" not in self.on_failure:
            raise ConfigError(f"{self.on_failure}: the local mapping sends failures to SQS queues only")

    @classmethod
    def of(cls, response: Mapping[str, Any]) -> MappingSettings:
        """Read one mapping as GetEventSourceMapping, or an item of ListEventSourceMappings, gives it."""
        refused = [word for name, word in REFUSED.items() if response.get(name)]
        if refused:
            raise ConfigError(
                f"{response['FunctionArn']}: the local mapping has no {' and no '.join(refused)}"
            )
        settings = {ours: response[name] for name, ours in NAMES.items() if response.get(name) is not None}
        at = response.get("StartingPositionTimestamp")
        more = {
            "report_batch_item_failures": REPORTS in (response.get("FunctionResponseTypes") or ()),
            "on_failure": _destination(response),
            "starting_s": at.timestamp() if isinstance(at, datetime) else at,
        }
        try:
            return msgspec.convert({**settings, **more}, cls, strict=False)
        except msgspec.ValidationError as error:
            raise ConfigError(f"event source mapping of {response.get('FunctionArn')}: {error}") from None


def _destination(response: Mapping[str, Any]) -> str | None:
    on_failure = (response.get("DestinationConfig") or {}).get("OnFailure") or {}
    return on_failure.get("Destination") or None
