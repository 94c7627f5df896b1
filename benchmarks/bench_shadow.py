"""Measure what a shadow costs: `fraud serve` at a fixed rate with and without `fraud shadow` beside it.

    python -m benchmarks.bench_shadow [--rate R] [--seconds S] [--rounds N] [--directory DIR] [--json FILE]

Rounds with and without the shadow take turns on one server, so that what else the machine does meets both.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import msgspec

from benchmarks.load_generator.load import Plan
from benchmarks.suite.closed_loop import Session
from benchmarks.suite.machine import Machine, machine
from benchmarks.suite.server import FraudServer
from benchmarks.suite.simulation import BenchmarkSimulation, prepared
from fraud_detection.adapters.sqlite.shadow_log import ShadowLog, shadow_path
from fraud_detection.adapters.sqlite.state_file import StateFile
from fraud_detection.adapters.terminal import Terminal
from fraud_detection.core.decision_settings import RuleSettings
from fraud_detection.core.score.archive import read_bundle
from fraud_detection.releases import lifecycle
from fraud_detection.releases.registry import ReleaseRegistry
from tools.local_aws.processes import Child

GRACE_S = 20.0
LOOK_EVERY_S = 0.2
RULE = RuleSettings(name="bench_large", when="amount > 200", action="review")


class Round(msgspec.Struct, frozen=True):
    """Latency since each request was due, in ms, without and with a shadow; what that had decided by then."""

    p50_ms: tuple[float, float]
    p99_ms: tuple[float, float]
    decided: int


class Figures(msgspec.Struct, frozen=True):
    """Every round, and the ratio of the medians of p99."""

    machine: Machine
    rate: float
    rounds: list[Round]
    p99_ratio: float


def measure(simulation: BenchmarkSimulation, rate: float, seconds: float, rounds: int) -> Figures:
    """Take turns with and without a shadow that has the champion's model and one rule more."""
    measured_on = machine()
    needed = int(2 * rounds * rate * (seconds + 4)) + 1000
    with (
        tempfile.TemporaryDirectory() as root,
        FraudServer(simulation.bundle, simulation.state, simulation.events(needed)) as server,
    ):
        registry = _registry(Path(root) / "registry", simulation)
        session = Session(server.start())
        plan = Plan(seconds, rate, 64, 3.0)
        all_rounds = []
        for _ in range(rounds):
            alone = session.run(plan).latencies
            with _shadow(registry, server.state):
                with_shadow = session.run(plan).latencies
            with closing(ShadowLog(shadow_path(server.state), reading=True)) as log:
                decided = len(log.decisions(lifecycle.current(registry).shadows[0]))
            all_rounds.append(
                Round((alone.p50_ms, with_shadow.p50_ms), (alone.p99_ms, with_shadow.p99_ms), decided)
            )
    medians = [statistics.median(round_figures.p99_ms[arm] for round_figures in all_rounds) for arm in (0, 1)]
    return Figures(measured_on, rate, all_rounds, medians[1] / medians[0])


def _registry(path: Path, simulation: BenchmarkSimulation) -> ReleaseRegistry:
    registry, author = ReleaseRegistry(path), lifecycle.Author("bench", "measured")
    bundle = read_bundle(simulation.bundle)
    lifecycle.start(registry, bundle, simulation.project, author)
    changed_project = msgspec.structs.replace(simulation.project, rules=(*simulation.project.rules, RULE))
    lifecycle.set_shadows(registry, [(bundle, changed_project)], author)
    return registry


@contextmanager
def _shadow(registry: ReleaseRegistry, state: Path) -> Iterator[None]:
    command = [sys.executable, "-m", "fraud_detection.cli", "shadow", "--plain"]
    command += [f"--registry={registry.path}", f"--state={state}"]
    with (state.parent / "shadow.log").open("ab") as log:
        child = Child(command, os.environ, Path.cwd(), log)
        try:
            _wait_until_shadowing(registry, state)
            yield
        finally:
            child.stop(GRACE_S)


def _wait_until_shadowing(registry: ReleaseRegistry, state: Path) -> None:
    """Let the shadow decide first what came while it was away."""
    (config_id,) = lifecycle.current(registry).shadows
    with closing(StateFile(state, reading=True)) as state_file:
        wanted = int(state_file.rows("SELECT max(seq) FROM decisions")[0][0])
    while True:
        if shadow_path(state).is_file():
            with closing(ShadowLog(shadow_path(state), reading=True)) as log:
                if config_id in log.config_ids() and log.decided_until(config_id, 0) >= wanted:
                    return
        time.sleep(LOOK_EVERY_S)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=1000.0)
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--directory", type=Path, default=Path("build/bench"))
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    screen = Terminal(plain=True)
    simulation = prepared(arguments.directory, screen.progress)
    figures = measure(simulation, arguments.rate, arguments.seconds, arguments.rounds)
    for round_figures in figures.rounds:
        screen.print(
            f"p50 {round_figures.p50_ms[0]:.2f} and {round_figures.p50_ms[1]:.2f} ms, p99 "
            f"{round_figures.p99_ms[0]:.2f} and "
            f"{round_figures.p99_ms[1]:.2f} ms, decided in shadow mode {round_figures.decided:,}"
        )
    screen.print(f"p99 with a shadow is {figures.p99_ratio:.2f} times that without")
    if arguments.json is not None:
        arguments.json.write_bytes(msgspec.json.encode(figures))


if __name__ == "__main__":
    main()
