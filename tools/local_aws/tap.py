"""A tap in the line between a client and a service: it sees every call, may disturb it, and passes it on.

For trying out what a service does on a bad day, and for looking at what was asked of it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from email.message import Message
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

import msgspec

from tools.local_aws.processes import LOOPBACK

PASSED = ("content-type", "x-amz-target", "accept", "x-amzn-sagemaker-custom-attributes")
TIMEOUT_S = 60.0


class Call(msgspec.Struct, frozen=True):
    """One request.  operation: what AWS's JSON protocols name in a header, else the path."""

    operation: str
    body: bytes


class Reply(msgspec.Struct, frozen=True):
    """One answer."""

    status: int
    body: bytes
    content_type: str = "application/x-amz-json-1.0"


class Hangup(Exception):  # noqa: N818 - it is no error of ours
    """Raised by `disturb`: the line goes dead, and the client hears nothing."""


def refusal(code: str, status: int = 400) -> Reply:
    """Return what AWS answers when it refuses a call.

    >>> refusal("ThrottlingException").body
    b'{"__type":"ThrottlingException","message":"ThrottlingException"}'
    """
    return Reply(status, msgspec.json.encode({"__type": code, "message": code}))


class Tap:
    """Listens on a port of its own for as long as a `with` block lasts.

    disturb: called before a call is passed on; returns an answer to give instead, or None.
    saw: called with each call that was passed on, and its answer.
    Both are called by many threads at once.
    """

    def __init__(self, port: int) -> None:
        """Pass calls on to that port of this machine."""
        self.disturb: Callable[[Call], Reply | None] = lambda _: None
        self.saw: Callable[[Call, Reply], object] = lambda *_: None
        self._server = ThreadingHTTPServer((LOOPBACK, 0), _handler(self, port))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def url(self) -> str:
        """Return where a client finds it."""
        return f"http://{LOOPBACK}:{self._server.server_port}"

    def __enter__(self) -> Self:
        """Listen."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _handler(tap: Tap, port: int) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        upstream: HTTPConnection | None = None

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", "0")))
            target = self.headers.get("x-amz-target", "").rpartition(".")[2]
            call = Call(target or self.path, body)
            try:
                reply = tap.disturb(call)
            except Hangup:
                self.close_connection = True
                return
            if reply is None:
                reply = self._pass_on(call, self.headers)
                tap.saw(call, reply)
            self.send_response(reply.status)
            self.send_header("content-type", reply.content_type)
            self.send_header("content-length", str(len(reply.body)))
            self.end_headers()
            self.wfile.write(reply.body)

        def _pass_on(self, call: Call, headers: Message) -> Reply:
            self.upstream = self.upstream or HTTPConnection(LOOPBACK, port, timeout=TIMEOUT_S)
            passed_headers = {name: value for name, value in headers.items() if name.lower() in PASSED}
            # The signature names to a local service the account and the region.
            passed_headers |= (
                {"authorization": headers["authorization"]} if "authorization" in headers else {}
            )
            self.upstream.request("POST", self.path, call.body, passed_headers)
            response = self.upstream.getresponse()
            return Reply(response.status, response.read(), response.getheader("content-type", ""))

        def log_message(self, *_: object) -> None:
            """Log nothing: what passes goes to `saw`."""

        def finish(self) -> None:
            super().finish()
            if self.upstream is not None:
                self.upstream.close()

    return Handler
