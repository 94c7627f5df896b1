"""SageMaker's contract for a container that serves: a bundle of `/opt/ml/model`, behind HTTP on port 8080."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, MutableMapping
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from fraud_detection.adapters.http.messages import Response
from fraud_detection.adapters.http.responses import problem
from fraud_detection.adapters.xgboost.bundle_trial import trusted_scorer
from fraud_detection.core.errors import RejectError
from fraud_detection.core.score.archive import SUFFIX, read_bundle
from fraud_detection.core.score.bundle import Bundle
from fraud_detection.core.score.protocol import (
    Prediction,
    ScoreRequest,
    ScoreResponse,
    read_request,
    write_response,
)
from fraud_detection.core.score.score_bands import Bands
from fraud_detection.serving.sagemaker.privileges import become

ROOT = Path("/opt/ml")
PORT = 8080
ANYWHERE = "0.0.0.0"  # noqa: S104 - a container is reached from outside
MAX_BYTES = 6 << 20
"""SageMaker's own limit of a request."""
MAX_REASONS = 10
READ: tuple[str, ...] = ("GET", "HEAD")
EXECUTION = {"MaxConcurrentTransforms": 1, "BatchStrategy": "MULTI_RECORD", "MaxPayloadInMB": 6}

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class Endpoint:
    """One bundle, checked when it is loaded, ready to score requests."""

    def __init__(self, bundle: Bundle, threads: int = 1) -> None:
        """Make the scorer, checked on the bundle's test vectors."""
        self.bundle = bundle
        self.scorer = trusted_scorer(bundle, threads)
        self.names = bundle.contents.features.names
        self.bands = Bands.of(bundle.contents.reference.score)
        own, chosen = bundle.contents.project.policy.decline_at, bundle.manifest.cutoffs.decline_at
        self.decline_at = chosen if own is None else own

    def invoke(self, body: bytes, content_type: str, accept: str) -> tuple[bytes, str]:
        """Score one request; raise RejectError when nothing in it can be scored."""
        request = read_request(body, content_type, self.names, self.bundle.manifest.fingerprint)
        predictions = self.predict(request)
        scores = [prediction.probability for prediction in predictions if prediction.probability is not None]
        response = ScoreResponse(
            self.bundle.name,
            self.bundle.manifest.fingerprint,
            predictions,
            self.bands.count(scores),
            sum(score >= self.decline_at for score in scores),
        )
        return write_response(response, accept)

    def predict(self, request: ScoreRequest) -> list[Prediction]:
        """Return one prediction a row; rows that could not be read keep their error."""
        good = [index for index, row in enumerate(request.rows) if not isinstance(row, str)]
        rows = [row for row in request.rows if not isinstance(row, str)]
        wanted = {at for at, index in enumerate(good) if index in request.explain}
        scored = iter(self._score(rows, request.explain_at, wanted))
        return [Prediction(error=row) if isinstance(row, str) else next(scored) for row in request.rows]

    def _score(self, rows: list[list[float]], explain_at: float | None, wanted: set[int]) -> list[Prediction]:
        if not rows:
            return []
        explained_from = self.bundle.manifest.cutoffs.review_at if explain_at is None else explain_at
        matrix = np.array(rows, np.float32)
        margins = self.scorer.margins(matrix).tolist()
        probabilities = [self.scorer.calibration.probability(margin) for margin in margins]
        explained = [
            index
            for index, probability in enumerate(probabilities)
            if probability >= explained_from or index in wanted
        ]
        contributions = self.scorer.contributions(matrix[explained])
        reasons = dict(zip(explained, map(self._reasons, contributions), strict=True))
        return [
            Prediction(margin, probability, reasons.get(index, []))
            for index, (margin, probability) in enumerate(zip(margins, probabilities, strict=True))
        ]

    def _reasons(self, contributions: np.ndarray) -> list[tuple[str, float]]:
        order = np.argsort(-contributions, kind="stable")[:MAX_REASONS]
        return [
            (self.names[index], round(float(contributions[index]), 6))
            for index in order
            if contributions[index] > 0
        ]


class Application:
    """An ASGI application: `/ping`, `/invocations`, `/execution-parameters`.

    `/endpoints/NAME/invocations` is what SageMaker's own runtime offers to its callers, so that boto3 can
    be pointed at this server.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        """Take the endpoint."""
        self.endpoint = endpoint

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Respond to one request."""
        if scope["type"] != "http":
            raise ValueError(f"this is an HTTP server, not one for {scope['type']}")
        body = await _body(receive)
        response = self._respond(scope, body)
        headers = [
            (b"content-type", response.kind),
            (b"content-length", b"%d" % len(response.body)),
            *response.headers,
        ]
        await send({"type": "http.response.start", "status": response.status, "headers": headers})
        await send({"type": "http.response.body", "body": response.body})

    def _respond(self, scope: Message, body: bytes) -> Response:
        method, path = scope["method"], str(scope["path"])
        response: Callable[[], Response]
        match path.strip("/").split("/"):
            case ["ping"]:
                allowed, response = READ, partial(Response, 200, b"", b"text/plain")
            case ["execution-parameters"]:
                allowed, response = READ, partial(Response, 200, msgspec.json.encode(EXECUTION))
            case ["invocations"] | ["endpoints", _, "invocations"]:
                allowed, response = ("POST",), partial(self._invoke, scope, body)
            case _:
                return problem(404, f"no such path: {path}")
        if method not in allowed:
            names = ", ".join(allowed)
            return problem(405, f"{path} takes {names}, not {method}", ((b"allow", names.encode()),))
        return response()

    def _invoke(self, scope: Message, body: bytes) -> Response:
        if len(body) > MAX_BYTES:
            return problem(413, f"a request has at most {MAX_BYTES:,} bytes, got {len(body):,}")
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        try:
            content, kind = self.endpoint.invoke(
                body, headers.get("content-type", ""), headers.get("accept", "")
            )
        except RejectError as error:
            return problem(400, str(error))
        return Response(200, content, kind.encode())


async def _body(receive: Receive) -> bytes:
    parts, more, size = [], True, 0
    while more:
        message = await receive()
        part = message.get("body", b"")
        size += len(part)
        # A body that is too large is read to its end and discarded, so that the response can be sent.
        if size <= MAX_BYTES + 1:
            parts.append(part)
        more = message.get("more_body", False)
    return b"".join(parts) if size <= MAX_BYTES else bytes(size)


def load(root: Path = ROOT) -> Endpoint:
    """Load the bundle that SageMaker has unpacked, or an archive of it."""
    model = root / "model"
    archives = sorted(model.glob(f"*{SUFFIX}"))
    return Endpoint(read_bundle(archives[0] if archives else model))


def serve(root: Path = ROOT) -> None:
    """Serve requests until it is ended."""
    from fraud_detection.adapters.http.server import prepare  # noqa: PLC0415 - uvicorn alone needs it

    port, host = os.environ.get("SAGEMAKER_BIND_TO_PORT", PORT), os.environ.get("FRAUD_HOST", ANYWHERE)
    # Requests are served as a user with fewer rights than root, which read the bundle.
    run = prepare(Application(load(root)), int(port), host)
    if user := os.environ.get("FRAUD_RUN_AS"):
        become(user)
    run()
