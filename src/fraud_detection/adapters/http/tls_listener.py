"""Accepts connections over TLS, and bounds those that have not finished their handshake.

An unfinished handshake takes a slot among the connections.  Where all slots are taken the oldest one is
dropped, so who only opens sockets keeps nobody out: an honest handshake takes milliseconds.
`asyncio.Server` holds such sockets where nobody can count or close them, so this listens by itself.
"""

from __future__ import annotations

import asyncio
import ctypes
import errno
import logging
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress

LOG = logging.getLogger(__name__)

HANDSHAKE_WITHIN_S = 5.0
MIN_HANDSHAKES = 64
"""So many may be under way though all connections are taken: the next one is answered 503."""
ACCEPT_PAUSE_S = 0.1
"""How long no connection is accepted when no file can be opened."""
TRIM_AFTER_S = 5.0
TRIM = getattr(ctypes.CDLL(None), "malloc_trim", None)
"""Of glibc; other libraries need none."""
PASSING = {errno.EAGAIN, errno.ECONNABORTED, errno.EINTR, errno.EPROTO}


class TlsListener:
    """The server object that uvicorn holds: it is closed, and waited for.

    protocol_factory: makes the protocol of a connection.  free_slots: how many handshakes may be under way
    now.
    """

    def __init__(
        self,
        listening: socket.socket,
        context: ssl.SSLContext,
        protocol_factory: Callable[[], asyncio.Protocol],
        free_slots: Callable[[], int],
    ) -> None:
        """Accept connections from now on."""
        self._listening, self._context, self._protocol_factory, self._free_slots = (
            listening,
            context,
            protocol_factory,
            free_slots,
        )
        self._loop = asyncio.get_running_loop()
        self._unfinished: dict[asyncio.Task[bool], socket.socket] = {}
        """In the order in which they were accepted."""
        self._closed = False
        self._trims: asyncio.TimerHandle | None = None
        self._listen()

    def close(self) -> None:
        """Stop accepting, and drop unfinished handshakes."""
        self._closed = True
        self._loop.remove_reader(self._listening)
        self._listening.close()
        for task, accepted in self._unfinished.items():
            accepted.close()
            task.cancel()

    async def wait_closed(self) -> None:
        """Wait until no handshake is under way."""
        await asyncio.gather(*self._unfinished, return_exceptions=True)

    def _listen(self) -> None:
        if not self._closed:
            self._loop.add_reader(self._listening, self._accept)

    def _accept(self) -> None:
        """Accept one: where more wait, those who have a connection are heard first."""
        try:
            accepted, _ = self._listening.accept()
        except OSError as error:
            if error.errno not in PASSING:
                self._pause_accepting(error)
            return
        accepted.setblocking(False)  # noqa: FBT003 - the name of the method says it
        self._make_room()
        task = self._loop.create_task(self._handshake(accepted))
        self._unfinished[task] = accepted
        task.add_done_callback(self._finished)

    def _make_room(self) -> None:
        while len(self._unfinished) >= self._free_slots():
            oldest = next(iter(self._unfinished))
            # One that has not begun would be closed by nobody; for one that has begun, the loop does it.
            self._unfinished.pop(oldest).close()
            oldest.cancel()

    async def _handshake(self, accepted: socket.socket) -> bool:
        """Return whether it was finished."""
        # Whatever it was, the other end hung up, spoke no TLS or took too long; the socket is closed.
        with suppress(OSError):
            await self._loop.connect_accepted_socket(
                self._protocol_factory, accepted, ssl=self._context, ssl_handshake_timeout=HANDSHAKE_WITHIN_S
            )
            return True
        return False

    def _finished(self, task: asyncio.Task[bool]) -> None:
        self._unfinished.pop(task, None)
        if self._trims is None and (task.cancelled() or not task.result()):
            self._trims = self._loop.call_later(TRIM_AFTER_S, self._trim)

    def _trim(self) -> None:
        """Give the memory of failed handshakes back, which the C library would keep: 40 kB for each."""
        self._trims = None
        if TRIM is not None:
            TRIM(0)

    def _pause_accepting(self, error: OSError) -> None:
        """Stop accepting for a moment; a socket that cannot be accepted stays readable for ever."""
        message = "no connection can be accepted just now: %s"
        LOG.warning(message, error, extra={"event": "connections_refused"})
        self._loop.remove_reader(self._listening)
        self._loop.call_later(ACCEPT_PAUSE_S, self._listen)
