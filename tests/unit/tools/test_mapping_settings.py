"""Settings as Lambda's API gives them: the defaults are AWS's, and what is not kept is refused."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from fraud_detection.core.errors import ConfigError
from tools.local_aws.mapping_settings import MappingSettings

RESPONSE: dict[str, Any] = {
    "UUID": "1",
    "EventSourceArn": "arn:aws:kinesis:eu-central-1:000000000000:stream/payments",
    "FunctionArn": "arn:aws:lambda:eu-central-1:000000000000:function:decide",
    "StartingPosition": "TRIM_HORIZON",
    "State": "Disabled",
}


def test_what_is_not_said_has_the_defaults_of_aws() -> None:
    settings = MappingSettings.of(RESPONSE)
    assert (settings.batch_size, settings.window_s, settings.maximum_retry_attempts) == (100, 0, -1)
    assert (settings.bisect_on_error, settings.report_batch_item_failures) == (False, False)
    assert (settings.maximum_record_age_s, settings.on_failure) == (-1, None)


def test_every_setting_is_read() -> None:
    settings = MappingSettings.of(
        {
            **RESPONSE,
            "BatchSize": 500,
            "MaximumBatchingWindowInSeconds": 2,
            "ParallelizationFactor": 1,
            "BisectBatchOnFunctionError": True,
            "MaximumRetryAttempts": 0,
            "MaximumRecordAgeInSeconds": 3600,
            "FunctionResponseTypes": ["ReportBatchItemFailures"],
            "DestinationConfig": {"OnFailure": {"Destination": "arn:aws:sqs:eu-central-1:0:failed"}},
            "StartingPosition": "AT_TIMESTAMP",
            "StartingPositionTimestamp": datetime.fromtimestamp(5, UTC),
        }
    )
    assert settings == MappingSettings(
        RESPONSE["EventSourceArn"],
        RESPONSE["FunctionArn"],
        "AT_TIMESTAMP",
        batch_size=500,
        window_s=2,
        bisect_on_error=True,
        maximum_retry_attempts=0,
        maximum_record_age_s=3600,
        report_batch_item_failures=True,
        on_failure="arn:aws:sqs:eu-central-1:0:failed",
        starting_s=5.0,
    )


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"ParallelizationFactor": 2}, "ParallelizationFactor is 2"),
        ({"FilterCriteria": {"Filters": [{"Pattern": "{}"}]}}, "no filters"),
        ({"TumblingWindowInSeconds": 30}, "no tumbling windows"),
        ({"DestinationConfig": {"OnFailure": {"Destination": "arn:aws:sns:x:0:t"}}}, "SQS"),
        ({"BatchSize": 0}, r"batch_size"),
        ({"BatchSize": 10_001}, r"batch_size"),
        ({"MaximumRetryAttempts": -2}, "maximum_retry_attempts"),
        ({"StartingPosition": "NOW"}, "starting_position"),
    ],
)
def test_what_cannot_be_kept_is_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        MappingSettings.of({**RESPONSE, **wrong})
