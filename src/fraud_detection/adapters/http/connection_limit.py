"""Limit on open connections: one more is answered 503 and closed.

A connection that has long asked nothing makes room for a new one: who only holds connections keeps nobody
out.  How handshakes of TLS count stands in `tls_listener`.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any, cast

from uvicorn.server import ServerState

from fraud_detection.adapters.http.connection import HttpConnection
from fraud_detection.adapters.http.messages import Application
from fraud_detection.adapters.http.request_reader import RequestMemory
from fraud_detection.adapters.http.responses import problem

LOG = logging.getLogger(__name__)

MAX_CONNECTIONS = 1000
NEW_AFTER_S = 1.0
IDLE_AFTER_S = 10.0
"""At the limit, a connection idle for so long makes room; one that has never sent a request,
after a second."""
LEAVES_WITHIN_S = 1.0
"""How long a rejected connection's bytes are discarded: closed at once, the response might be lost."""
MAX_CLOSING = 64
"""More than so many are closed at once all the same."""
LOG_EVERY_S = 60.0


class Bound:
    """How many connections may be open, and which of those that have to go are still there.

    room: what they hold together.
    """

    def __init__(self, max_connections: int) -> None:
        """Take the number; the response names it."""
        message = f"{max_connections:,} connections are open, the maximum of this server; retry in a moment"
        refused = problem(503, message)
        self.response = (
            b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: %b\r\nretry-after: 1\r\n"
            b"connection: close\r\ncontent-length: %d\r\n\r\n%b"
            % (refused.kind, len(refused.body), refused.body)
        )
        self.max_connections, self.leaving, self.room = max_connections, set[_Leaving](), RequestMemory()
        self._logged_at: float | None = None

    def lets_in(self, state: ServerState, now: float) -> bool:
        """Return whether one more connection may open; one that has long been idle is closed for it."""
        connections = cast("set[Any]", state.connections)
        if len(connections) < self.max_connections:
            return True
        idle = [
            connection
            for connection in connections
            if isinstance(connection, HttpConnection) and connection.idle
        ]
        longest = min(idle, key=lambda connection: connection.active_at, default=None)
        new = min(
            (connection for connection in idle if not connection.served),
            key=lambda connection: connection.active_at,
            default=None,
        )
        for candidate, after_s in ((new, NEW_AFTER_S), (longest, IDLE_AFTER_S)):
            if candidate is not None and now - candidate.active_at >= after_s:
                connections.discard(candidate)
                candidate.leave()
                return True
        return False

    def log_refusal(self, now: float) -> None:
        """Log that connections were refused, once a minute."""
        if self._logged_at is None or now - self._logged_at > LOG_EVERY_S:
            self._logged_at = now
            message = "%s connections are open: others get 503; is `--max-connections` too small?"
            LOG.warning(message, f"{self.max_connections:,}", extra={"event": "connections_refused"})


class LimitedConnection(HttpConnection):
    """A connection that is let in where there is room."""

    def __init__(self, application: Application, bound: Bound, **arguments: Any) -> None:  # noqa: ANN401 - uvicorn's
        """Take the application, the limit, and uvicorn's arguments."""
        super().__init__(application, room=bound.room, **arguments)
        self._bound = bound

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Accept the connection, or reject it."""
        now = self._loop.time()
        if self._bound.lets_in(self._server, now):
            super().connection_made(transport)
            return
        self._bound.log_refusal(now)
        refused = cast("asyncio.Transport", transport)
        refused.set_protocol(_Leaving(refused, self._bound))


class _Leaving(asyncio.Protocol):
    """A rejected connection, closed as soon as the other end has read the response."""

    def __init__(self, transport: asyncio.Transport, bound: Bound) -> None:
        self._bound = bound
        transport.write(bound.response)
        if len(bound.leaving) >= MAX_CLOSING or not transport.can_write_eof():
            transport.close()
            return
        bound.leaving.add(self)
        transport.write_eof()
        asyncio.get_running_loop().call_later(LEAVES_WITHIN_S, transport.close)

    def connection_lost(self, _: Exception | None) -> None:
        """Make room for the next that has to go."""
        self._bound.leaving.discard(self)
