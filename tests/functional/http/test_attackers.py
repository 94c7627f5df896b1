"""The measure of what attackers cost other callers, in short: real processes, each attack, every bound."""

from __future__ import annotations

import pytest

from benchmarks.attacker import ATTACKS
from benchmarks.bench_attacks import Settings, measure
from benchmarks.suite.machine import Meter
from benchmarks.suite.simulation import BenchmarkSimulation
from tests.bench_simulation import quick_simulation

BUSY = 0.2
OPEN = "400 unknown names of 250 kB"
SMALL = "a tenth of this small simulation is 6 MB, and some 7 stay; of a whole one nothing does"


@pytest.fixture(scope="module")
def simulation(tmp_path_factory: pytest.TempPathFactory) -> BenchmarkSimulation:
    return quick_simulation(tmp_path_factory.mktemp("attacks"))


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "attack",
    [
        pytest.param(one, marks=pytest.mark.xfail(reason=SMALL, strict=False) if one == OPEN else ())
        for one in ATTACKS
    ],
)
def test_an_attacker_costs_other_callers_little(simulation: BenchmarkSimulation, attack: str) -> None:
    meter = Meter()
    figures = measure(simulation, attack, Settings(seconds=4, rounds=3, peace_s=15))
    assert figures.refused == 0
    assert "memory" not in figures.failures, figures
    if meter.elsewhere() > BUSY:
        pytest.skip("other work on this machine: how long others wait is measured on a quiet one")
    assert figures.failures == [], figures


def test_the_measure_runs_from_end_to_end(simulation: BenchmarkSimulation) -> None:
    figures = measure(simulation, "a head of 100 kB in one piece", Settings(seconds=1, rounds=1, peace_s=0))
    assert figures.refused == 0
