"""The child that tries a function out; it is run by its path, and sees only what it is given.

    python -I -S preflight_child.py < TRIAL    # JSON, see `preflight.Trial`

It ends with 0 when a payment was decided, else with the reason as the last line of its standard error.
"""

from __future__ import annotations

import base64
import json
import os
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

NUMBER = "49590338271490256608559692538361571095921575989136588898"
SHARD = "shardId-000000000000"
BANDS = 4


def main() -> str:
    """Decide one payment; return what went wrong, empty where nothing did."""
    trial = json.load(sys.stdin)
    sys.path[:0] = [trial["task"], trial["libraries"]]
    function = import_module(trial["handler"].rpartition(".")[0])
    # Only from here on: what the package lacks must not come from elsewhere.
    import_module("fraud_detection").__path__.append(trial["fakes"])
    services = _services()
    processor = function.make_processor(os.environ, lambda _: None, services.__getitem__)
    record = import_module("fraud_detection.serving.aws_lambda.batch").ShardEvent(
        NUMBER, base64.b64decode(trial["event"]), 0.0
    )
    if failed := processor.handle(SHARD, [record]):
        return f"it reported record {failed[0]} as failed"
    if services["s3"].objects:
        return f"it quarantined a payment that fits its schema: {_set_aside(services['s3'].objects)}"
    items = services["dynamodb"].tables.get(os.environ["FRAUD_DECISIONS_TABLE"], {})
    # The journals' keys begin with a line end, which no id of a payment does.
    if all(key.startswith("\n") for key in items):
        return "it stored no decision on the payment"
    return "" if services["sagemaker-runtime"].calls else "it did not call the endpoint"


def _services() -> dict[str, Any]:
    fakes = import_module("fraud_detection.testing.aws_fakes")
    services = {
        "dynamodb": import_module("fraud_detection.testing.dynamodb_fake").FakeDynamo(),
        "s3": fakes.FakeS3(),
        "sagemaker-runtime": fakes.FakeRuntime(_score),
    }
    if os.environ.get("FRAUD_PROFILES_STORE") == "feature-store":
        store = import_module("fraud_detection.testing.feature_store_fake")
        services["sagemaker-featurestore-runtime"] = store.FakeFeatureStore(_groups())
    return services


def _groups() -> list[str]:
    names = import_module("fraud_detection.adapters.aws.state.feature_store_schema")
    project = json.loads(Path(os.environ["FRAUD_BUNDLE"], "project.json").read_bytes())
    return [
        names.group_name(os.environ["FRAUD_FEATURE_GROUPS"], entity)
        for entity in project["schema"]["entities"]
    ]


def _score(body: bytes) -> bytes:
    """Return an endpoint's response: a probability of one half for each row."""
    request = json.loads(body)
    prediction = {"score": 0.0, "probability": 0.5, "reasons": []}
    response = {
        "bundle": "preflight",
        "fingerprint": request["fingerprint"],
        "predictions": [prediction] * len(request["rows"]),
    }
    return json.dumps(response | {"bands": [0] * BANDS, "above_decline": 0}).encode()


def _set_aside(objects: dict[Any, bytes]) -> str:
    item = json.loads(next(iter(objects.values())))
    return f"{item.get('reason')} at {item.get('path')}"


if __name__ == "__main__":
    error = main()
    if error:
        sys.exit(error)
