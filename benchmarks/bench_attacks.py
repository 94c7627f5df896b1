"""Measure what attackers cost other callers of `fraud serve`: one attack after the other, no key for any.

    python -m benchmarks.bench_attacks [--seconds S] [--rate R] [--rounds N] [--quick] [--attack NAME ...]

Honest callers ask at a fixed rate from a process of their own, by turns without and with the attacker, which
is a process held to half a core.  Of rounds the one with the lowest p99 counts, since other work on the
machine only adds.  What memory grows by in the first turn, before any attack, is taken off for each turn from
what is left behind, a minute after the last.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from benchmarks.attacker import ATTACKS
from benchmarks.load_generator.load import Load, Plan
from benchmarks.suite.closed_loop import Session
from benchmarks.suite.machine import Meter, machine
from benchmarks.suite.server import FraudServer
from benchmarks.suite.simulation import BenchmarkSimulation, prepared
from fraud_detection.adapters.terminal import Terminal
from tools.local_aws.processes import Child

OVER_TLS = "1,000 unfinished handshakes"
STARTED_AFTER_S = 1.0
P50_TIMES, P99_MS, MEMORY_SHARE = 2.0, 50.0, 0.1
"""The bounds: p50 with the attack over that without, p99 with it, and how much memory may stay."""


class Settings(msgspec.Struct, frozen=True):
    """Requests a second, for how long a turn, how many turns, and how long memory has peace."""

    rate: float = 200.0
    seconds: float = 10.0
    rounds: int = 3
    peace_s: float = 60.0
    connections: int = 16


class Found(msgspec.Struct, frozen=True):
    """What an attack did: the best rounds without and with it, requests not answered 200, memory in MB."""

    attack: str
    without: Load
    under: Load
    refused: int
    before_mb: float
    max_mb: float
    left_mb: float

    @property
    def p50_times(self) -> float:
        """Return how many times as long the median waits under the attack."""
        return self.under.latencies.p50_ms / self.without.latencies.p50_ms

    @property
    def failures(self) -> list[str]:
        """Return which bounds do not hold."""
        held = {
            "p50": self.p50_times <= P50_TIMES,
            "p99": self.under.latencies.p99_ms <= P99_MS,
            "refused": self.refused == 0,
            "memory": self.left_mb <= self.before_mb * MEMORY_SHARE,
        }
        return [name for name, holds in held.items() if not holds]


def measure(simulation: BenchmarkSimulation, attack: str, settings: Settings) -> Found:
    """Serve into a new state, and ask by turns without and with the attack."""
    turns = 2 * settings.rounds + 2
    payments = simulation.events(int(turns * settings.rate * (settings.seconds + 2)) + 100)
    tls = certificate(simulation.folder) if attack == OVER_TLS else None
    with FraudServer(simulation.bundle, simulation.state, payments, tls) as server:
        target = server.start()
        session, without, under, sizes = Session(target), list[Load](), list[Load](), list[float]()
        plan = Plan(settings.seconds, settings.rate, settings.connections)
        session.run(plan)
        before = server.memory().own_mb
        without.append(session.run(plan))
        a_turn = server.memory().own_mb - before
        for _ in range(settings.rounds):
            with attacked(attack, target.port):
                under.append(session.run(plan))
                sizes.append(server.memory().own_mb)
            without.append(session.run(plan))
        time.sleep(settings.peace_s)
        left = server.memory().own_mb - before - (len(without) + len(under)) * a_turn
    refused = sum(result.errors for result in under)
    return Found(attack, best(without), best(under), refused, before, max(sizes), left)


def best(rounds: list[Load]) -> Load:
    return min(rounds, key=lambda result: result.latencies.p99_ms)


@contextmanager
def attacked(attack: str, port: int) -> Iterator[None]:
    """Attack a port from another process, which is under way when this returns."""
    attacker = Child(
        [sys.executable, "-m", "benchmarks.attacker", attack, str(port)],
        os.environ,
        Path(__file__).parents[1],
        subprocess.DEVNULL,
    )
    try:
        time.sleep(STARTED_AFTER_S)
        yield
        if not attacker.running:
            raise RuntimeError(f"{attack}: the attacker ended by itself")
    finally:
        attacker.stop()


def certificate(folder: Path) -> tuple[Path, Path]:
    """Return the files of a certificate and of its key, made anew."""
    arguments = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -keyout key.pem -out cert.pem"
    command = ["openssl", *arguments.split()]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)  # noqa: S603 - ours
    return folder.resolve() / "cert.pem", folder.resolve() / "key.pem"


def row(result: Found) -> str:
    """Return a row of the table."""
    without, under = result.without.latencies, result.under.latencies
    failures = ", ".join(result.failures) or "-"
    return (
        f"| {result.attack} | {without.p50_ms:.2f}, {under.p50_ms:.2f} ms, {result.p50_times:.2f} times "
        f"| {without.p99_ms:.1f}, {under.p99_ms:.1f} ms | {result.refused} "
        f"| {result.before_mb:.0f}, {result.max_mb:.0f}, {result.left_mb:+.0f} MB | {failures} |"
    )


HEADER = """
| attack | p50 without, with | p99 without, with | refused | memory before, most, left | beyond its bound |
|---|---|---|---|---|---|"""


def main() -> None:
    """Print a table; end with 1 where a bound does not hold."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    defaults = Settings()
    parser.add_argument("--seconds", type=float, default=defaults.seconds, help="a turn (10)")
    parser.add_argument("--rate", type=float, default=defaults.rate, help="honest requests a second (200)")
    parser.add_argument("--rounds", type=int, default=defaults.rounds, help="turns without and with it (3)")
    parser.add_argument("--peace", type=float, default=defaults.peace_s, help="seconds after it (60)")
    parser.add_argument("--attack", choices=ATTACKS, nargs="+", default=list(ATTACKS), help="these alone")
    parser.add_argument("--quick", action="store_true", help="a small simulation")
    parser.add_argument(
        "--directory", type=Path, default=Path("build/bench-attacks"), help="keeps the simulation"
    )
    arguments = parser.parse_args()
    settings = Settings(arguments.rate, arguments.seconds, arguments.rounds, arguments.peace)
    simulation = prepared(arguments.directory, Terminal(plain=True).progress, quick=arguments.quick)
    here, meter = machine(), Meter()
    print(HEADER)
    results = []
    for attack in arguments.attack:
        results.append(measure(simulation, attack, settings))
        print(row(results[-1]), flush=True)
    print(f"\n{here.describe()}; other work took {100 * meter.elsewhere():.0f} % of its cores meanwhile.")
    sys.exit(any(result.failures for result in results))


if __name__ == "__main__":
    main()
