"""What callers may send without a key: each attack is bounded, and others are answered meanwhile."""

from __future__ import annotations

import asyncio
import gc
import json
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from socket import MSG_PEEK, SHUT_WR, create_connection, socket
from types import SimpleNamespace
from typing import Any

import pytest
import uvicorn

from fraud_detection.adapters.http import connection as http_connection
from fraud_detection.adapters.http import connection_limit, tls_listener
from fraud_detection.adapters.http import server as http_server
from fraud_detection.adapters.http.connection import HttpConnection
from fraud_detection.adapters.http.connection_limit import Bound, LimitedConnection
from fraud_detection.adapters.http.messages import Request, Response
from fraud_detection.adapters.http.request_reader import MAX_HEADER_BYTES, RequestMemory
from fraud_detection.adapters.http.responses import PROBLEM
from fraud_detection.adapters.http.server import listen, run_loop, serve_on
from fraud_detection.core.parse.drift import MAX_FIELDS, SchemaDrift
from tests.functional.http.test_connection import LAST, Echo, connected, listening, post, read_all, responses

TIMEOUT_S = 10.0
HEAD = b"POST /a HTTP/1.1\r\nHost: x\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


class Large(Echo):
    """Answers every request with 10 kB."""

    def take(self, request: Request, on_result: Callable[[Response], None]) -> None:
        self.taken.append(request.path)
        on_result(Response(200, b" " * 10_000))


@contextmanager
def listening_with(lines: Any) -> Iterator[int]:  # noqa: ANN401 - what uvicorn takes
    """Serve with a protocol of the caller's own, on a port."""

    async def nothing(_scope: object, _receive: object, _send: object) -> None:
        raise AssertionError

    server = uvicorn.Server(uvicorn.Config(nothing, http=lines, lifespan="off", log_level="critical"))
    with closing(socket()) as bound:
        bound.bind(("127.0.0.1", 0))
        bound.listen(512)
        thread = threading.Thread(target=server.run, args=([bound],))
        thread.start()
        yield bound.getsockname()[1]
        server.should_exit = True
        thread.join(TIMEOUT_S)
        assert not thread.is_alive()


def push(connection: socket, head: bytes, chunk: bytes, times: int) -> int:
    """Send a piece again and again; return how often it went until the other end hung up."""
    connection.sendall(head)
    for number in range(times):
        try:
            connection.sendall(chunk)
        except (ConnectionError, TimeoutError):
            return number
    return times


ENDLESS = {
    "trailers": (CHUNKED + b"0\r\n", b"x: y\r\n" * 10_000),
    "one trailer": (CHUNKED + b"0\r\nx: ", b"y" * 60_000),
    "headers": (HEAD, b"x: y\r\n" * 10_000),
    "one header": (HEAD + b"x: ", b"y" * 60_000),
    "an address": (b"GET /", b"y" * 60_000),
    "chunks of a byte": (CHUNKED, b"1\r\nx\r\n" * 10_000),
    "extensions of a chunk": (CHUNKED + b"1;", b"y" * 60_000),
    "a body in chunks": (CHUNKED, b"10000\r\n" + b"y" * 65_536 + b"\r\n"),
    "a body too large": (HEAD + b"Content-Length: 999999999999\r\n\r\n", b"y" * 65_536),
}


@pytest.mark.parametrize("attack", ENDLESS)
def test_what_has_no_end_ends_the_connection_and_others_are_served(attack: str) -> None:
    head, chunk = ENDLESS[attack]
    with listening(Echo()) as (port, _), connected(port) as connection, connected(port) as second:
        assert push(connection, head, chunk, 400) < 400
        second.sendall(post("/other") + LAST)
        assert [status for status, _, _ in responses(read_all(second))] == [200, 200]


@pytest.mark.parametrize("times", [1, 2])
def test_a_head_that_is_too_large_is_refused_in_however_many_pieces_it_comes(times: int) -> None:
    head = b"GET /a HTTP/1.1\r\nHost: x\r\n" + b"a: %b\r\n" % (b"y" * 100) * 1_000 + b"\r\n"
    assert len(head) > 1.5 * MAX_HEADER_BYTES
    size = len(head) // times + 1
    with listening(Echo()) as (port, _), connected(port) as connection:
        for start in range(0, len(head), size):
            connection.sendall(head[start : start + size])
            time.sleep(0.05)
        ((status, headers, body),) = responses(read_all(connection))
    assert (status, headers["connection"], headers["content-type"]) == (431, "close", PROBLEM.decode())
    record = json.loads(body)
    assert (record["type"], record["title"], record["status"]) == (
        "about:blank",
        "Request Header Fields Too Large",
        431,
    )


def test_many_short_headers_are_too_much_though_they_have_few_bytes() -> None:
    head = b"GET /a HTTP/1.1\r\nHost: x\r\n" + b"a: b\r\n" * 2_000 + b"\r\n"
    assert len(head) < MAX_HEADER_BYTES / 4
    with listening(Echo()) as (port, _), connected(port) as connection:
        connection.sendall(head)
        assert [status for status, _, _ in responses(read_all(connection))] == [431]


class Sink(asyncio.Transport):
    """Takes whatever is written."""

    def write(self, _: object) -> None:
        """Forget it."""

    def pause_reading(self) -> None:
        """Nothing is read."""

    def resume_reading(self) -> None:
        """Nothing is read."""


def test_others_come_between_the_slices_of_a_long_head() -> None:
    application, between = Echo(), []

    async def read() -> None:
        state = SimpleNamespace(connections=set(), default_headers=[], total_requests=0)
        connection: Any = HttpConnection(application, SimpleNamespace(timeout_keep_alive=75), state, {})  # type: ignore[arg-type]
        connection.connection_made(Sink())
        connection.data_received(HEAD + b"a: %b\r\n" % (b"y" * 1_000) * 40 + b"Content-Length: 0\r\n\r\n")
        while not application.taken:
            between.append(connection._header_bytes)
            await asyncio.sleep(0)
        connection.connection_lost(None)

    asyncio.run(read())
    assert len(between) >= 40_000 // http_connection.SLICE
    assert between == sorted(between)


@pytest.mark.parametrize(
    "head",
    [
        b"POST /a HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
        HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",
        HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        HEAD + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n",
        HEAD + b"a\x00b: c\r\n\r\n",
        b"\x00\x00\x00\x00",
        b"BREW /a HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
)
def test_what_two_servers_could_read_in_two_ways_is_refused_and_the_connection_ends(head: bytes) -> None:
    application = Echo()
    with listening(application) as (port, _), connected(port) as connection:
        connection.sendall(head + b"5\r\nhello\r\n0\r\n\r\n" + post("/smuggled"))
        ((status, headers, _),) = responses(read_all(connection))
    assert (status, headers["connection"], application.taken) == (400, "close", [])


def test_a_body_that_is_packed_is_refused_and_the_connection_goes_on() -> None:
    with listening(Echo()) as (port, _), connected(port) as connection:
        connection.sendall(post("/a", b"\x1f\x8b", "Content-Encoding: gzip") + LAST)
        replies = responses(read_all(connection))
    assert [status for status, _, _ in replies] == [415, 200]


def test_a_client_that_reads_no_responses_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_connection, "WRITE_WITHIN_S", 0.5)
    application, request = Large(), b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n" * 20_000
    with listening(application) as (port, _), connected(port) as connection:
        connection.settimeout(TIMEOUT_S)
        assert push(connection, b"", request, 20) < 20
    # Those that fit into the buffers of the system, and 64 kB.
    assert len(application.taken) < 2_000


def test_a_slow_reader_has_every_response_in_its_order() -> None:
    application = Large()
    with listening(application) as (port, _), connected(port) as connection:
        sender = threading.Thread(target=connection.sendall, args=(post("/a") * 3_000 + LAST,))
        sender.start()
        time.sleep(0.3)
        assert len(application.taken) < 3_000
        replies = responses(read_all(connection))
        sender.join()
    assert len(replies) == len(application.taken) == 3_001
    assert application.taken[-1] == "/last"


def test_half_a_connection_that_sends_no_more_has_its_responses() -> None:
    with listening(Large()) as (port, _), connected(port) as connection:
        connection.sendall(post("/a") * 100)
        connection.shutdown(SHUT_WR)
        assert len(responses(read_all(connection))) == 100


def test_large_requests_wait_for_room_and_small_ones_go_on() -> None:
    room = RequestMemory(max_bytes=100_000)
    with listening_with(partial(HttpConnection, Echo(), room=room)) as port, ExitStack() as stack:
        slow = [stack.enter_context(connected(port)) for _ in range(2)]
        for connection in slow:
            connection.sendall(HEAD + b"Content-Length: 1000000\r\n\r\n" + b"x" * 45_000)
        deadline = time.monotonic() + TIMEOUT_S
        while room.used < 90_000 and time.monotonic() < deadline:
            time.sleep(0.01)
        with connected(port) as large, connected(port) as small:
            large.sendall(post("/large", b"x" * 50_000))
            ((status, headers, _),) = responses(read_all(large))
            assert (status, headers["retry-after"]) == (503, "1")
            small.sendall(post("/small", b"x" * 1_000) + LAST)
            assert [status for status, _, _ in responses(read_all(small))] == [200, 200]
        stack.close()
        while room.used and time.monotonic() < deadline:
            time.sleep(0.01)
        assert room.used == 0


def test_idle_connections_make_room_for_those_that_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_limit, "NEW_AFTER_S", 0.1)
    lines = partial(LimitedConnection, Echo(), Bound(10))
    with listening_with(lines) as port, ExitStack() as stack:
        for number in range(10):
            silent = stack.enter_context(connected(port))
            silent.sendall(HEAD[:number])
        time.sleep(0.3)
        for _ in range(5):
            with connected(port) as connection:
                connection.sendall(LAST)
                assert [status for status, _, _ in responses(read_all(connection))] == [200]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("tls")
    arguments = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -keyout key.pem -out cert.pem"
    command = ["openssl", *arguments.split()]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)  # noqa: S603 - ours
    return folder / "cert.pem", folder / "key.pem"


@contextmanager
def serving(certificate: tuple[Path, Path], max_connections: int) -> Iterator[int]:
    """Serve as `fraud serve` does, over TLS."""
    ended = threading.Event()
    with closing(listen("127.0.0.1", 0, shared=False)) as bound:
        cert, key = certificate
        work = partial(serve_on, bound, Echo(), ended.is_set, certificate=cert, private_key=key)
        thread = threading.Thread(target=lambda: run_loop(work(max_connections=max_connections)))
        thread.start()
        yield bound.getsockname()[1]
        ended.set()
        thread.join(TIMEOUT_S)
        assert not thread.is_alive()


def statuses_over_tls(port: int, certificate: tuple[Path, Path]) -> list[int]:
    """Return the statuses of a large request and the last one on a connection of its own."""
    trusting = ssl.create_default_context(cafile=certificate[0])
    trusting.check_hostname = False
    with (
        closing(create_connection(("127.0.0.1", port), timeout=TIMEOUT_S)) as raw,
        trusting.wrap_socket(raw) as connection,
    ):
        connection.sendall(post("/a", b"x" * 300_000) + LAST)
        return [status for status, _, _ in responses(read_all(connection))]


def test_handshakes_that_never_end_keep_nobody_out_and_are_hung_up_on(
    certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls_listener, "HANDSHAKE_WITHIN_S", 1.0)
    with serving(certificate, 10) as port, ExitStack() as stack:
        silent = [stack.enter_context(connected(port)) for _ in range(30)]
        for number, connection in enumerate(silent):
            connection.sendall(b"\x16\x03\x01"[: number % 4])
        for _ in range(5):
            assert statuses_over_tls(port, certificate) == [200, 200]
        for connection in silent:
            with suppress(ConnectionError):
                assert connection.recv(1) == b""


@pytest.mark.parametrize("sent", [b"", b"\x16\x03\x01", b"GET / HTTP/1.1\r\n\r\n"])
def test_an_unfinished_handshake_takes_a_slot_and_the_oldest_makes_room(
    certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    monkeypatch.setattr(tls_listener, "MIN_HANDSHAKES", 5)
    monkeypatch.setattr(http_server, "MIN_HANDSHAKES", 5)
    max_connections, many = 20, 1_000
    with serving(certificate, max_connections) as port, ExitStack() as stack:
        silent = []
        for _ in range(many):
            silent.append(stack.enter_context(connected(port)))
            silent[-1].sendall(sent)
        assert statuses_over_tls(port, certificate) == [200, 200]
        open_connections = [connection for connection in silent if not is_closed(connection)]
        assert len(open_connections) <= max_connections
        if not sent.startswith(b"GET"):
            assert open_connections == silent[many - len(open_connections) :]
            assert len(open_connections) >= max_connections - 2


@pytest.mark.parametrize("kind", ["plain", "TLS"])
def test_a_connection_that_ends_is_freed_without_the_collector_of_cycles(
    certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    over_tls = kind == "TLS"
    monkeypatch.setattr(tls_listener, "HANDSHAKE_WITHIN_S", 0.2)
    gc.collect()
    gc.disable()
    try:
        with serving(certificate, 10) if over_tls else listening_port() as port:
            for number in range(30):
                with closing(create_connection(("127.0.0.1", port), timeout=TIMEOUT_S)) as connection:
                    connection.sendall(post("/a", b"x" * 20_000)[: 500 * number])
                if over_tls:
                    assert statuses_over_tls(port, certificate) == [200, 200]
            deadline = time.monotonic() + TIMEOUT_S
            while (left := connections_alive()) and time.monotonic() < deadline:
                time.sleep(0.05)
        assert left == 0
    finally:
        gc.enable()


@contextmanager
def listening_port() -> Iterator[int]:
    with listening(Echo()) as (port, _):
        yield port


def connections_alive() -> int:
    return sum(isinstance(one, HttpConnection) for one in gc.get_objects())


def is_closed(connection: socket) -> bool:
    """Return whether the other end has closed the connection."""
    connection.settimeout(0)
    try:
        return connection.recv(1 << 16, MSG_PEEK) == b""
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


def test_names_and_examples_of_drift_are_cut() -> None:
    drift = SchemaDrift()
    for number in range(2 * MAX_FIELDS):
        drift.count("unknown", f"{number:06d}" + "n" * 250_000, 1_000, "e" * 100_000)
    tallies = drift.pop_changes()
    assert sum(len(field) + len(example) for _, field, _, _, _, example in tallies) < 200 * (MAX_FIELDS + 1)
    assert len(tallies) == MAX_FIELDS + 1
    assert sum(count for _, _, count, _, _, _ in tallies) == 2 * MAX_FIELDS
