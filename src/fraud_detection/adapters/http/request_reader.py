"""Parse the requests of one HTTP connection, and reject what exceeds the limits.

The parser is httptools'; here its pieces become a `Request`, counted while they come: a head and trailers, a
body, and what all connections hold together.
"""

from __future__ import annotations

import asyncio
import logging
import re
import uuid
from abc import abstractmethod
from http import HTTPStatus

import httptools

from fraud_detection.adapters.http.messages import Request, Response
from fraud_detection.adapters.http.responses import problem

LOG = logging.getLogger(__name__)

MAX_HEADER_BYTES = 1 << 16
FOR_EACH_HEADER = 32
"""Bytes that a header counts beyond its own, as in HTTP/2: a thousand short ones are much work."""
MAX_BODY_BYTES = 1 << 20
MAX_DISCARDED_BYTES = 1 << 24
NO_HOST = "a request of HTTP/1.1 needs one header `Host`, and no more"
HEADERS_TOO_LARGE = f"the headers have more than {MAX_HEADER_BYTES:,} bytes, or chunks are too small"
ENCODING_REFUSED = "a body is taken as it is: send it without `Content-Encoding`"
TOO_LARGE = f"a request has at most {MAX_BODY_BYTES:,} bytes"
NO_CHUNKS = "`Transfer-Encoding` may be `chunked`, once, in HTTP/1.1, and nothing else"

SMALL_BODY = 1 << 14
"""A request as small as this one is taken however much the others hold."""
MAX_HELD_BYTES = 1 << 26
"""Bytes of requests that all connections together may hold."""

READ_HEADERS = frozenset(
    (
        b"authorization",
        b"x-request-id",
        b"host",
        b"expect",
        b"transfer-encoding",
        b"content-encoding",
        b"idempotency-key",
    )
)
"""Headers that are read; all others cost one look into this set."""

SAFE_REQUEST_ID = re.compile(rb"[!-~]{1,128}")
"""An id of a request that may be repeated as it is."""


class RequestMemory:
    """What all connections of a server hold of requests, in bytes.

    >>> memory = RequestMemory(max_bytes=10)
    >>> memory.used += 11
    >>> memory.full
    True
    """

    def __init__(self, max_bytes: int = MAX_HELD_BYTES) -> None:
        """Start empty."""
        self.max_bytes, self.used = max_bytes, 0

    @property
    def full(self) -> bool:
        """Return whether no large request may come in."""
        return self.used > self.max_bytes


class _Enough(Exception):  # noqa: N818 - nothing is wrong: the rest of a chunk is not read
    """Ends the parsing of a piece whose request was refused."""


class PendingRequest:
    """A request that waits for its response; `last` ends the connection."""

    __slots__ = ("last", "refused", "request", "response", "size")

    def __init__(self, request: Request, *, last: bool, refused: Response | None = None) -> None:
        """Take the request; `refused` is the response to one that the application does not see."""
        self.request, self.last, self.size, self.refused = request, last, len(request.body), refused
        self.response: Response | None = None


class RequestReader:
    """Parses the bytes of a connection into requests; a subclass says what becomes of them."""

    def __init__(self, loop: asyncio.AbstractEventLoop, room: RequestMemory) -> None:
        """Start with an empty buffer."""
        self._loop, self._room = loop, room
        self._ending = False
        self.active_at = 0.0
        self._name = uuid.uuid4().hex[:16].encode()
        self._count = self._buffered_bytes = 0
        self._raw_bytes = self._header_bytes = self._size = self._hosts = 0
        self._url = self._authorization = self._id = b""
        self._key: bytes | None = None
        self._body: list[bytes] = []
        self._chunked: list[bytes] = []
        self._waits = self._is_encoded = False
        self._reading_headers = True

    @abstractmethod
    def _came(self, turn: PendingRequest) -> None:
        """Take a request."""

    @abstractmethod
    def _reject(self, status: HTTPStatus, message: str) -> None:
        """Respond to a malformed request, and read no more of the connection."""

    @abstractmethod
    def _end_after_responses(self) -> None:
        """Take no more."""

    @abstractmethod
    def _send_continue(self) -> None:
        """Send `100 Continue` to a caller that waits to send its body."""

    def _begin_reading(self) -> None:
        """Make the parser, which holds this reader: a circle, until reading ends."""
        self._parser = httptools.HttpRequestParser(self)

    def _end_reading(self) -> None:
        """Let the parser go, so that all of the connection is freed: the server collects no circles."""
        del self._parser

    def _feed(self, data: bytes) -> None:
        self._raw_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # The request gets its response as HTTP/1.1; an upgrade to another protocol is not supported.
            self._end_after_responses()
        except httptools.HttpParserCallbackError as error:
            if not isinstance(error.__context__, _Enough):
                message = "a request could not be read by an error of ours; its connection ends"
                LOG.exception(message, extra={"event": "request_failed"})
                self._end_after_responses()
        except httptools.HttpParserError as error:
            self._reject(HTTPStatus.BAD_REQUEST, f"this is no HTTP request: {error}")
        # Unfinished headers, trailers and chunk sizes make no callback: count them here, and finished
        # headers in `on_header`.
        if self._raw_bytes - self._size > MAX_HEADER_BYTES + (0 if self._reading_headers else self._size):
            self._reject(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, HEADERS_TOO_LARGE)

    # --- called by the parser -----------------------------------------------

    def on_message_begin(self) -> None:
        """Start a request; it has to arrive completely within the idle timeout."""
        self.active_at = self._loop.time()
        self._begin()

    def on_url(self, url: bytes) -> None:
        """Take a part of the address."""
        self._url += url
        self._count_header_bytes(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header that matters."""
        self._header_bytes += len(name) + len(value) + FOR_EACH_HEADER
        if self._header_bytes > MAX_HEADER_BYTES:
            self._count_header_bytes(0)
        lowered = name.lower()
        # What follows the body speaks for nobody.
        if lowered not in READ_HEADERS or not self._reading_headers:
            return
        if lowered == b"authorization":
            self._authorization = value
        elif lowered == b"host":
            self._hosts += 1
        elif lowered == b"x-request-id":
            self._id = value
        elif lowered == b"idempotency-key":
            self._key = value
        elif lowered == b"transfer-encoding":
            self._chunked.append(value.lower())
        elif lowered == b"content-encoding":
            self._is_encoded = self._is_encoded or value.lower() not in {b"", b"identity"}
        else:
            self._waits = value.lower() == b"100-continue"

    def on_headers_complete(self) -> None:
        """Start the body, and send 100 Continue if the client waits for it."""
        self._reading_headers = False
        if self._hosts == 1 and not self._waits and not self._chunked:
            return
        current = self._parser.get_http_version() == "1.1"
        self._waits = self._waits and current
        if self._hosts > 1 or (current and not self._hosts):
            self._reject(HTTPStatus.BAD_REQUEST, NO_HOST)
        elif self._chunked and (not current or self._chunked != [b"chunked"]):
            self._reject(HTTPStatus.BAD_REQUEST, NO_CHUNKS)
        else:
            self._send_continue()

    def on_body(self, body: bytes) -> None:
        """Take a part of the body; too large a one is passed over, one without end ends the connection."""
        self._size += len(body)
        if self._size <= MAX_BODY_BYTES:
            self._body.append(body)
            self._buffered_bytes += len(body)
            self._room.used += len(body)
            if self._size > SMALL_BODY and self._room.full:
                message = "the requests of all callers hold too much memory; retry in a moment"
                self._reject(HTTPStatus.SERVICE_UNAVAILABLE, message)
        elif self._body:
            self._release(sum(len(part) for part in self._body))
            self._body = []
        if self._size > MAX_DISCARDED_BYTES:
            self._reject(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, TOO_LARGE)

    def _release(self, size: int) -> None:
        self._buffered_bytes -= size
        self._room.used -= size

    def on_message_complete(self) -> None:
        """Dispatch the request."""
        if self._ending:
            return
        self._waits = False
        try:
            path = (httptools.parse_url(self._url).path or b"").decode("ascii")
        except (httptools.HttpParserInvalidURLError, UnicodeDecodeError):
            path = ""
        method = self._parser.get_method().decode("ascii")
        self._count += 1
        refused = None
        if self._size > MAX_BODY_BYTES:
            refused = problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, TOO_LARGE)
        elif self._is_encoded:
            refused = problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, ENCODING_REFUSED)
        named = (self._authorization, self._id_or_own(), self._key)
        request = Request(method, path, b"".join(self._body), *named)
        last = not self._parser.should_keep_alive()
        self._body = []
        self._reading_headers, self._raw_bytes, self._header_bytes, self._size = True, 0, 0, 0
        self.active_at = self._loop.time()
        self._came(PendingRequest(request, last=last, refused=refused))

    def _count_header_bytes(self, size: int) -> None:
        """Count bytes of a head or of trailers; refuse too many, and parse no more of them."""
        self._header_bytes += size
        if self._header_bytes > MAX_HEADER_BYTES:
            self._reject(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, HEADERS_TOO_LARGE)
            raise _Enough

    def _id_or_own(self) -> bytes:
        return self._id if SAFE_REQUEST_ID.fullmatch(self._id) else b"%b-%x" % (self._name, self._count)

    def _begin(self) -> None:
        self._url = self._authorization = self._id = b""
        self._key = None
        self._body = []
        self._size = self._hosts = 0
        self._waits = self._is_encoded = False
        self._chunked = []
        self._reading_headers = True
