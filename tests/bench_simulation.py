"""The small simulation of the benchmarks, made once for the sources it depends on."""

from __future__ import annotations

from pathlib import Path

from benchmarks.suite.simulation import BenchmarkSimulation, prepared
from tests.made_once import made_once


def quick_simulation(folder: Path) -> BenchmarkSimulation:
    """Return the simulation of `--quick` in an empty folder."""
    return _prepared(made_once("bench_simulation", _prepared, folder))


def _prepared(folder: Path) -> BenchmarkSimulation:
    return prepared(folder, lambda *_: None, quick=True)
