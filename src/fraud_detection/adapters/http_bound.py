"""A bound on how many connections are open: whoever comes beyond it is told so, and has to go.

Over TLS a connection counts from the end of its handshake.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any, cast

import msgspec

from fraud_detection.adapters.http_line import HttpLine
from fraud_detection.adapters.http_messages import Application

LOG = logging.getLogger(__name__)

MOST_CONNECTIONS = 1000
LEAVES_WITHIN_S = 1.0
"""So long what somebody sends who has to go is thrown away: closed at once, the answer might be lost."""
MOST_LEAVING = 64
"""More than so many are closed at once all the same."""
TELL_EVERY_S = 60.0


class Bound:
    """How many connections may be open, and which of those that have to go are still there."""

    def __init__(self, most: int) -> None:
        """Take the number; the answer says it."""
        words = f"{most:,} connections are open, as many as may be here; ask again in a moment"
        body = msgspec.json.encode({"error": words})
        self.answer = (
            b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: 1\r\n"
            b"connection: close\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
        )
        self.most, self.leaving = most, set[_Leaving]()
        self._told_at: float | None = None

    def tell(self, now: float) -> None:
        """Say in the log that somebody was sent away, once a minute."""
        if self._told_at is None or now - self._told_at > TELL_EVERY_S:
            self._told_at = now
            words = "%s connections are open: others are answered 503; is `--most-connections` too small?"
            LOG.warning(words, f"{self.most:,}")


class BoundedLine(HttpLine):
    """A connection that is let in where there is room."""

    def __init__(self, application: Application, bound: Bound, **given: Any) -> None:  # noqa: ANN401 - uvicorn's
        """Take what answers, the bound, and what uvicorn gives."""
        super().__init__(application, **given)
        self._bound = bound

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Note the connection, or send it away."""
        if len(self._server.connections) < self._bound.most:
            super().connection_made(transport)
            return
        self._bound.tell(self._loop.time())
        line = cast("asyncio.Transport", transport)
        line.set_protocol(_Leaving(line, self._bound))


class _Leaving(asyncio.Protocol):
    """A connection that was answered, and is closed as soon as the other end has heard it."""

    def __init__(self, transport: asyncio.Transport, bound: Bound) -> None:
        self._bound = bound
        transport.write(bound.answer)
        if len(bound.leaving) >= MOST_LEAVING or not transport.can_write_eof():
            transport.close()
            return
        bound.leaving.add(self)
        transport.write_eof()
        asyncio.get_running_loop().call_later(LEAVES_WITHIN_S, transport.close)

    def connection_lost(self, _: Exception | None) -> None:
        """Make room for the next that has to go."""
        self._bound.leaving.discard(self)
