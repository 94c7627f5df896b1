"""One connection of the client: plain HTTP/1.1 with keep-alive, of which only status and length are read."""

from __future__ import annotations

import select
import socket
import ssl
from collections.abc import Callable, Sequence
from contextlib import suppress

from benchmarks.load_generator.load import HOLE, Plan
from benchmarks.load_generator.target import Target

READ_BYTES = 1 << 16
CONNECT_S = 5.0
HEAD_END = b"\r\n\r\n"
NOT_YET = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class Connection:
    """A connection, and the request that is on it: when that was due, -1 while there is none."""

    def __init__(self, target: Target) -> None:
        """Connect; raise OSError when nobody listens."""
        self.socket = socket.create_connection((target.host, target.port), CONNECT_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if target.certificate:
            self.socket = trusting(target.certificate).wrap_socket(self.socket)
        self.socket.settimeout(0)
        self.due = -1.0
        self._read = b""

    def send(self, request: bytes, due: float) -> None:
        """Put a request on the line; raise OSError when the line is broken."""
        self.due, self._read = due, b""
        rest = memoryview(request)
        while rest:
            with suppress(*NOT_YET):
                rest = rest[self.socket.send(rest) :]
            if rest:
                select.select([], [self.socket], [], CONNECT_S)

    def read_status(self) -> int | None:
        """Read what has come; return the status once the answer is whole, raise OSError on a broken line."""
        try:
            part = self.socket.recv(READ_BYTES)
        except NOT_YET:
            return None
        if not part:
            raise ConnectionResetError("closed by the server")
        read = self._read + part
        head = read.find(HEAD_END)
        if head < 0 or not _is_complete(read, head):
            self._read = read
            return None
        self.due = -1.0
        return int(read[9:12])


def trusting(certificate: str) -> ssl.SSLContext:
    """Return a context that trusts one certificate, whatever name stands in it."""
    context = ssl.create_default_context(cafile=certificate)
    context.check_hostname = False
    return context


def _is_complete(read: bytes, head: int) -> bool:
    names = read[:head].lower()
    body = len(read) - head - len(HEAD_END)
    if b"transfer-encoding: chunked" in names:
        return read.endswith(b"0\r\n\r\n") and body > 0
    return body >= content_length(names)


def content_length(head: bytes) -> int:
    r"""Return the length that the head of an answer, in lower case, states; 0 where it states none.

    >>> content_length(b"http/1.1 200 ok\r\ncontent-length: 12\r\nx: y")
    12
    """
    at = head.find(b"content-length:")
    return 0 if at < 0 else int(head[at + 15 :].split(b"\r\n", 1)[0])


def request_maker(target: Target, bodies: Sequence[bytes], plan: Plan) -> Callable[[int], bytes]:
    """Return what makes the request of a number; behind the last body comes the first again."""
    start = f"POST {target.path} HTTP/1.1\r\nhost: {target.host}:{target.port}\r\n"
    start += f"content-type: {target.content_type}\r\ncontent-length: "
    body_of, heads = _body_maker(bodies, plan), dict[int, bytes]()

    def make(number: int) -> bytes:
        body = body_of(number)
        head = heads.get(len(body))
        if head is None:
            head = heads[len(body)] = f"{start}{len(body)}\r\n\r\n".encode()
        return head + body

    return make


def _body_maker(bodies: Sequence[bytes], plan: Plan) -> Callable[[int], bytes]:
    count, block, copies = len(bodies), min(plan.block, len(bodies)), plan.copies
    if not copies:
        return lambda number: bodies[number % count]
    pieces, names = [body.split(HOLE) for body in bodies], copy_names(copies)

    def make(number: int) -> bytes:
        round_, within = divmod(number, block * copies)
        copy, index = divmod(within, block)
        return names[copy].join(pieces[(round_ * block + index) % count])

    return make


def copy_names(copies: int) -> list[bytes]:
    """Return what stands in the holes of each copy; the first one keeps the ids of the simulation.

    >>> copy_names(3)
    [b'', b'001', b'002']
    """
    return [b"", *(f"{copy:03d}".encode() for copy in range(1, copies))]
