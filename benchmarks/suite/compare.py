"""The HTTP service beside other servers with the same model, in one run and by the same load."""

from __future__ import annotations

from pathlib import Path

import msgspec

from benchmarks.suite.closed_loop import ClosedLoop, ClosedLoopSettings, measure_servers
from benchmarks.suite.comparison.roster import comparison_servers
from benchmarks.suite.server import FraudServer
from benchmarks.suite.simulation import BenchmarkSimulation, Progress
from fraud_detection.adapters.files.event_sources import Batch
from fraud_detection.core.outcomes import Decided
from fraud_detection.core.score.archive import read_bundle

ROWS = 500
PAYMENTS = 600_000


def measure_comparison(
    simulation: BenchmarkSimulation, environments: Path, settings: ClosedLoopSettings, progress: Progress
) -> list[ClosedLoop]:
    """Return `fraud serve` and then every comparison server, each asked for the same payments.

    They get the features of the payments, which `fraud serve` has to make, and keep nothing.
    Raises ConfigError when an environment is not there, or a comparison server's scores are not ours.
    """
    with simulation.scratch() as folder:
        others = comparison_servers(
            read_bundle(simulation.bundle), Path(folder), served_rows(simulation), environments
        )
        with FraudServer(simulation.bundle, simulation.state, simulation.events(PAYMENTS)) as ours:
            first, *rest = measure_servers([ours, *others], settings, progress)
    with_versions = [
        msgspec.structs.replace(closed_loop, versions=server.versions())
        for closed_loop, server in zip(rest, others, strict=True)
    ]
    return [first, *with_versions]


def served_rows(simulation: BenchmarkSimulation) -> list[list[float]]:
    """Return the features of the first payments, as they are served."""
    with simulation.scratch() as folder:
        service = simulation.service(Path(folder) / "state.db")
        outcomes = service.take(Batch(simulation.events(ROWS), None, 0), "bench")
        service.close()
    return [list(outcome.values) for outcome in outcomes if isinstance(outcome, Decided)]
