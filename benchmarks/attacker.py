"""One attacker on an HTTP server, held to half a core: `python -m benchmarks.attacker NAME PORT`.

No attack needs a key.  It goes on until the process is ended, and connects again when it is hung up on.
"""

from __future__ import annotations

import itertools
import json
import resource
import select
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing

LOOPBACK = "127.0.0.1"
SHARE = 0.5
"""Of a core."""
CREDIT_S = 0.02
"""So much time of the processor is saved up at most while nothing could be sent."""
TIMEOUT_S = 5.0
PIPELINES = 40
HANDSHAKES = 1_000
FIELDS = 400

POST = b"POST /v1/decisions HTTP/1.1\r\nHost: x\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"
PIPELINED = b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n" * 1_000
LARGE_HEAD = b"GET /healthz HTTP/1.1\r\nHost: x\r\n" + (b"a: " + b"y" * 96 + b"\r\n") * 1_000 + b"\r\n"
OLD_CHUNKED = b"POST /v1/decisions HTTP/1.0\r\n" + CHUNKED + b"2\r\n{}\r\n0\r\n\r\n"
CHUNK = b"x" * 65_536


class Throttle:
    """Sleeps as often as it takes to use no more than a share of a core.

    >>> throttle = Throttle(0.5)
    >>> throttle.pause()
    """

    def __init__(self, share: float = SHARE) -> None:
        self.share, self.credit = share, CREDIT_S
        self.at, self.used = time.perf_counter(), time.process_time()

    def pause(self) -> None:
        """Wait until what was used is paid for."""
        now, used = time.perf_counter(), time.process_time()
        self.credit = min(CREDIT_S, self.credit + (now - self.at) * self.share - (used - self.used))
        self.at, self.used = now, used
        if self.credit < 0:
            time.sleep(-self.credit / self.share)


def trailers(port: int, throttle: Throttle) -> None:
    """Send trailers without end."""
    stream(
        port, throttle, itertools.chain([POST + CHUNKED + b"0\r\n"], itertools.repeat(b"x: y\r\n" * 10_000))
    )


def long_line(port: int, throttle: Throttle) -> None:
    """Send a body of 60 MB in one line."""
    head = POST + b"Content-Length: 60000000\r\n\r\n"
    stream(port, throttle, itertools.chain([head], itertools.repeat(CHUNK, 60_000_000 // len(CHUNK))))


def large_head(port: int, throttle: Throttle) -> None:
    """Send a head of 100 kB in one piece."""
    stream(port, throttle, iter([LARGE_HEAD]))


def old_chunks(port: int, throttle: Throttle) -> None:
    """Send chunks in HTTP/1.0, and more requests behind."""
    stream(port, throttle, itertools.repeat(OLD_CHUNKED, 100))


NAMES = itertools.cycle(range(FIELDS))


def unknown_fields(port: int, throttle: Throttle) -> None:
    """Send payments with an unknown field whose name has 250 kB, of which there are 400."""
    fields = {"event_time": "2026-03-02T00:00:00Z", "card_id": "c1", "amount": 1.0}
    body = json.dumps(fields | {f"{next(NAMES):03}" + "n" * 250_000: 1}).encode()
    stream(port, throttle, iter([POST + b"Content-Length: %d\r\n\r\n" % len(body) + body]))


def stream(port: int, throttle: Throttle, chunks: Iterator[bytes]) -> None:
    """Send pieces on a connection of their own, and read until the other end hangs up or falls silent."""
    with closing(socket.create_connection((LOOPBACK, port), TIMEOUT_S)) as connection:
        for chunk in chunks:
            connection.sendall(chunk)
            throttle.pause()
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(1 << 16):
            throttle.pause()


def pipelines(port: int, throttle: Throttle) -> None:
    """Ask for what is long on forty connections, and read no answer."""
    connections = [socket.create_connection((LOOPBACK, port), TIMEOUT_S) for _ in range(PIPELINES)]
    for connection in connections:
        connection.settimeout(0)
    rests = dict.fromkeys(connections, memoryview(PIPELINED))
    try:
        while rests:
            for connection in select.select([], list(rests), [], TIMEOUT_S)[1]:
                try:
                    rests[connection] = rests[connection][connection.send(rests[connection]) :] or memoryview(
                        PIPELINED
                    )
                except BlockingIOError:
                    pass
                except OSError:
                    del rests[connection]
                throttle.pause()
    finally:
        for connection in connections:
            connection.close()


def handshakes(port: int, throttle: Throttle) -> None:
    """Keep a thousand sockets open whose handshakes are never finished."""
    held: list[socket.socket] = []
    try:
        while True:
            held.append(socket.create_connection((LOOPBACK, port), TIMEOUT_S))
            held[-1].sendall(b"\x16\x03\x01")
            if len(held) > HANDSHAKES:
                held.pop(0).close()
            throttle.pause()
    finally:
        for connection in held:
            connection.close()


Attack = Callable[[int, Throttle], None]
ATTACKS: dict[str, Attack] = {
    "chunked trailers without end": trailers,
    "40 pipelines that read nothing": pipelines,
    "1,000 unfinished handshakes": handshakes,
    "a head of 100 kB in one piece": large_head,
    "chunks in HTTP/1.0": old_chunks,
    "400 unknown names of 250 kB": unknown_fields,
    "a line of 60 MB": long_line,
}


def main() -> None:
    """Attack until this process is ended."""
    attack, port, throttle = ATTACKS[sys.argv[1]], int(sys.argv[2]), Throttle()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(max(soft, 4 * HANDSHAKES), hard), hard))
    while True:
        try:
            attack(port, throttle)
        except OSError:
            # Hung up on, which is the least that a server should do.
            throttle.pause()


if __name__ == "__main__":
    main()
