"""HTTP routes: read requests, write responses, and leave deciding to `batcher`.

Payments and labels are passed on as received, so that what cannot be decided is quarantined unchanged.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any
from urllib.parse import unquote

import msgspec

from fraud_detection.adapters.http.messages import Request, Response
from fraud_detection.adapters.http.responses import PROBLEM, problem
from fraud_detection.core.decision_record import (
    conflict_record,
    decision_record,
    duplicate_record,
    encode,
    label_record,
    quarantine_record,
)
from fraud_detection.core.errors import RejectError, RetryError
from fraud_detection.core.events import Conflict, Label, Quarantined
from fraud_detection.core.id_text import canonical_id
from fraud_detection.core.lenient_json import BOM, items
from fraud_detection.core.outcomes import Duplicate, Forbidden
from fraud_detection.core.parse.times import TOO_FAR_IN_FUTURE
from fraud_detection.history.label_file import as_label, as_label_or_as_it_is
from fraud_detection.serving.http import batcher
from fraud_detection.serving.http.api_keys import Access, Caller, Role
from fraud_detection.serving.http.batcher import DecisionView, RequestBatcher
from fraud_detection.serving.http.prometheus import exposition
from fraud_detection.serving.http.request_identity import is_key, request_identities

OnResult = Callable[[Response], None]
Reply = tuple[int, bytes]
Handler = Callable[[Request, OnResult], None]

MAX_EVENTS = 500
GZIP = b"\x1f\x8b"
TEXT = b"text/plain; version=0.0.4"


class Problem(Exception):  # noqa: N818 - a response, not an error of ours
    """Ends a request with a status and a message; `later`: seconds until a retry."""

    def __init__(self, status: int, message: str, later: float | None = None) -> None:
        """Take status and message."""
        super().__init__(message)
        self.status, self.later = status, later
        self.headers: tuple[tuple[bytes, bytes], ...] = ()


class Api:
    """`/v1/decisions`, `/v1/labels`, `/healthz`, `/readyz`, `/metrics`, `/openapi.json`."""

    def __init__(self, requests: RequestBatcher, access: Access, openapi: bytes) -> None:
        """Take the batcher, the keys, and the OpenAPI document."""
        self.requests, self.access, self.openapi = requests, access, openapi
        self.statuses: dict[int, int] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._routes: dict[tuple[str, str], Handler] = {
            ("POST", "/v1/decisions"): self._decide,
            ("POST", "/v1/labels"): self._label,
            ("GET", "/healthz"): self._health,
            ("GET", "/readyz"): self._ready,
            ("GET", "/metrics"): self._metrics,
            ("GET", "/openapi.json"): self._describe,
        }

    def take(self, request: Request, on_result: OnResult) -> None:
        """Respond to one request, now or when its decisions are made."""

        def counted(response: Response) -> None:
            self.statuses[response.status] = self.statuses.get(response.status, 0) + 1
            on_result(response)

        try:
            self._route(request)(request, counted)
        except (Problem, RetryError) as problem:
            counted(refusal(problem))

    def later(self, work: Coroutine[Any, Any, Response], on_result: OnResult) -> None:
        """Respond when asynchronous work is done."""
        task = asyncio.get_running_loop().create_task(self._respond(work, on_result))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _respond(self, work: Coroutine[Any, Any, Response], on_result: OnResult) -> None:
        try:
            with self.requests.health.guarded:
                response = await _or_rejection(work)
        except RetryError as problem:
            response = refusal(problem)
        on_result(response)

    def _route(self, request: Request) -> Handler:
        # The connection drops the body of a response to HEAD.
        method = "GET" if request.method == "HEAD" else request.method
        handler = self._routes.get((method, request.path))
        if handler is not None:
            return handler
        known = [method for method, path in self._routes if path == request.path]
        if request.path.startswith("/v1/decisions/"):
            if method == "GET":
                return self._find
            known = ["GET"]
        if known:
            allow = ", ".join([*known, "HEAD"] if "GET" in known else known)
            problem = Problem(405, f"{request.path} takes {allow}, not {request.method}")
            problem.headers = ((b"allow", allow.encode()),)
            raise problem
        raise Problem(404, f"no such path: {request.path}; /openapi.json describes what there is")

    def _decide(self, request: Request, on_result: OnResult) -> None:
        # An event's type is known when it is parsed: its sender's role is checked there.
        caller = self._allowed(request, "decide", "label")
        if not is_key(request.key):
            raise Problem(400, "an Idempotency-Key has 1 to 255 printable ASCII characters without spaces")
        self._take(caller, request.body, on_result, request.key)

    def _label(self, request: Request, on_result: OnResult) -> None:
        caller = self._allowed(request, "label")
        events, many = events_of(request.body)
        try:
            typed = [as_label_or_as_it_is(event) if many else as_label(event) for event in events]
        except RejectError as error:
            raise Problem(400, error.reason) from None
        self._take(caller, b"[" + b",".join(typed) + b"]" if many else typed[0], on_result, None)

    def _take(self, caller: Caller, body: bytes, on_result: OnResult, key: bytes | None) -> None:
        events, many = events_of(body)
        early = caller.spend(len(events))
        if early:
            raise too_early(caller, early)
        if len(events) > self.requests.max_queue:
            raise Problem(413, f"a list may have {self.requests.max_queue} events here, got {len(events)}")

        def respond(results: list[batcher.Result] | RetryError) -> None:
            on_result(refusal(results) if isinstance(results, RetryError) else together(results, many=many))

        identities = request_identities(caller.name, key, len(events), many=many)
        self.requests.enqueue(events, respond, caller.sender, identities)

    def _find(self, request: Request, on_result: OnResult) -> None:
        transaction_id = self.requested_id(request)
        view = self.requests.find(transaction_id)
        if view is None:
            raise Problem(404, f"no decision on {transaction_id!r}")
        on_result(alone(*encode_result(view)))

    def requested_id(self, request: Request) -> str:
        """Return the id whose decision is requested, after checking role and rate limit."""
        caller = self._allowed(request, "read")
        early = caller.spend(1)
        if early:
            raise too_early(caller, early)
        try:
            return canonical_id(unquote(request.path.removeprefix("/v1/decisions/"), errors="strict").strip())
        except UnicodeDecodeError:
            raise Problem(
                400, "the id in the path is not text in UTF-8, with % before each other byte"
            ) from None

    def _health(self, _: Request, on_result: OnResult) -> None:
        on_result(Response(OK, b'{"status":"alive"}'))

    def _ready(self, _: Request, on_result: OnResult) -> None:
        readiness = self.requests.readiness()
        on_result(Response(OK if readiness.serves else UNAVAILABLE, msgspec.json.encode(readiness)))

    def _metrics(self, request: Request, on_result: OnResult) -> None:
        self._allowed(request, "operate")
        on_result(Response(OK, exposition(self.requests, self.statuses).encode(), TEXT))

    def _describe(self, _: Request, on_result: OnResult) -> None:
        on_result(Response(OK, self.openapi))

    def _allowed(self, request: Request, *roles: Role) -> Caller:
        """Return the caller; raise Problem for an unknown key or a missing role."""
        caller = self.access.caller(request.authorization.decode("latin-1"))
        if caller is None:
            problem = Problem(401, "missing or unknown API key: send `Authorization: Bearer KEY`")
            problem.headers = ((b"www-authenticate", b"Bearer"),)
            raise problem
        if caller.roles.isdisjoint(roles):
            needed = " or ".join(repr(role) for role in roles)
            raise Problem(403, f"{caller.name} may not do this: it needs the role {needed}")
        return caller


OK, BAD_REQUEST, CONFLICT = 200, 400, 409
UNAVAILABLE = 503


def refusal(refused: Problem | RetryError) -> Response:
    """Return the response to a client that has to change something, or to retry later."""
    status, later = (refused.status, refused.later) if isinstance(refused, Problem) else (503, 1.0)
    headers = refused.headers if isinstance(refused, Problem) else ()
    if later is not None:
        headers = (*headers, (b"retry-after", b"%d" % max(1, round(later))))
    return problem(status, str(refused), headers)


def together(results: list[batcher.Result], *, many: bool) -> Response:
    """Return the response to the events of a list, or to a single event."""
    if many:
        return Response(OK, b"[" + b",".join(encode_result(result)[1] for result in results) + b"]")
    return alone(*encode_result(results[0]))


def encode_result(result: batcher.Result) -> Reply:
    """Return the status and the JSON of one result."""
    match result:
        case DecisionView(decision, event_time, duplicate):
            return OK, encode(decision_record(decision, event_time, duplicate=duplicate))
        case Label():
            return OK, encode(label_record(result))
        case Conflict():
            return CONFLICT, encode(conflict_record(result))
        case Quarantined():
            early = result.reason.endswith(TOO_FAR_IN_FUTURE)
            return CONFLICT if early else 422, encode(quarantine_record(result))
        case Duplicate(transaction_id, True):
            return OK, encode(duplicate_record(transaction_id))
    status, message = _refusal(result)
    return status, problem(status, message).body


def _refusal(result: Forbidden | Duplicate) -> tuple[int, str]:
    if isinstance(result, Forbidden):
        kind, role = ("label", "label") if result.is_label else ("payment", "decide")
        return 403, f"this key may not send a {kind}: it needs the role {role!r}"
    transaction_id = result.transaction_id
    return (
        CONFLICT,
        f"payment {transaction_id!r} is of the history that was loaded; it was not decided here",
    )


def alone(status: int, body: bytes) -> Response:
    """Return the response to a single event: an error as a problem, with its `record`."""
    if status < BAD_REQUEST:
        return Response(status, body)
    content = msgspec.json.decode(body)
    if "title" in content:
        return Response(status, body, PROBLEM)
    where = f" (at {content['path']})" if content.get("path") else ""
    return problem(status, f"{content['reason']}{where}", record=msgspec.Raw(body))


def too_early(caller: Caller, seconds: float) -> Problem:
    """Return the 429 for a caller over its rate limit; seconds until the next request."""
    return Problem(429, f"{caller.name} exceeds its rate limit; retry in {seconds:.1f} s", seconds)


def events_of(body: bytes) -> tuple[list[bytes], bool]:
    """Return the events of a body, unchanged, and whether they came as a list."""
    if body[:3] == BOM:
        body = body[3:]
    if body[:2] == GZIP:
        raise Problem(415, "the body is compressed by gzip; send it as JSON, without Content-Encoding")
    if not body.lstrip().startswith(b"["):
        return [body], False
    try:
        events = [bytes(raw) for raw in msgspec.json.decode(body, type=list[msgspec.Raw])]
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        cut = items(body)
        if cut is None:
            raise Problem(400, f"expected a list of JSON objects: {error}") from None
        # One unreadable event does not affect the others.
        events = cut
    if not 0 < len(events) <= MAX_EVENTS:
        raise Problem(400, f"a list has 1 to {MAX_EVENTS} events, got {len(events)}")
    return events, True


async def _or_rejection(work: Coroutine[Any, Any, Response]) -> Response:
    try:
        return await work
    except Problem as problem:
        return refusal(problem)
