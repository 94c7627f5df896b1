"""A port that does not exist is refused wherever one is opened."""

from __future__ import annotations

import socket
from collections.abc import Callable

import pytest

from fraud_detection.adapters.http.server import listen, prepare, reserve
from fraud_detection.core.errors import ConfigError

HOST = "127.0.0.1"


@pytest.mark.parametrize("port", [-1, 65_536, 99_999])
@pytest.mark.parametrize(
    "opened",
    [
        lambda port: listen(HOST, port, shared=False),
        lambda port: reserve(HOST, port),
        lambda port: prepare(None, port, HOST),
    ],
    ids=["one process", "workers", "container"],
)
def test_a_port_that_does_not_exist_is_refused(opened: Callable[[int], object], port: int) -> None:
    with pytest.raises(ConfigError, match=rf"--port {port}: a port is a number from 0"):
        opened(port)


def test_port_0_is_one_that_is_free() -> None:
    with listen(HOST, 0, shared=False) as listening:
        assert 0 < listening.getsockname()[1] < 65_536
        assert listening.family == socket.AF_INET
