"""The HTTP connection itself, byte by byte: what a caller may send, and what it must not break."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from typing import Any

import pytest
import uvicorn

from fraud_detection.adapters.http.connection import MAX_PIPELINED, HttpConnection
from fraud_detection.adapters.http.messages import Request, Response
from tests.busy_clock import BusyClock

TIMEOUT_S = 10.0


class Echo:
    """Answers with what was asked; `/later/N` after the requests behind it, `/broken` not at all."""

    def __init__(self) -> None:
        self.taken: list[str] = []

    def take(self, request: Request, on_result: Callable[[Response], None]) -> None:
        self.taken.append(request.path)
        payload = {"path": request.path, "bytes": len(request.body), "by": request.authorization.decode()}
        response = Response(200, json.dumps(payload).encode())
        if request.path == "/broken":
            raise ZeroDivisionError
        if request.path.startswith("/later"):
            asyncio.get_running_loop().call_later(0.2, on_result, response)
        else:
            on_result(response)


@contextmanager
def listening(application: Echo, idle_s: int = 75) -> Iterator[tuple[int, uvicorn.Server]]:
    lines: Any = partial(HttpConnection, application)

    async def nothing(_scope: object, _receive: object, _send: object) -> None:
        raise AssertionError

    config = uvicorn.Config(
        nothing, http=lines, lifespan="off", log_level="critical", timeout_keep_alive=idle_s, port=0
    )
    server = uvicorn.Server(config)
    with closing(socket.socket()) as bound:
        bound.bind(("127.0.0.1", 0))
        bound.listen()
        thread = threading.Thread(target=server.run, args=([bound],))
        thread.start()
        yield bound.getsockname()[1], server
        server.should_exit = True
        thread.join(TIMEOUT_S)
        assert not thread.is_alive()


@contextmanager
def connected(port: int) -> Iterator[socket.socket]:
    with closing(socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_S)) as connection:
        yield connection


def read_all(connection: socket.socket) -> bytes:
    parts = []
    while part := connection.recv(1 << 16):
        parts.append(part)
    return b"".join(parts)


def post(path: str, body: bytes = b"{}", *headers: str) -> bytes:
    more = "".join(f"{header}\r\n" for header in headers)
    return f"POST {path} HTTP/1.1\r\nHost: x\r\n{more}Content-Length: {len(body)}\r\n\r\n".encode() + body


LAST = b"GET /last HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


def responses(data: bytes) -> list[tuple[int, dict[str, str], bytes]]:
    """Read answers one after another, strictly."""
    found, at = [], 0
    while at < len(data):
        end = data.find(b"\r\n\r\n", at)
        assert end >= 0
        first, *fields = data[at:end].decode().split("\r\n")
        headers = dict(field.split(": ", 1) for field in fields)
        at = end + 4 + int(headers["content-length"])
        assert at <= len(data)
        found.append((int(first.split(" ")[1]), headers, data[end + 4 : at]))
    return found


def test_requests_sent_at_once_get_responses_in_their_order() -> None:
    with listening(Echo()) as (port, _), connected(port) as connection:
        connection.sendall(post("/later/1", b"abc") + post("/2") + post("/later/3") + post("/4") + LAST)
        replies = responses(read_all(connection))
    assert [json.loads(body)["path"] for _, _, body in replies] == [
        "/later/1",
        "/2",
        "/later/3",
        "/4",
        "/last",
    ]
    assert json.loads(replies[0][2])["bytes"] == 3
    assert replies[-1][1]["connection"] == "close"
    assert all("date" in headers for _, headers, _ in replies)


def test_a_request_may_come_a_byte_at_a_time() -> None:
    with listening(Echo()) as (port, _), connected(port) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in post("/slow", b"abcd", "Authorization: Bearer me"):
            connection.sendall(bytes([byte]))
        connection.sendall(LAST)
        replies = responses(read_all(connection))
    assert json.loads(replies[0][2]) == {"path": "/slow", "bytes": 4, "by": "Bearer me"}


def test_a_body_in_chunks_is_one_body() -> None:
    request = b"POST /chunks HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    request += b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    with listening(Echo()) as (port, _), connected(port) as connection:
        connection.sendall(request + LAST)
        replies = responses(read_all(connection))
    assert json.loads(replies[0][2])["bytes"] == 5


def test_many_more_requests_than_may_wait_all_get_a_response() -> None:
    many = 5 * MAX_PIPELINED
    with listening(Echo()) as (port, _), connected(port) as connection:
        connection.sendall(post("/later/0") + b"".join(post(f"/{n}") for n in range(many)) + LAST)
        replies = responses(read_all(connection))
    assert [json.loads(body)["path"] for _, _, body in replies[1:-1]] == [f"/{n}" for n in range(many)]


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        (b"NONSENSE\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nX: " + b"y" * 70_000, 431),
        (b"POST / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n{}", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", 400),
        (b"GET / HTTP/1.0\r\nHost: x\r\nhost: y\r\n\r\n", 400),
    ],
)
def test_what_is_no_request_is_refused_and_the_connection_ends(sent: bytes, status: int) -> None:
    echo = Echo()
    with listening(echo) as (port, _), connected(port) as connection:
        connection.sendall(sent)
        assert responses(read_all(connection))[0][0] == status
        with connected(port) as second:
            second.sendall(LAST)
            assert responses(read_all(second))[0][0] == 200
    assert echo.taken == ["/last"]


def test_too_large_a_body_is_refused_and_the_next_request_is_served() -> None:
    with listening(Echo()) as (port, _), connected(port) as connection:
        connection.sendall(post("/big", b"x" * ((1 << 20) + 1)) + post("/small", b"y" * (1 << 20)) + LAST)
        replies = responses(read_all(connection))
    assert [status for status, _, _ in replies] == [413, 200, 200]
    assert json.loads(replies[1][2])["bytes"] == 1 << 20


def test_a_body_without_end_ends_the_connection() -> None:
    with listening(Echo()) as (port, _), connected(port) as connection:
        connection.sendall(b"POST /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        with contextlib.suppress(OSError):
            for _ in range(64):
                connection.sendall(b"80000\r\n" + b"x" * 0x80000 + b"\r\n")
            pytest.fail("32 MB were read of a request that may have one")


def test_a_request_that_comes_too_slowly_is_not_waited_for() -> None:
    with listening(Echo(), idle_s=1) as (port, _), connected(port) as connection:
        with BusyClock() as clock, contextlib.suppress(OSError):
            for byte in post("/slow", b"x" * 100):
                connection.sendall(bytes([byte]))
                time.sleep(0.05)
        assert clock.seconds() < 5
        assert read_all(connection) == b""


def test_an_error_of_the_server_is_no_silence() -> None:
    with listening(Echo()) as (port, _), connected(port) as connection:
        connection.sendall(post("/later/1") + post("/broken"))
        replies = responses(read_all(connection))
        # What was asked before it is answered first, and then the connection ends.
        assert [status for status, _, _ in replies] == [200, 500]
        assert replies[1][1]["connection"] == "close"
        with connected(port) as second:
            second.sendall(LAST)
            assert responses(read_all(second))[0][0] == 200


def test_the_id_of_a_request_comes_back_if_it_is_harmless() -> None:
    with listening(Echo()) as (port, _), connected(port) as connection:
        connection.sendall(
            post("/1", b"", "X-Request-Id: abc-1") + post("/2", b"", "X-Request-Id: a\tb") + post("/3") + LAST
        )
        replies = responses(read_all(connection))
    ids = [headers["x-request-id"] for _, headers, _ in replies]
    assert ids[0] == "abc-1"
    assert len({*ids}) == 4
    assert "\t" not in ids[1]


def test_a_head_request_has_no_body() -> None:
    with listening(Echo()) as (port, _), connected(port) as connection:
        connection.sendall(b"HEAD /x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        head, _, body = read_all(connection).partition(b"\r\n\r\n")
    assert b"content-length: " in head
    assert body == b""


def test_a_client_that_expects_100_continue_gets_it() -> None:
    with listening(Echo()) as (port, _), connected(port) as connection:
        connection.sendall(
            b"POST /x HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n"
        )
        assert connection.recv(1 << 16).startswith(b"HTTP/1.1 100 ")
        connection.sendall(b"abc" + LAST)
        assert json.loads(responses(read_all(connection))[0][2])["bytes"] == 3


def test_100_continue_comes_after_the_responses_to_earlier_requests() -> None:
    request = b"POST /x HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n"
    with listening(Echo()) as (port, _), connected(port) as connection:
        connection.sendall(post("/later/1") + post("/2") + request)
        first_refused = b""
        while not first_refused.endswith(b"HTTP/1.1 100 Continue\r\n\r\n"):
            part = connection.recv(1 << 16)
            assert part
            first_refused += part
        before = responses(first_refused.removesuffix(b"HTTP/1.1 100 Continue\r\n\r\n"))
        assert [json.loads(body)["path"] for _, _, body in before] == ["/later/1", "/2"]
        connection.sendall(b"abc" + LAST)
        replies = responses(read_all(connection))
    assert [json.loads(body)["bytes"] for _, _, body in replies] == [3, 0]


def test_a_client_that_does_not_expect_100_continue_gets_none() -> None:
    request = b"POST /x HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc"
    with listening(Echo()) as (port, _), connected(port) as connection:
        connection.sendall(post("/later/1") + request + LAST)
        replies = responses(read_all(connection))
    assert [json.loads(body)["path"] for _, _, body in replies] == ["/later/1", "/x", "/last"]


def test_no_100_continue_comes_after_the_last_response() -> None:
    last = b"GET /later/1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    request = b"POST /x HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n"
    with listening(Echo()) as (port, _), connected(port) as connection:
        connection.sendall(last + request)
        assert len(responses(read_all(connection))) == 1


def test_a_request_of_http_1_0_needs_no_host_and_gets_no_header_that_it_cannot_read() -> None:
    request = b"POST /x HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n"
    with listening(Echo()) as (port, _), connected(port) as connection:
        connection.sendall(request)
        connection.settimeout(0.3)
        with pytest.raises(TimeoutError):
            connection.recv(1 << 16)
        connection.settimeout(TIMEOUT_S)
        connection.sendall(b"abc")
        assert responses(read_all(connection))[0][0] == 200


def test_what_follows_a_body_in_chunks_cannot_change_the_caller() -> None:
    request = b"POST /chunks HTTP/1.1\r\nHost: x\r\nAuthorization: me\r\nTransfer-Encoding: chunked\r\n\r\n"
    request += b"3\r\nabc\r\n0\r\nAuthorization: you\r\nHost: y\r\n\r\n"
    with listening(Echo()) as (port, _), connected(port) as connection:
        connection.sendall(request + LAST)
        replies = responses(read_all(connection))
    assert json.loads(replies[0][2]) == {"path": "/chunks", "bytes": 3, "by": "me"}


def test_an_offer_of_another_protocol_is_passed_over() -> None:
    with listening(Echo()) as (port, _), connected(port) as connection:
        connection.sendall(b"GET /x HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n")
        assert responses(read_all(connection))[0][0] == 200


def test_a_caller_that_has_sent_all_gets_its_response() -> None:
    with listening(Echo()) as (port, _), connected(port) as connection:
        connection.sendall(post("/later/1"))
        connection.shutdown(socket.SHUT_WR)
        assert responses(read_all(connection))[0][0] == 200


def test_a_stop_completes_pending_requests_and_closes_idle_connections() -> None:
    with listening(Echo()) as (port, server), connected(port) as busy, connected(port) as idle:
        idle.sendall(post("/1"))
        assert idle.recv(1 << 16)
        busy.sendall(post("/later/1"))
        while server.server_state.total_requests < 1:
            pass
        server.should_exit = True
        assert responses(read_all(busy))[0][1]["connection"] == "close"
        assert read_all(idle) == b""


def test_a_silent_line_is_closed() -> None:
    with listening(Echo(), idle_s=1) as (port, _), connected(port) as connection:
        connection.sendall(post("/1"))
        assert responses(connection.recv(1 << 16))[0][0] == 200
        assert read_all(connection) == b""
