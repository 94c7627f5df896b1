"""Lambda's runtime API: where a function's process asks for its next event, and posts what it answers.

One server belongs to one process, so an answer that comes too late can never be taken for another's.
"""

from __future__ import annotations

import socket
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from queue import Empty, SimpleQueue

import msgspec

from tools.local_aws.processes import LOOPBACK

VERSION = "/2018-06-01/runtime"
OK, ACCEPTED, NOT_FOUND, GONE = 200, 202, 404, 410


class Work(msgspec.Struct, frozen=True):
    """An event for the function."""

    request_id: str
    event: bytes
    deadline_ms: int
    function_arn: str


class Ready(msgspec.Struct, frozen=True):
    """The process asked for its first event."""


class Responded(msgspec.Struct, frozen=True):
    """The function's answer, or its error."""

    request_id: str
    payload: bytes
    is_error: bool


class InitFailed(msgspec.Struct, frozen=True):
    """The function could not be loaded."""

    payload: bytes


class Exited(msgspec.Struct, frozen=True):
    """The process ended; the code is negative for a signal."""

    code: int


Happening = Ready | Responded | InitFailed | Exited


class RuntimeApi:
    """Serves one process of a function, on a loopback port."""

    def __init__(self) -> None:
        """Listen."""
        self._work: SimpleQueue[Work | None] = SimpleQueue()
        self._happened: SimpleQueue[Happening] = SimpleQueue()
        self._polled = False
        self._closed = False
        self._server = _Server((LOOPBACK, 0), _Handler)
        self._server.api = self
        self._thread = threading.Thread(target=self._serve, name="runtime-api", daemon=True)
        self._thread.start()

    @property
    def address(self) -> str:
        """Return host and port, as AWS_LAMBDA_RUNTIME_API names them."""
        return f"{LOOPBACK}:{self._server.server_port}"

    def give(self, work: Work) -> None:
        """Hand an event over; the process gets it when it asks."""
        self._work.put(work)

    def post(self, happening: Happening) -> None:
        """Queue what happened."""
        self._happened.put(happening)

    def wait(self, seconds: float) -> Happening | None:
        """Return what happened next, None when nothing did in time."""
        try:
            return self._happened.get(timeout=seconds)
        except Empty:
            return None

    def next(self) -> Work | None:
        """Wait for an event; None says that there will be no more."""
        if not self._polled:
            self._polled = True
            self.post(Ready())
        return self._work.get()

    def close(self) -> None:
        """Stop listening, and let go of whoever waits."""
        if self._closed:
            return
        self._closed = True
        self._work.put(None)
        # The server waits for a connection: this is its last one.
        with socket.create_connection((LOOPBACK, self._server.server_port)):
            self._thread.join()
        self._server.server_close()

    def _serve(self) -> None:
        while not self._closed:
            self._server.handle_request()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    api: RuntimeApi

    def handle_error(self, request: object, client_address: object) -> None:
        """Pass over a connection that broke, because its process was killed; show anything else."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]  # a socket, as it came


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body leave in one piece: no waiting for the other side's acknowledgement
    disable_nagle_algorithm = True
    server: _Server

    def do_GET(self) -> None:
        if self.path != f"{VERSION}/invocation/next":
            self._respond(NOT_FOUND)
            return
        work = self.server.api.next()
        if work is None:
            self._respond(GONE)
            return
        self._respond(
            OK,
            work.event,
            {
                "Content-Type": "application/json",
                "Lambda-Runtime-Aws-Request-Id": work.request_id,
                "Lambda-Runtime-Deadline-Ms": str(work.deadline_ms),
                "Lambda-Runtime-Invoked-Function-Arn": work.function_arn,
            },
        )

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        happening = self._happening(self.path.removeprefix(VERSION).strip("/").split("/"), body)
        # Posted after the answer is out: a process that is stopped at once must not see a broken answer.
        self._respond(NOT_FOUND if happening is None else ACCEPTED, b'{"status":"OK"}')
        if happening is not None:
            self.server.api.post(happening)

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - http.server's name
        """Say nothing: the log is the function's."""

    def _happening(self, path: list[str], body: bytes) -> Happening | None:
        match path:
            case ["invocation", request_id, "response"]:
                return Responded(request_id, body, is_error=False)
            case ["invocation", request_id, "error"]:
                return Responded(request_id, body, is_error=True)
            case ["init", "error"]:
                return InitFailed(body)
        return None

    def _respond(self, status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()
