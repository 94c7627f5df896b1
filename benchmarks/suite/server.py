"""`fraud serve` as a process of its own, over a fresh copy of a state file."""

from __future__ import annotations

import http.client
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from benchmarks.load_generator.connection import trusting
from benchmarks.load_generator.target import Target
from benchmarks.suite.machine import Memory, memory_of
from fraud_detection.adapters.sqlite.state_guard import copy_state
from fraud_detection.core.errors import ConfigError
from tools.local_aws.processes import LOOPBACK, Child, free_port

PATH = "/v1/decisions"
JSON = "application/json"
LOOK_EVERY_S = 0.01
TIMEOUT_S = 300.0
GRACE_S = 60.0
TAIL_CHARS = 2_000


class StartTimes(msgspec.Struct, frozen=True):
    """Seconds from the start of the process: until it said that it was ready, and to its first decision."""

    ready_s: float
    first_decision_s: float


class FraudServer:
    """The HTTP service of this system: one worker, a copy of the state, no keys.  Use it in a `with` block.

    payments: what it will be asked, each once; the first of them is spent on the first decision.
    tls: files of a certificate and its private key; without them the connections are plain.
    """

    name = "fraud serve"

    def __init__(
        self, bundle: Path, state: Path, payments: Sequence[bytes], tls: tuple[Path, Path] | None = None
    ) -> None:
        """Take what is served; nothing is started."""
        self.bundle, self.source, self.payments, self.tls = bundle, state, payments, tls
        self.start_times = StartTimes(0.0, 0.0)
        self._folder = tempfile.TemporaryDirectory(prefix="run-", dir=state.parent.resolve())
        self._child: Child | None = None
        self._target: Target | None = None

    @property
    def state(self) -> Path:
        """Return its own state file."""
        return Path(self._folder.name) / "state.db"

    def start(self) -> Target:
        """Start it and wait until it has decided a payment."""
        copy_state(self.source, self.state)
        port, log = free_port(), Path(self._folder.name) / "log"
        command = [sys.executable, "-m", "fraud_detection.cli", "serve", "--plain", f"--port={port}"]
        command += [f"--bundle={self.bundle.resolve()}", f"--state={self.state}"]
        if self.tls is not None:
            command += [f"--certificate={self.tls[0]}", f"--private-key={self.tls[1]}"]
        trusted = "" if self.tls is None else str(self.tls[0])
        began = time.perf_counter()
        with log.open("wb") as output:
            child = self._child = Child(command, os.environ, Path.cwd(), output)
        is_ready = partial(request_status, port, "GET", "/readyz", trusted=trusted)
        first = partial(request_status, port, "POST", PATH, self.payments[0], trusted=trusted)
        ready = wait_until_ready(self.name, child, log, lambda: is_ready() == OK) - began
        decided = wait_until_ready(self.name, child, log, lambda: first() == OK) - began
        self.start_times = StartTimes(ready, decided)
        target = Target(self.name, LOOPBACK, port, PATH, JSON, self.payments[1:], once=True)
        self._target = msgspec.structs.replace(target, certificate=trusted)
        return self._target

    def memory(self) -> Memory:
        """Return what the process holds."""
        return Memory(0.0, 0.0) if self._child is None else memory_of(self._child.pid)

    def metrics(self) -> dict[str, float]:
        """Return what the server counts itself, by the names of `/metrics`; empty before it was started."""
        if self._target is None:
            return {}
        lines = request_text(self._target.port, "/metrics").splitlines()
        pairs = (line.rsplit(" ", 1) for line in lines if line and not line.startswith("#"))
        return {name: float(value) for name, value in pairs if value != "NaN"}

    def state_mb(self) -> float:
        """Return the size of the state file with its log, in MB."""
        return sum(file.stat().st_size for file in self.state.parent.glob("state.db*")) / 1e6

    def stop(self) -> None:
        """End it; what it took is answered first."""
        if self._child is not None:
            self._child.stop(GRACE_S)
            self._child = None
        self._folder.cleanup()

    def __enter__(self) -> Self:
        """Return itself, not started yet."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End it."""
        self.stop()


OK = 200


def wait_until_ready(name: str, child: Child, log: Path, is_there: Callable[[], bool]) -> float:
    """Wait until a server answers and return when it did; raise ConfigError with its output otherwise."""
    until = time.perf_counter() + TIMEOUT_S
    while not is_there():
        if not child.running or time.perf_counter() > until:
            output = log.read_text(errors="replace")[-TAIL_CHARS:].strip()
            raise ConfigError(f"{name}: does not answer; its last output was: {output or 'none'}")
        time.sleep(LOOK_EVERY_S)
    return time.perf_counter()


def request_status(port: int, method: str, path: str, body: bytes | None = None, *, trusted: str = "") -> int:
    """Send one request and return its status; 0 where nobody answers; `trusted`: a certificate, for TLS."""
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=TIMEOUT_S)
    if trusted:
        connection = http.client.HTTPSConnection(LOOPBACK, port, timeout=TIMEOUT_S, context=trusting(trusted))
    with closing(connection) as opened:
        try:
            opened.request(method, path, body, {"content-type": JSON})
            return opened.getresponse().status
        except (OSError, http.client.HTTPException):
            return 0


def request_text(port: int, path: str) -> str:
    """Return what a path answers."""
    with closing(http.client.HTTPConnection(LOOPBACK, port, timeout=TIMEOUT_S)) as opened:
        opened.request("GET", path)
        return opened.getresponse().read().decode()
