"""How many connections may be open: real sockets at a real process."""

from __future__ import annotations

import json
import resource
import socket
import time
from contextlib import ExitStack, closing
from http.client import HTTPConnection
from pathlib import Path

import pytest

from fraud_detection.cli.main import main
from tests.busy_clock import BusyClock
from tests.conftest import SmallSimulation
from tests.functional.http.test_connection import read_all, responses
from tests.functional.http.test_service import TIMEOUT_S, Served, served

MAX_OPEN = 5
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"


def connect_to(server: Served) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=TIMEOUT_S)


def test_one_connection_too_many_gets_503_and_is_closed_and_the_others_go_on(
    small_simulation: SmallSimulation, tmp_path: Path
) -> None:
    with (
        served(small_simulation, tmp_path / "state.db", f"--max-connections={MAX_OPEN}") as server,
        ExitStack() as stack,
    ):
        # The one that waited for the start is open, too.
        connections = [stack.enter_context(closing(connect_to(server))) for _ in range(MAX_OPEN - 1)]
        for connection in connections:
            connection.sendall(HEALTH)
            assert responses(connection.recv(1 << 16))[0][0] == 200
        with BusyClock() as clock:
            silent = [stack.enter_context(closing(connect_to(server))) for _ in range(100)]
            for connection in silent:
                # Nothing was asked on it.
                ((status, headers, body),) = responses(read_all(connection))
                connection.close()  # who leaves makes room among those whose answer is waited for
                assert (status, headers["connection"], headers["retry-after"]) == (503, "close", "1")
                assert "5 connections are open" in json.loads(body)["detail"]
            assert clock.seconds() < 5
        with closing(HTTPConnection("127.0.0.1", server.port, timeout=TIMEOUT_S)) as second:
            # Its body comes in a piece of its own, behind an answer that is there already.
            second.request("POST", "/v1/decisions", b" " * 300_000)
            assert second.getresponse().status == 503
        for connection in connections:
            connection.sendall(HEALTH)
            assert responses(connection.recv(1 << 16))[0][0] == 200
        assert server.request("GET", "/readyz")[0] == 200
        connections[0].close()
        until = time.monotonic() + TIMEOUT_S
        while True:
            with closing(connect_to(server)) as again:
                again.sendall(HEALTH)
                if responses(again.recv(1 << 16))[0][0] == 200:
                    break
            assert time.monotonic() < until
        output = server.stop()
    assert output.count("5 connections are open: others get 503") == 1


def test_more_connections_than_the_system_allows_are_refused_at_the_start(
    small_simulation: SmallSimulation, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard == resource.RLIM_INFINITY:
        pytest.skip("this system has no such limit")
    arguments = ["serve", f"--bundle={small_simulation.bundle}", f"--state={tmp_path / 's.db'}"]
    assert main([*arguments, f"--max-connections={hard}"]) == 2
    output = capsys.readouterr().err
    assert f"this user may have {hard:,}; raise that" in output
    assert main([*arguments, "--max-connections=0"]) == 2
