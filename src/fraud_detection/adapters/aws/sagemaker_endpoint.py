"""A model behind a SageMaker endpoint: one call for a whole batch, within a budget of time.

What the endpoint cannot answer in time is a RetryError, and the policy then sends the payments to review.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Sequence
from typing import Any, Protocol

from botocore.exceptions import BotoCoreError, ClientError

from fraud_detection.core.errors import RejectError, RetryError
from fraud_detection.core.score.protocol import JSON, ScoreResponse, read_response, write_request

MAX_REQUEST_BYTES = 4_000_000
"""What an endpoint without instances takes; one on instances takes 6 MiB."""
INITIAL_BACKOFF_S = 0.02
TRANSIENT = {"ThrottlingException", "ServiceUnavailable", "ServiceUnavailableException", "InternalFailure",
             "InternalDependencyException", "ModelNotReadyException", "ModelError"}  # fmt: skip
"""What may be answered differently in a moment; a model error is one while an instance is replaced."""


NOTHING = ScoreResponse("", "", [])


class RuntimeClient(Protocol):
    """The one call of boto3's client that is used."""

    def invoke_endpoint(self, **arguments: object) -> dict[str, Any]:
        """Send a body to an endpoint."""


class SageMakerScorer:
    """A Scorer that calls an endpoint, and caches the reasons that came with the last scores.

    budget_s: how long one batch may take, retries included; the client's own time-outs must be shorter.
    explain_at: rows from this probability on come with reasons.
    response: what the endpoint said of the last batch; no bundle when it said nothing.  last_error: why.
    seconds: how long it took.
    """

    def __init__(  # noqa: PLR0913 - what it asks, of whom, and how patiently
        self,
        client: RuntimeClient,
        endpoint: str,
        names: Sequence[str],
        fingerprint: str,
        *,
        explain_at: float,
        budget_s: float,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        """Take boto3's client and what the endpoint's model must have been trained on."""
        self.response, self.last_error = NOTHING, ""
        self.seconds = 0.0
        self._client, self._endpoint = client, endpoint
        self._names, self._fingerprint = tuple(names), fingerprint
        self._index_of = {name: index for index, name in enumerate(names)}
        self._explain_at, self._budget_s = explain_at, budget_s
        self._clock, self._pause = clock, pause
        self._reasons: dict[int, list[tuple[str, float]]] = {}

    def forget(self) -> None:
        """Begin a batch: no call was made for it yet, and none is needed if no payment of it is new."""
        self.response, self.last_error, self.seconds = NOTHING, "", 0.0

    def score(self, rows: Sequence[Sequence[float]], explained: Collection[int] = ()) -> list[float]:
        """Return one probability a row; raise RetryError when the endpoint did not answer in time.

        A row that the model refused is NaN, which no policy takes for an approval.
        """
        self.response, self.last_error, began = NOTHING, "", self._clock()
        try:
            self.response = self._request_scores(rows, self._explain_at, explained)
        except RetryError as error:
            self.last_error = str(error)
            raise
        finally:
            self.seconds = self._clock() - began
        predictions = self.response.predictions
        self._reasons = {
            id(row): prediction.reasons
            for index, (row, prediction) in enumerate(zip(rows, predictions, strict=True))
            if prediction.probability is not None
            and (prediction.probability >= self._explain_at or index in explained)
        }
        return [
            math.nan if prediction.probability is None else prediction.probability
            for prediction in predictions
        ]

    def contributions(self, rows: Sequence[Sequence[float]]) -> list[list[float]]:
        """Return the strongest contributions of each row, in log-odds; of the weaker ones nothing is known.

        Rows of the last batch whose reasons came with their scores are not asked for again.
        """
        absent = [row for row in rows if id(row) not in self._reasons]
        if absent:
            predictions = self._request_scores(absent, 0.0, ()).predictions
            self._reasons |= {
                id(row): prediction.reasons for row, prediction in zip(absent, predictions, strict=True)
            }
        return [self._by_feature(self._reasons[id(row)]) for row in rows]

    def _by_feature(self, reasons: list[tuple[str, float]]) -> list[float]:
        row = [0.0] * len(self._names)
        for name, value in reasons:
            if name in self._index_of:
                row[self._index_of[name]] = value
        return row

    def _request_scores(
        self, rows: Sequence[Sequence[float]], explain_at: float, explained: Collection[int]
    ) -> ScoreResponse:
        bodies = self._requests(rows, explain_at, explained)
        deadline, pause = self._clock() + self._budget_s, INITIAL_BACKOFF_S
        while True:
            try:
                response = self._joined([self._invoke(body) for body in bodies])
            except RetryError:
                if self._clock() + pause >= deadline:
                    raise
                self._pause(pause)
                pause *= 2
                continue
            if len(response.predictions) != len(rows):
                raise RetryError(
                    f"endpoint {self._endpoint}: {len(response.predictions)} answers for {len(rows)} rows"
                )
            return response

    def _requests(
        self, rows: Sequence[Sequence[float]], explain_at: float, explained: Collection[int]
    ) -> list[bytes]:
        """Return one request for all rows, or several where one were larger than an endpoint takes."""
        body = write_request(rows, self._names, self._fingerprint, explain_at, explained)
        if len(body) <= MAX_REQUEST_BYTES or len(rows) == 1:
            return [body]
        half = len(rows) // 2
        first = [index for index in explained if index < half]
        second = [index - half for index in explained if index >= half]
        return [
            *self._requests(rows[:half], explain_at, first),
            *self._requests(rows[half:], explain_at, second),
        ]

    def _joined(self, responses: list[ScoreResponse]) -> ScoreResponse:
        """Return the answers to the parts of a batch as one; raise RetryError where bundles differ."""
        if len(responses) == 1:
            return responses[0]
        if len({response.bundle for response in responses}) > 1:
            raise RetryError(f"endpoint {self._endpoint}: two bundles answered parts of one batch")
        return ScoreResponse(
            responses[0].bundle,
            responses[0].fingerprint,
            [prediction for response in responses for prediction in response.predictions],
            [sum(counts) for counts in zip(*(response.bands for response in responses), strict=True)],
            sum(response.above_decline for response in responses),
        )

    def _invoke(self, body: bytes) -> ScoreResponse:
        try:
            response = self._client.invoke_endpoint(
                EndpointName=self._endpoint, ContentType=JSON, Accept=JSON, Body=body
            )
            return read_response(response["Body"].read())
        except ClientError as error:
            code = error.response["Error"]["Code"]
            kind = "busy or away" if code in TRANSIENT else "refuses the request"
            raise RetryError(f"endpoint {self._endpoint} is {kind}: {error}") from None
        except (BotoCoreError, RejectError, OSError) as error:
            raise RetryError(f"endpoint {self._endpoint} did not answer: {error}") from None
