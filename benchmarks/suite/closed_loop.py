"""Servers under the same load, one after another: throughput at many connections, latency at one."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from benchmarks.load_generator.load import Load, Plan, run_load
from benchmarks.load_generator.target import Server, Target
from benchmarks.suite.simulation import Progress


class ClosedLoopSettings(msgspec.Struct, frozen=True):
    """How long each server is asked, and by how many connections at once."""

    seconds: float = 10.0
    warm_up_s: float = 2.0
    many: int = 16


class ClosedLoop(msgspec.Struct, frozen=True):
    """One server: by one connection, and by many; each asks again when it was answered.

    versions: of what it is made of, by package.
    """

    name: str
    connections: int
    one: Load
    many: Load
    versions: dict[str, str] = {}


class Ratio(msgspec.Struct, frozen=True):
    """How the first server compares with another: throughput of many connections, p50 of one."""

    name: str
    throughput: float
    p50: float


class Session:
    """One server for as long as it runs: each load goes on where the last one ended."""

    def __init__(self, target: Target) -> None:
        """Take a target of which nothing has been asked."""
        self.target, self.first = target, 0

    def run(self, plan: Plan) -> Load:
        """Load it."""
        load = run_load(self.target, msgspec.structs.replace(plan, first=self.first))
        self.first += load.sent
        return load

    def closed_loop(self, settings: ClosedLoopSettings) -> ClosedLoop:
        """Ask by one connection, then by many."""
        single, many = (
            self.run(Plan(settings.seconds, connections=connections, warm_up_s=settings.warm_up_s))
            for connections in (1, settings.many)
        )
        return ClosedLoop(self.target.name, settings.many, single, many)


def measure_servers(
    servers: Sequence[Server], settings: ClosedLoopSettings, progress: Progress
) -> list[ClosedLoop]:
    """Start, ask and stop one server after another."""
    closed_loops = []
    for index, server in enumerate(servers):
        progress(f"comparison: {server.name}", index / len(servers))
        try:
            closed_loops.append(Session(server.start()).closed_loop(settings))
        finally:
            server.stop()
    progress("comparison: all", 1.0)
    return closed_loops


def ratios(ours: ClosedLoop, others: Sequence[ClosedLoop]) -> list[Ratio]:
    """Return how we compare with each; 0 where the other answered nothing."""
    return [
        Ratio(
            closed_loop.name,
            ours.many.completed_per_s / closed_loop.many.completed_per_s
            if closed_loop.many.completed_per_s
            else 0.0,
            closed_loop.one.latencies.p50_ms / ours.one.latencies.p50_ms
            if ours.one.latencies.p50_ms
            else 0.0,
        )
        for closed_loop in others
    ]
