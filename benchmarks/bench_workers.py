"""Measure `fraud serve` with one and with several workers: payments/s, waiting, how far shared profiles lag.

    python -m benchmarks.bench_workers [--workers 1 2] [--seconds S] [--connections N] [--rate R]

Without a rate every connection sends its next payment when it has the answer to the last (closed loop); with
one, payments are sent when they are due, and the wait for a free connection counts.  The sender is one
process and shares the cores.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import msgspec

from fraud_detection.adapters.http.server import run_loop
from fraud_detection.adapters.terminal import Terminal
from fraud_detection.core.metrics import LatencyHistogram
from fraud_detection.demo.demo import DemoSettings, prepare
from fraud_detection.project.loader import load_project
from fraud_detection.serving.create_state import new_state
from fraud_detection.simulator.settings import SimulatorSettings
from fraud_detection.simulator.stream import SimulatedStream, StreamOptions
from tools.local_aws.processes import free_port

SEED = 7
PROJECT = Path(__file__).with_name("params.yaml")
READY_WITHIN_S = 120.0
SHOWN = ("fraud_replication_lag_seconds", "fraud_request_latency_seconds", "fraud_engine_seconds")
HEAD = b"POST /v1/decisions HTTP/1.1\r\nhost: bench\r\ncontent-length: %d\r\n\r\n"


class Load(msgspec.Struct):
    """What is sent, for how long, and what came of it: `rate` a second, 0 for a closed loop."""

    port: int
    seconds: float
    connections: int
    rate: float
    events: Iterator[bytes]
    completed: int = 0
    other: int = 0
    sent: int = 0
    begin: float = 0.0
    waits: LatencyHistogram = msgspec.field(default_factory=LatencyHistogram)

    async def run(self) -> None:
        """Send until the time is over."""
        loop = asyncio.get_running_loop()
        self.begin = time.perf_counter()
        connections = [
            (await loop.create_connection(lambda: Connection(self), "127.0.0.1", self.port))[1]
            for _ in range(self.connections)
        ]
        await asyncio.gather(*(connection.over for connection in connections))


class Connection(asyncio.Protocol):
    """One connection: the next payment goes out when the last is answered, or later when it is due.

    As little work as possible, because the sender takes from the cores of those that it measures.
    """

    def __init__(self, load: Load) -> None:
        """Send for this load."""
        self.load, self.received, self.due = load, b"", 0.0
        self.loop = asyncio.get_running_loop()
        self.over: asyncio.Future[None] = self.loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.WriteTransport", transport)
        self._plan()

    def data_received(self, data: bytes) -> None:
        self.received += data
        head, end, body = self.received.partition(b"\r\n\r\n")
        if not end or len(body) < int(head.partition(b"content-length: ")[2].split(b"\r\n", 1)[0]):
            return
        self.load.waits.add(time.perf_counter() - self.due)
        good = head.startswith(b"HTTP/1.1 200")
        self.load.completed += good
        self.load.other += not good
        self.received = b""
        self._plan()

    def _plan(self) -> None:
        load, now = self.load, time.perf_counter()
        if now - load.begin >= load.seconds:
            self.transport.close()
            self.over.set_result(None)
            return
        self.due = load.begin + load.sent / load.rate if load.rate else now
        load.sent += 1
        if self.due > now:
            self.loop.call_later(self.due - now, self._send)
        else:
            self._send()

    def _send(self) -> None:
        event = next(self.load.events)
        self.transport.write(HEAD % len(event) + event)


def main() -> None:
    """Print every figure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2], help="one run each (1 2)")
    parser.add_argument("--seconds", type=float, default=10.0, help="of load a run (10)")
    parser.add_argument("--connections", type=int, default=16, help="at once (16)")
    parser.add_argument("--rate", type=float, default=0.0, help="payments/s, 0 is a closed loop (0)")
    parser.add_argument(
        "--directory", type=Path, default=Path("build/bench"), help="keeps the trained simulation"
    )
    arguments = parser.parse_args()
    simulation = SimulatorSettings(seed=SEED)
    if not (arguments.directory / "bundle" / "manifest.json").exists():
        settings = DemoSettings(arguments.seconds, 1_000.0, simulation, arguments.directory)
        prepare(settings, load_project(PROJECT), Terminal(plain=True).progress)
    for workers in arguments.workers:
        for name, value in measure(arguments, simulation, workers).items():
            print(f"{workers} workers: {name:44} {value}")


def measure(arguments: argparse.Namespace, simulation: SimulatorSettings, workers: int) -> dict[str, object]:
    """Serve with so many workers, into new state, and send."""
    options = StreamOptions(
        payments=400_000, labels="none", late_share=0, duplicate_share=0, malformed_share=0
    )
    stream = SimulatedStream(simulation, options)
    events = (event.data.rstrip(b"\n") for chunk in stream.chunks(0) for event in chunk)
    prepared = iter(list(itertools.islice(events, int(arguments.seconds * 8_000))))
    port = free_port()
    with tempfile.TemporaryDirectory() as scratch:
        command = [
            sys.executable,
            "-m",
            "fraud_detection.cli",
            "serve",
            "--plain",
            f"--workers={workers}",
            f"--port={port}",
            f"--state={scratch}/state.db",
        ]
        command += [f"--bundle={arguments.directory}/bundle"]
        new_state(Path(scratch) / "state.db", workers)
        server = subprocess.Popen(command, stderr=subprocess.DEVNULL)  # noqa: S603 - ours
        try:
            _wait(port)
            load = Load(port, arguments.seconds, arguments.connections, arguments.rate, prepared)
            before = cpu_seconds(server.pid)
            run_loop(load.run())
            used = (cpu_seconds(server.pid) - before) / max(load.completed, 1)
            cost = {"CPU of the server a payment, us": round(1e6 * used)}
            return _figures(load) | cost | _metrics(port)
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait()


def cpu_seconds(pid: int) -> float:
    """Return the CPU time of a process and of those that it has started and that live."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    own = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return own + sum(cpu_seconds(int(child)) for child in children)


def _figures(load: Load) -> dict[str, object]:
    waits = {f"answered after, p{q:g}, ms": round(load.waits.percentile_ms(q), 2) for q in (50, 99, 99.9)}
    return {"completed/s": round(load.completed / load.seconds), "other responses": load.other, **waits}


def _metrics(port: int) -> dict[str, object]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as response:
        rows = [row.rsplit(" ", 1) for row in response.read().decode().splitlines() if row[0] != "#"]
    shown = [(name, value) for name, value in rows if name.startswith(SHOWN)]
    return {name: value for name, value in shown if '"0.5"' in name or '"0.99"' in name or "count" in name}


def _wait(port: int) -> None:
    until = time.monotonic() + READY_WITHIN_S
    while time.monotonic() < until:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz").close()
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.1)
        else:
            return
    raise TimeoutError(f"nobody answered at port {port} within {READY_WITHIN_S:.0f} s")


if __name__ == "__main__":
    main()
