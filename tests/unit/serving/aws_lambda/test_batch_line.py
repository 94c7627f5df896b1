"""The line of a batch carries the metrics: nothing that is sent may make it longer than the log takes."""

from __future__ import annotations

import json

from fraud_detection.adapters.aws.sagemaker_endpoint import NOTHING
from fraud_detection.serving.aws_lambda.decision_log import Batch, DecisionLog

MAX_BYTES = 256 * 1024 - 26


def test_a_thousand_unknown_fields_with_long_names_do_not_cost_the_metrics() -> None:
    drift = [("unknown", f"{index}" + "\u20ac" * 5_000, 1) for index in range(1_000)]
    batch = Batch("shard", {}, [1.0] * 500, 0, drift, "x" * 300_000)
    line = DecisionLog("test", "key").batch(batch, [], NOTHING)
    assert len(line) < MAX_BYTES
    record = json.loads(line)
    assert record["drift_left_out"] == 900
    assert record["_aws"]["CloudWatchMetrics"]
