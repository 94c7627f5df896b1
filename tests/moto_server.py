"""Moto's server, for as long as a `with` block lasts: a third party's account of AWS's services."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from fraud_detection.adapters.aws.clients import clients_of
from tests.root import ROOT
from tools.local_aws.processes import LOOPBACK, Child, free_port

TOOLS = ROOT / ".venv-aws"
COMMAND = TOOLS / "bin" / "moto_server"
TIMEOUT_S = 60.0


@contextmanager
def moto_server(folder: Path) -> Iterator[Any]:
    """Run the server on a free port of the loopback address; yield what makes clients that call it."""
    if not COMMAND.exists():
        pytest.skip("moto's server is not here: make .venv-aws/.locked")
    port = free_port()
    environment = {"PATH": f"{TOOLS / 'bin'}:/usr/bin:/bin", "HOME": str(folder), "TMPDIR": str(folder)}
    with (folder / "moto.log").open("wb") as log:
        child = Child([str(COMMAND), "-H", LOOPBACK, "-p", str(port)], environment, folder, log)
    try:
        _wait(child, port, folder)
        yield clients_of(
            {
                "AWS_ENDPOINT_URL": f"http://{LOOPBACK}:{port}",
                "AWS_REGION": "eu-central-1",
                "AWS_ACCESS_KEY_ID": "local",
                "AWS_SECRET_ACCESS_KEY": "local",
            }
        )
    finally:
        child.stop(grace_s=5.0)


def _wait(child: Child, port: int, folder: Path) -> None:
    until = time.monotonic() + TIMEOUT_S
    while child.running and time.monotonic() < until:
        with suppress(OSError), socket.create_connection((LOOPBACK, port), timeout=1.0):
            return
        time.sleep(0.05)
    pytest.fail(f"moto's server did not start:\n{(folder / 'moto.log').read_text(errors='replace')[-2000:]}")
