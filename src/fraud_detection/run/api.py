"""The request door over HTTP: an ASGI application that reads requests, writes answers and decides nothing.

Payments and labels are read as they come, so that what cannot be decided is kept as it was.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import msgspec

from fraud_detection.errors import ConfigError, RetryError
from fraud_detection.events import Label, Quarantined
from fraud_detection.pipeline import Repeated
from fraud_detection.run.access import Access, Caller, Role
from fraud_detection.run.api_metrics import exposition
from fraud_detection.run.output import told_line
from fraud_detection.run.request_door import Answer, FullError, RequestDoor, Told

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Reply = tuple[int, bytes]

MOST_BYTES = 1 << 20
MOST_EVENTS = 500
JSON = b"application/json"
TEXT = b"text/plain; version=0.0.4"


class Problem(Exception):  # noqa: N818 - an answer, not an error of ours
    """Ends a request with a status and a sentence; `later` says in how many seconds to ask again."""

    def __init__(self, status: int, words: str, later: float | None = None) -> None:
        """Take what is answered."""
        super().__init__(words)
        self.status, self.later = status, later


class Api:
    """`/v1/decisions`, `/v1/labels`, `/healthz`, `/readyz`, `/metrics`, `/openapi.json`."""

    def __init__(self, door: RequestDoor, access: Access, openapi: bytes) -> None:
        """Take what decides, who may ask, and the description of all this."""
        self.door, self.access, self.openapi = door, access, openapi
        self.statuses: dict[int, int] = {}
        self._routes: dict[tuple[str, str], Callable[[Message, Receive], Awaitable[Reply]]] = {
            ("POST", "/v1/decisions"): self._decide,
            ("POST", "/v1/labels"): self._label,
            ("GET", "/healthz"): self._health,
            ("GET", "/readyz"): self._ready,
            ("GET", "/metrics"): self._metrics,
            ("GET", "/openapi.json"): self._describe,
        }

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            raise ConfigError(f"this is an HTTP server, not one for {scope['type']}")
        later: float | None = None
        try:
            status, body = await self._route(scope)(scope, receive)
        except Problem as problem:
            status, later = problem.status, problem.later
            body = msgspec.json.encode({"error": str(problem)})
        except RetryError as error:
            status, later, body = 503, 1.0, msgspec.json.encode({"error": str(error)})
        self.statuses[status] = self.statuses.get(status, 0) + 1
        headers = [
            (b"content-type", TEXT if scope["path"] == "/metrics" and status == OK else JSON),
            (b"content-length", str(len(body)).encode()),
            (b"x-request-id", header(scope, b"x-request-id") or uuid.uuid4().hex.encode()),
        ]
        if later is not None:
            headers.append((b"retry-after", str(max(1, round(later))).encode()))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def _route(self, scope: Message) -> Callable[[Message, Receive], Awaitable[Reply]]:
        found = self._routes.get((scope["method"], scope["path"]))
        if found is not None:
            return found
        if scope["method"] == "GET" and scope["path"].startswith("/v1/decisions/"):
            return self._find
        known = [method for method, path in self._routes if path == scope["path"]]
        if known:
            raise Problem(405, f"{scope['path']} takes {', '.join(known)}, not {scope['method']}")
        raise Problem(404, f"no such path: {scope['path']}; /openapi.json describes what there is")

    async def _decide(self, scope: Message, receive: Receive) -> Reply:
        caller = self._allowed(scope, "decide")
        return await self._take(caller, await _body(receive))

    async def _label(self, scope: Message, receive: Receive) -> Reply:
        caller, body = self._allowed(scope, "label"), await _body(receive)
        events, many = events_of(body)
        typed = [_as_label(event) for event in events]
        return await self._take(caller, b"[" + b",".join(typed) + b"]" if many else typed[0])

    async def _take(self, caller: Caller, body: bytes) -> Reply:
        events, many = events_of(body)
        early = caller.spend(len(events))
        if early:
            raise too_early(caller, early)
        try:
            futures = self.door.submit(events)
        except FullError as full:
            raise Problem(503, str(full), 1.0) from None
        answers = [await future for future in futures] if many else [await futures[0]]
        if many:
            return OK, b"[" + b",".join(line(answer)[1] for answer in answers) + b"]"
        return line(answers[0])

    async def _find(self, scope: Message, _: Receive) -> Reply:
        self._allowed(scope, "read")
        one = scope["path"].removeprefix("/v1/decisions/")
        found = self.door.find(one)
        if found is None:
            raise Problem(404, f"no decision on {one!r}")
        return line(found)

    async def _health(self, _scope: Message, _: Receive) -> Reply:
        return OK, b'{"status":"alive"}'

    async def _ready(self, _scope: Message, _: Receive) -> Reply:
        bundle = self.door.door.pipeline.answerer.bundle
        return OK, msgspec.json.encode({"status": "ready", "bundle": bundle, "waiting": self.door.waiting})

    async def _metrics(self, scope: Message, _: Receive) -> Reply:
        self._allowed(scope, "operate")
        return OK, exposition(self.door, self.statuses).encode()

    async def _describe(self, _scope: Message, _: Receive) -> Reply:
        return OK, self.openapi

    def _allowed(self, scope: Message, role: Role) -> Caller:
        caller = self.access.caller(header(scope, b"authorization").decode("latin-1"))
        if caller is None:
            raise Problem(401, "who asks? Send `Authorization: Bearer KEY` with a key that is known here")
        if role not in caller.roles:
            raise Problem(403, f"{caller.name} may not do this: it needs the role {role!r}")
        return caller


OK = 200


def line(answer: Answer) -> Reply:
    """Return the status and the JSON of one answer."""
    match answer:
        case Told(decision, event_time, repeated):
            told = told_line((decision, event_time)).rstrip()
            return OK, told[:-1] + b',"repeated":true}' if repeated else told
        case Label() | Quarantined():
            status = OK if isinstance(answer, Label) else 422
            return status, told_line(answer).rstrip()
        case Repeated(one, True):
            return OK, msgspec.json.encode({"transaction_id": one, "repeated": True})
    words = (
        f"payment {answer.transaction_id!r} is of the history that was remembered; it was not decided here"
    )
    return 409, msgspec.json.encode({"error": words})


def too_early(caller: Caller, seconds: float) -> Problem:
    """Return the answer to a caller that has used its allowance up, which is back in so many seconds."""
    return Problem(429, f"{caller.name} asks more than it may; ask again in {seconds:.1f} s", seconds)


def header(scope: Message, name: bytes) -> bytes:
    """Return a header of the request, empty where there is none."""
    return next((bytes(value) for key, value in scope["headers"] if key == name), b"")


def events_of(body: bytes) -> tuple[list[bytes], bool]:
    """Return the events of a body, each as it stands there, and whether they came as a list."""
    if not body.lstrip().startswith(b"["):
        return [body], False
    try:
        events = [bytes(raw) for raw in msgspec.json.decode(body, type=list[msgspec.Raw])]
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise Problem(400, f"expected a list of JSON objects: {error}") from None
    if not 0 < len(events) <= MOST_EVENTS:
        raise Problem(400, f"a list has 1 to {MOST_EVENTS} events, got {len(events)}")
    return events, True


def _as_label(event: bytes) -> bytes:
    """Return the event marked as a label, whether it says so or not."""
    try:
        fields = msgspec.json.decode(event, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise Problem(400, f"expected a label as a JSON object: {error}") from None
    return msgspec.json.encode(fields | {"type": msgspec.Raw(b'"label"')})


async def _body(receive: Receive) -> bytes:
    parts, size, more = [], 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise asyncio.CancelledError
        part = message.get("body", b"")
        size += len(part)
        if size > MOST_BYTES:
            raise Problem(413, f"a request has at most {MOST_BYTES:,} bytes")
        parts.append(part)
        more = message.get("more_body", False)
    return b"".join(parts)
