"""RPC between the workers of one machine, over Unix domain sockets.

Every worker listens on a socket of its own, in a folder that only this user may enter, and holds one client
connection to each of the others.  Many requests may be in flight at once; a number matches each reply with
its request.  A connection that breaks fails every pending request with RetryError and is opened anew.  So
does one on which the peer has been silent for three seconds; a request to a peer that is alive times out
after ten.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

from fraud_detection.adapters.ipc.framing import Frame, FrameDecoder, FrameError, encode_frame
from fraud_detection.core.errors import RetryError

LOG = logging.getLogger(__name__)

RequestHandler = Callable[[int, str, Any], Awaitable[Any]]
"""Handles a request of another worker: its number, the method, and the body.  RetryError is a refusal."""

REPLY, REFUSAL, GREETING, PING = "", "!", "hello", "ping"
PINGED = -1
"""The number of every ping: nobody waits for the reply; that one arrives is enough."""
RETRY_DELAY_S = 0.05
TIMEOUT_S = 10.0
PING_EVERY_S = 0.5
SILENT_AFTER_S = 3.0
"""Longer than an event loop is blocked while a commit and its deferred work wait for the file."""


class PeerUnavailableError(RetryError):
    """The other worker is not running, hangs, or ended before it replied."""


class RpcClient(asyncio.Protocol):
    """The client of one other worker; it reconnects whenever the connection breaks.

    connected: whether the connection is there.  changed: is called when it has been made, and when it has
    broken.  timeout_s: a request waits about as long for a worker that replies to others.
    """

    def __init__(
        self, own: int, worker: int, path: Path, changed: Callable[[int], None], timeout_s: float
    ) -> None:
        """Take the numbers of both workers, and the socket of the other."""
        self.other, self.connected, self.timeout_s = worker, False, timeout_s
        self._own, self._path, self._changed = own, path, changed
        self._frames, self._ended = FrameDecoder(), asyncio.Event()
        self._pending: dict[int, tuple[asyncio.Future[Any], float]] = {}
        self._number, self._heard_at = 0, 0.0
        self._transport: asyncio.WriteTransport | None = None

    @property
    def is_healthy(self) -> bool:
        """Return whether the connection is open and the peer was heard of lately."""
        return self.connected and asyncio.get_running_loop().time() - self._heard_at < SILENT_AFTER_S

    async def stay_connected(self) -> None:
        """Connect, and reconnect whenever the connection has broken, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            self._frames = FrameDecoder()
            self._ended.clear()
            # A connection left over from an error would be read beside the next.
            self.close()
            try:
                await loop.create_unix_connection(lambda: self, str(self._path))
            except OSError:
                # Nobody listens there yet, or any more: requests fail meanwhile.
                await asyncio.sleep(RETRY_DELAY_S)
                continue
            while not self._ended.is_set():
                # Not `wait_for`: in Python 3.11 it swallows a cancellation that comes together with the end.
                with suppress(TimeoutError):
                    async with asyncio.timeout(min(PING_EVERY_S, self.timeout_s)):
                        await self._ended.wait()
                self._look(loop.time())
            await asyncio.sleep(RETRY_DELAY_S)

    def call(self, what: str, body: object) -> asyncio.Future[Any]:
        """Send a request; its future raises RetryError on refusal, PeerUnavailableError without a reply."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        if self._transport is None or not self.is_healthy:
            future.set_exception(self._unavailable())
            return future
        self._number += 1
        self._pending[self._number] = (future, loop.time())
        self._transport.write(encode_frame(Frame(self._number, what, body)))
        return future

    def notify(self, what: str, body: object) -> None:
        """Send a notification, which has no reply; dropped while there is no connection."""
        if self._transport is not None:
            self._transport.write(encode_frame(Frame(0, what, body)))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Introduce this worker to the other."""
        self._transport, self.connected = cast("asyncio.WriteTransport", transport), True
        self._heard_at = asyncio.get_running_loop().time()
        self.notify(GREETING, self._own)
        self._changed(self.other)

    def data_received(self, data: bytes) -> None:
        """Resolve pending requests with their replies."""
        self._heard_at = asyncio.get_running_loop().time()
        try:
            self._hand_on(data)
        except FrameError as error:
            _abort(self._transport, error)

    def _hand_on(self, data: bytes) -> None:
        for frame in self._frames.of(data):
            future, _ = self._pending.pop(frame.number, (None, 0.0))
            if future is None or future.done():
                # The caller was cancelled or has timed out.
                continue
            if frame.what == REFUSAL:
                future.set_exception(RetryError(frame.body))
            else:
                future.set_result(frame.body)

    def connection_lost(self, _: Exception | None) -> None:
        """Fail all pending requests."""
        self._transport, self.connected = None, False
        self._fail_pending(sent_before=math.inf)
        self._ended.set()
        self._changed(self.other)

    def close(self) -> None:
        """Close the connection."""
        if self._transport is not None:
            self._transport.close()

    def _look(self, now: float) -> None:
        """Ping the other worker, and fail requests that have timed out."""
        self._fail_pending(sent_before=now - self.timeout_s if self.is_healthy else math.inf)
        if self._transport is not None:
            self._transport.write(encode_frame(Frame(PINGED, PING)))

    def _fail_pending(self, sent_before: float) -> None:
        """Fail requests sent before a time; they are pending in order."""
        while self._pending:
            number, (future, sent_at) = next(iter(self._pending.items()))
            if sent_at >= sent_before:
                return
            del self._pending[number]
            if not future.done():
                future.set_exception(self._unavailable())

    def _unavailable(self) -> PeerUnavailableError:
        return PeerUnavailableError(f"worker {self.other} does not respond; retry in a moment")


class RpcServerConnection(asyncio.Protocol):
    """The server side of a connection: handles the requests of another worker.

    over: the other has closed it.
    """

    def __init__(self, handler: RequestHandler) -> None:
        """Take the handler of requests."""
        self._handler, self._frames, self._other, self.over = handler, FrameDecoder(), -1, False
        self._transport: asyncio.WriteTransport | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Store the transport to reply on."""
        self._transport = cast("asyncio.WriteTransport", transport)

    def connection_lost(self, _: Exception | None) -> None:
        """Let requests in flight finish: their effects stand, though no reply can be sent."""
        self._transport, self.over = None, True

    def data_received(self, data: bytes) -> None:
        """Handle each request, many at once; they start in order of arrival."""
        try:
            self._begin(data)
        except FrameError as error:
            _abort(self._transport, error)

    def _begin(self, data: bytes) -> None:
        loop = asyncio.get_running_loop()
        for frame in self._frames.of(data):
            if frame.what == GREETING:
                self._other = frame.body
                continue
            if frame.what == PING:
                self._write(Frame(frame.number, REPLY))
                continue
            task = loop.create_task(self._reply(frame))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def close(self) -> None:
        """Close the connection; pending requests get no reply."""
        for task in self._tasks:
            task.cancel()
        if self._transport is not None:
            self._transport.close()

    async def _reply(self, frame: Frame) -> None:
        try:
            handler = Frame(frame.number, REPLY, await self._handler(self._other, frame.what, frame.body))
        except RetryError as error:
            handler = Frame(frame.number, REFUSAL, str(error))
        if frame.number:
            self._write(handler)

    def _write(self, frame: Frame) -> None:
        if self._transport is not None:
            self._transport.write(encode_frame(frame))


def _abort(transport: asyncio.WriteTransport | None, error: FrameError) -> None:
    """Close a connection whose frames cannot be decoded; its client reconnects."""
    LOG.error("a connection between workers is closed: %s", error, extra={"event": "rpc_connection_failed"})
    if transport is not None:
        transport.abort()
