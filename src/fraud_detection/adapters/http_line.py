"""One HTTP/1.1 connection, with as little between its bytes and an answer as can be.

uvicorn keeps the sockets, TLS, signals and the shutdown, and httptools reads the requests; what is left out
is what ASGI needs for each request: a scope, a task, an event and two messages.  Measured in
docs/adr/0008-a-line-of-our-own.md.  Answers may come in any order and are written in that of their requests.
"""

from __future__ import annotations

import asyncio
import logging
import re
import uuid
from collections import deque
from http import HTTPStatus
from typing import Any, cast

import httptools
import msgspec
from uvicorn.config import Config
from uvicorn.server import ServerState

from fraud_detection.adapters.http_messages import Answer, Application, Request

LOG = logging.getLogger(__name__)

MOST_HEAD_BYTES = 1 << 16
MOST_BODY_BYTES = 1 << 20
MOST_PASSED_OVER = 1 << 24
NO_HOST = "a request of HTTP/1.1 needs one header `Host`, and no more"
TOO_LARGE = f"a request has at most {MOST_BODY_BYTES:,} bytes"
MOST_AT_ONCE = 64
"""When so many requests of one connection wait for their answers, no more is read of it.  Those that came
with the last piece, of at most 64 kB, are taken all the same."""

MATTERS = frozenset((b"authorization", b"x-request-id", b"host", b"expect"))
"""Headers that are read; all others cost one look into this set."""
GO_ON = b"HTTP/1.1 100 Continue\r\n\r\n"

HARMLESS = re.compile(rb"[!-~]{1,128}")
"""An id of a request that may be repeated as it is."""


class _Turn:
    """A request that waits for its answer; `last` ends the connection."""

    __slots__ = ("answer", "last", "request")

    def __init__(self, request: Request, *, last: bool) -> None:
        self.request, self.last = request, last
        self.answer: Answer | None = None


class HttpLine(asyncio.Protocol):
    """What uvicorn makes of each connection, as its own protocols are made.

    It belongs to `server_state.connections` as long as it is open, and ends after the answers in hand when
    `shutdown` is called.
    """

    def __init__(
        self,
        application: Application,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],  # noqa: ARG002 - uvicorn gives it
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        """Take what answers, and what uvicorn gives."""
        self._loop = _loop or asyncio.get_running_loop()
        self._application = application
        self._idle_s = config.timeout_keep_alive
        self._server = server_state
        self._parser = httptools.HttpRequestParser(self)
        self._turns: deque[_Turn] = deque()
        self._ending = False
        self._full = False
        self._active_at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._name = uuid.uuid4().hex[:16].encode()
        self._count = 0
        self._head_bytes = 0
        self._begin()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Note the connection."""
        self._transport = cast("asyncio.Transport", transport)
        self._server.connections.add(cast("Any", self))
        self._active_at = self._loop.time()
        self._timer = self._loop.call_later(self._idle_s, self._look)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - whatever the reason
        """Forget the connection; what it asked is decided, and told to nobody."""
        self._server.connections.discard(cast("Any", self))
        self._ending = True
        self._turns.clear()
        if self._timer is not None:
            self._timer.cancel()

    def data_received(self, data: bytes) -> None:
        """Read what has arrived; a request that is not HTTP ends the connection."""
        if self._ending:
            return
        self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # The request is answered as what it is; what another protocol would send next is not understood.
            self._end_after_answers()
        except httptools.HttpParserCallbackError:
            LOG.exception("a request met an error of ours; its connection ends")
            self._give_up()
        except httptools.HttpParserError as error:
            self._refuse(HTTPStatus.BAD_REQUEST, f"this is no HTTP request: {error}")
        if self._reading_head and self._head_bytes > MOST_HEAD_BYTES:
            words = f"the headers have more than {MOST_HEAD_BYTES:,} bytes"
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, words)

    def eof_received(self) -> bool:
        """Answer what has been asked, to somebody who asks no more."""
        self._end_after_answers()
        return bool(self._turns)

    def shutdown(self) -> None:
        """End as soon as everything that was read is answered."""
        self._end_after_answers()

    def pause_writing(self) -> None:
        """Read no more of somebody who does not read the answers."""
        self._full = True
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        """Read again."""
        self._full = False
        self._read_on()

    # --- called by the parser -----------------------------------------------

    def on_message_begin(self) -> None:
        """Start a request; it has to come whole within the time that a silent line has."""
        self._active_at = self._loop.time()
        self._begin()

    def on_url(self, url: bytes) -> None:
        """Take a part of the address."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header that matters."""
        lowered = name.lower()
        # What follows the body speaks for nobody.
        if lowered not in MATTERS or not self._reading_head:
            return
        if lowered == b"authorization":
            self._authorization = value
        elif lowered == b"host":
            self._hosts += 1
        elif lowered == b"x-request-id":
            self._id = value
        else:
            self._waits = value.lower() == b"100-continue"

    def on_headers_complete(self) -> None:
        """Go on to the body, and let the caller send it if it waits for that."""
        self._reading_head = False
        if self._hosts == 1 and not self._waits:
            return
        current = self._parser.get_http_version() == "1.1"
        self._waits = self._waits and current
        if self._hosts > 1 or (current and not self._hosts):
            self._refuse(HTTPStatus.BAD_REQUEST, NO_HOST)
        else:
            self._let_go_on()

    def on_body(self, body: bytes) -> None:
        """Take a part of the body; too large a one is passed over, one without end ends the connection."""
        self._size += len(body)
        if self._size <= MOST_BODY_BYTES:
            self._body.append(body)
        elif self._size > MOST_PASSED_OVER:
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, TOO_LARGE)

    def on_message_complete(self) -> None:
        """Let the request be answered."""
        if self._ending:
            return
        self._waits = False
        try:
            path = (httptools.parse_url(self._url).path or b"").decode("ascii")
        except (httptools.HttpParserInvalidURLError, UnicodeDecodeError):
            path = ""
        method = self._parser.get_method().decode("ascii")
        self._count += 1
        request = Request(method, path, b"".join(self._body), self._authorization, self._id_or_own())
        turn = _Turn(request, last=not self._parser.should_keep_alive())
        self._turns.append(turn)
        self._reading_head, self._head_bytes = True, 0  # what follows belongs to the next head
        if len(self._turns) >= MOST_AT_ONCE:
            self._transport.pause_reading()
        self._active_at = self._loop.time()
        if self._size > MOST_BODY_BYTES:
            self._told(turn, _problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, TOO_LARGE))
        else:
            self._application.take(request, lambda answer: self._told(turn, answer))

    # --- answers ----------------------------------------------------------------

    def _told(self, turn: _Turn, answer: Answer) -> None:
        turn.answer = answer
        while self._turns and (told := self._turns[0].answer) is not None:
            first = self._turns.popleft()
            self._write(first, told)
            if first.last or (self._ending and not self._turns):
                self._turns.clear()
                self._ending = True
                self._transport.close()
        if self._waits:
            self._let_go_on()
        self._read_on()

    def _let_go_on(self) -> None:
        """Tell a caller that waits to send its body, behind the answers to what it asked before."""
        if self._waits and not self._turns and not self._ending:
            self._waits = False
            self._transport.write(GO_ON)

    def _write(self, turn: _Turn, answer: Answer) -> None:
        self._server.total_requests += 1
        body = answer.body
        parts = [
            _STATUS[answer.status],
            b"content-type: ",
            answer.kind,
            b"\r\ncontent-length: %d\r\n" % len(body),
        ]
        # They carry the date.
        for name, value in (*self._server.default_headers, *answer.headers):
            parts += (name, b": ", value, b"\r\n")
        parts += (b"x-request-id: ", turn.request.id, b"\r\n")
        parts.append(b"connection: close\r\n\r\n" if turn.last else b"\r\n")
        if turn.request.method != "HEAD":
            parts.append(body)
        self._transport.write(b"".join(parts))

    def _read_on(self) -> None:
        if not self._full and not self._ending and len(self._turns) < MOST_AT_ONCE:
            self._transport.resume_reading()

    def _refuse(self, status: HTTPStatus, words: str) -> None:
        """Answer somebody who cannot be understood, and hear no more of it."""
        if self._ending:
            return
        turn = _Turn(Request("", "", b"", b"", self._id_or_own()), last=True)
        self._turns.append(turn)
        self._ending = True
        self._told(turn, _problem(status, words))

    def _give_up(self) -> None:
        """Answer the request that met an error, after those before it, and end."""
        if self._turns and self._turns[-1].answer is None:
            self._turns[-1].last = self._ending = True
            words = "this request met an error of the server; what it asked may have been done"
            self._told(self._turns[-1], _problem(HTTPStatus.INTERNAL_SERVER_ERROR, words))
        else:
            self._end_after_answers()

    def _id_or_own(self) -> bytes:
        return self._id if HARMLESS.fullmatch(self._id) else b"%b-%x" % (self._name, self._count)

    def _end_after_answers(self) -> None:
        self._ending = True
        if self._turns:
            self._turns[-1].last = True
        else:
            self._transport.close()

    def _begin(self) -> None:
        self._url = self._authorization = self._id = b""
        self._body: list[bytes] = []
        self._size = 0
        self._hosts: int = 0
        self._waits = False
        self._reading_head = True

    def _look(self) -> None:
        """Close a connection that has long asked nothing: one timer a minute, not one a request."""
        rest = self._active_at + self._idle_s - self._loop.time()
        if rest <= 0 and not self._turns:
            self._transport.close()
        else:
            self._timer = self._loop.call_later(max(rest, 1.0), self._look)


def _problem(status: HTTPStatus, words: str) -> Answer:
    return Answer(status, msgspec.json.encode({"error": words}))


_STATUS = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}
