"""One HTTP/1.1 connection, with as little as possible between its bytes and a response.

uvicorn keeps the sockets, TLS, signals and the shutdown, and httptools reads the requests; what is left out
is what ASGI needs for each request: a scope, a task, an event and two messages.  Measured in
docs/adr/0008-a-custom-http-connection.md.  Answers may come in any order and are written in the order of the
requests.

Whatever a caller can make grow is bounded: what it sends (`request_reader`), requests in hand, answers that
it does not read, and the time for each.  A chunk that arrives is fed to the parser in slices: what cannot be
taken yet is not parsed yet.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from http import HTTPStatus
from typing import Any, cast

from uvicorn.config import Config
from uvicorn.server import ServerState

from fraud_detection.adapters.http.messages import Application, Request, Response
from fraud_detection.adapters.http.request_reader import PendingRequest, RequestMemory, RequestReader
from fraud_detection.adapters.http.responses import encoded, problem

LOG = logging.getLogger(__name__)

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
MAX_PIPELINED = 64
"""Pipelined requests of one connection; beyond these nothing more is read from it."""
SLICE = 1 << 12
BODY_SLICE = 1 << 14
"""So much is parsed before it is looked at whether more may be taken."""
MAX_PENDING_BYTES = 1 << 20
"""Bytes of requests of one connection that may wait for responses; then reading pauses."""
WRITE_WITHIN_S = 10.0
"""A connection that does not read a response for so long is closed."""


class HttpConnection(RequestReader, asyncio.Protocol):
    """The asyncio protocol of an HTTP/1.1 connection, in place of uvicorn's own.

    It belongs to `server_state.connections` as long as it is open, and ends after the pending responses when
    `shutdown` is called.
    """

    def __init__(
        self,
        application: Application,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],  # noqa: ARG002 - uvicorn gives it
        _loop: asyncio.AbstractEventLoop | None = None,
        room: RequestMemory | None = None,
    ) -> None:
        """Take the application and uvicorn's arguments; `room` is shared by all connections."""
        self._application = application
        self._idle_s = config.timeout_keep_alive
        self._server = server_state
        self._turns: deque[PendingRequest] = deque()
        self._held: deque[PendingRequest] = deque()
        self._in_hand = self._unread_at = 0
        self._unread = b""
        self._pumping = self._paused = self._full = False
        self._timer: asyncio.TimerHandle | None = None
        self._late: asyncio.TimerHandle | None = None
        super().__init__(_loop or asyncio.get_running_loop(), room or RequestMemory())

    @property
    def idle(self) -> bool:
        """Return whether no response is pending."""
        return not self._turns

    @property
    def served(self) -> int:
        """Return how many requests have arrived."""
        return self._count

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Note the connection."""
        self._transport = cast("asyncio.Transport", transport)
        self._server.connections.add(cast("Any", self))
        self._begin_reading()
        self.active_at = self._loop.time()
        self._timer = self._loop.call_later(self._idle_s, self._look)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - whatever the reason
        """Forget the connection; its requests are decided, and their responses dropped."""
        self._server.connections.discard(cast("Any", self))
        self._ending = True
        self._turns.clear()
        self._held.clear()
        self._room.used -= self._buffered_bytes
        self._buffered_bytes, self._unread, self._body = 0, b"", []
        for timer in (self._timer, self._late):
            if timer is not None:
                timer.cancel()
        self._end_reading()

    def data_received(self, data: bytes) -> None:
        """Read what has arrived; a request that is not HTTP ends the connection."""
        if self._ending:
            return
        if self._unread or self._held or len(data) > SLICE:
            self._unread, self._unread_at = self._unread[self._unread_at :] + data, 0
            self._pump()
            return
        self._pumping = True
        self._feed(data)
        self._pumping = False
        if self._held or self._blocked:
            self._pump()

    @property
    def _blocked(self) -> bool:
        """Return whether nothing more may be taken just now."""
        in_hand = len(self._turns) - len(self._held)
        return self._full or in_hand >= MAX_PIPELINED or self._in_hand > MAX_PENDING_BYTES

    def _pump(self) -> None:
        """Process buffered bytes up to the limits, and resume reading when all are processed."""
        if self._pumping:
            return
        self._pumping = True
        while not self._blocked:
            if self._held:
                self._dispatch(self._held.popleft())
            elif self._unread and not self._ending:
                end = self._unread_at + (SLICE if self._reading_headers else BODY_SLICE)
                chunk, self._unread_at = self._unread[self._unread_at : end], end
                if end >= len(self._unread):
                    self._unread, self._unread_at = b"", 0
                self._feed(chunk)
                if self._reading_headers and self._unread:
                    # Others come first: a head may be much work for few bytes.
                    self._loop.call_soon(self._pump)
                    break
            else:
                break
        self._pumping = False
        self._hold(bool(self._unread or self._held) or self._blocked)

    def _hold(self, paused: bool) -> None:  # noqa: FBT001 - the only argument
        """Pause or resume reading."""
        if paused != self._paused and not self._ending:
            self._paused = paused
            (self._transport.pause_reading if paused else self._transport.resume_reading)()

    def eof_received(self) -> bool:
        """Answer the pending requests of a client that has closed its side."""
        self._end_after_responses()
        return bool(self._turns)

    def shutdown(self) -> None:
        """Close when every request that was read has its response."""
        self._end_after_responses()

    def pause_writing(self) -> None:
        """Stop reading from a client that does not read its responses; close if that lasts."""
        self._full = True
        self._hold(paused=True)
        self._late = self._loop.call_later(WRITE_WITHIN_S, self._transport.abort)

    def resume_writing(self) -> None:
        """Resume reading."""
        self._full = False
        if self._late is not None:
            self._late.cancel()
            self._late = None
        self._pump()

    def leave(self) -> None:
        """Make room for another connection."""
        self._ending = True
        self._transport.abort()

    # --- responses ----------------------------------------------------------------

    def _on_response(self, turn: PendingRequest, response: Response) -> None:
        turn.response = response
        self._in_hand -= turn.size
        while self._turns and (finished := self._turns[0].response) is not None:
            first = self._turns.popleft()
            self._release(first.size)
            self._write(first, finished)
            if first.last or (self._ending and not self._turns):
                self._turns.clear()
                self._held.clear()
                self._close()
        if self._waits:
            self._send_continue()
        if self._unread or self._held or self._paused:
            self._pump()

    def _close(self) -> None:
        """Close the connection when its responses are read, or after a while."""
        self._ending = True
        if self._transport.get_write_buffer_size() and self._late is None:
            self._late = self._loop.call_later(WRITE_WITHIN_S, self._transport.abort)
        self._transport.close()

    def _send_continue(self) -> None:
        """Send 100 Continue to a client that waits for it, after the responses to its earlier requests."""
        if self._waits and not self._turns and not self._ending:
            self._waits = False
            self._transport.write(CONTINUE)

    def _write(self, turn: PendingRequest, response: Response) -> None:
        self._server.total_requests += 1
        headers, request = self._server.default_headers, turn.request
        bare = request.method == "HEAD"
        self._transport.write(encoded(response, headers, request.id, last=turn.last, bare=bare))

    def _reject(self, status: HTTPStatus, message: str) -> None:
        """Respond to a malformed request, and read no more of the connection."""
        if self._ending:
            return
        turn = PendingRequest(Request("", "", b"", b"", self._id_or_own()), last=True)
        self._turns.append(turn)
        self._ending = True
        later = ((b"retry-after", b"1"),) if status == HTTPStatus.SERVICE_UNAVAILABLE else ()
        self._unread = b""
        self._on_response(turn, problem(status, message, later))

    def _came(self, turn: PendingRequest) -> None:
        """Dispatch a request, or queue it until it may be."""
        blocked = bool(self._held) or self._blocked
        self._turns.append(turn)
        if blocked:
            self._held.append(turn)
        else:
            self._dispatch(turn)

    def _dispatch(self, turn: PendingRequest) -> None:
        self._in_hand += turn.size
        if turn.refused is not None:
            self._on_response(turn, turn.refused)
            return
        try:
            self._application.take(turn.request, lambda response: self._on_response(turn, response))
        except Exception:
            LOG.exception(
                "a request met an error of ours; its connection ends", extra={"event": "request_failed"}
            )
            turn.last = self._ending = True
            message = "this request met an error of the server; it may have been carried out"
            self._on_response(turn, problem(HTTPStatus.INTERNAL_SERVER_ERROR, message))

    def _end_after_responses(self) -> None:
        self._ending = True
        if self._turns:
            self._turns[-1].last = True
        else:
            self._close()

    def _look(self) -> None:
        """Close a connection that is idle: one timer a minute, not one a request."""
        remaining_s = self.active_at + self._idle_s - self._loop.time()
        if remaining_s <= 0 and not self._turns:
            self._close()
        else:
            self._timer = self._loop.call_later(max(remaining_s, 1.0), self._look)
