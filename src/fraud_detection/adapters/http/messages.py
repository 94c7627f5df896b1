"""Requests and responses between an HTTP connection and the application."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

JSON = b"application/json"


class Request:
    """A request: its method and path as they were sent, its body, and the headers that matter here.

    key: what the caller sent as `Idempotency-Key`, None without one.
    """

    __slots__ = ("authorization", "body", "id", "key", "method", "path")

    def __init__(
        self,
        method: str,
        path: str,
        body: bytes,
        authorization: bytes,
        request_id: bytes,
        key: bytes | None = None,
    ) -> None:
        """Take its parts; the path is without the query."""
        self.method, self.path, self.body = method, path, body
        self.authorization, self.id, self.key = authorization, request_id, key


class Response:
    """A response: status, body, its type, and extra headers."""

    __slots__ = ("body", "headers", "kind", "status")

    def __init__(
        self, status: int, body: bytes, kind: bytes = JSON, headers: tuple[tuple[bytes, bytes], ...] = ()
    ) -> None:
        """Take its parts."""
        self.status, self.body, self.kind, self.headers = status, body, kind, headers


class Application(Protocol):
    """An application: each request gets one response, now or later, by a call of `on_result` in the loop."""

    def take(self, request: Request, on_result: Callable[[Response], None]) -> None:
        """Respond to a request."""
