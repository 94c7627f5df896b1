"""One suite for an endpoint: on the fake, and on moto's server, which responds as scripted."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import count
from typing import Any
from urllib.request import Request, urlopen

import pytest
from botocore.exceptions import ClientError

from fraud_detection.adapters.aws.sagemaker_endpoint import SageMakerScorer
from fraud_detection.core.errors import RetryError
from fraud_detection.testing.aws_fakes import FakeRuntime, refusal

NAMES = ["amount", "count"]
AMOUNTS = count(1)
Start = Callable[[bytes], Any]
"""Takes what the endpoint answers, and gives a client."""


@pytest.fixture(params=["fake", pytest.param("moto", marks=pytest.mark.long)])
def start(request: pytest.FixtureRequest) -> Start:
    if request.param == "fake":
        return lambda response: FakeRuntime(lambda _: response)
    client = request.getfixturevalue("moto")("sagemaker-runtime")

    def respond(response: bytes) -> Any:  # noqa: ANN401 - botocore's client has no type
        results = [{"Body": response.decode(), "ContentType": "application/json"}]
        request = json.dumps({"region": client.meta.region_name, "results": results}).encode()
        address = f"{client.meta.endpoint_url}/moto-api/static/sagemaker/endpoint-results"
        with urlopen(Request(address, request, {"Content-Type": "application/json"})):  # noqa: S310 - our own server
            return client

    return respond


def scorer(client: Any) -> SageMakerScorer:  # noqa: ANN401 - botocore's client has no type
    return SageMakerScorer(
        client, "fraud", NAMES, "f" * 8, explain_at=0.5, budget_s=0.1, pause=lambda _: None
    )


def rows() -> list[list[float]]:
    """Return two rows that were never asked before: moto's server answers equal requests alike."""
    return [[float(next(AMOUNTS)), 2.0], [3.0, 4.0]]


def response(*probabilities: float) -> bytes:
    predictions = [{"score": p, "probability": p, "reasons": [["count", 2.0]]} for p in probabilities]
    counts = {"bands": [0, 0, 0, 0], "above_decline": 0}
    return json.dumps({"bundle": "b1", "fingerprint": "f" * 8, "predictions": predictions, **counts}).encode()


def test_the_scores_and_reasons_of_a_response_arrive(start: Start) -> None:
    request, two = scorer(start(response(0.25, 0.75))), rows()
    assert request.score(two) == [0.25, 0.75]
    assert request.contributions(two[1:]) == [[0.0, 2.0]]
    assert request.response.bundle == "b1"


@pytest.mark.parametrize("body", [b"no JSON", response(0.25)])
def test_a_response_that_cannot_be_used_is_retried_later(start: Start, body: bytes) -> None:
    with pytest.raises(RetryError):
        scorer(start(body)).score(rows())


class TestFake:
    """What moto's server has not: it answers a constant under any name, to any body."""

    def test_a_body_that_is_too_large_is_refused_before_the_model_sees_it(self) -> None:
        seen: list[bytes] = []

        def model(body: bytes) -> bytes:
            seen.append(body)
            return b""

        endpoint = FakeRuntime(model, max_bytes=3)
        endpoint.invoke_endpoint(EndpointName="e", Body=b"123")
        with pytest.raises(ClientError, match="ValidationError"):
            endpoint.invoke_endpoint(EndpointName="e", Body=b"1234")
        assert seen == [b"123"]

    def test_a_busy_endpoint_is_retried(self) -> None:
        endpoint = FakeRuntime(lambda _: response(0.25, 0.75))
        errors = [refusal("ThrottlingException", "InvokeEndpoint")] * 2

        def busy() -> None:
            if errors:
                raise errors.pop()

        endpoint.fault = busy
        assert scorer(endpoint).score(rows()) == [0.25, 0.75]
        assert endpoint.calls == 3
