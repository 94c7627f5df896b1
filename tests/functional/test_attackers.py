"""The measure of what attackers cost other callers, in short: real processes, each attack, every bound."""

from __future__ import annotations

import pytest

from benchmarks.attacker import ATTACKS
from benchmarks.bench_attacks import Settings, measure
from fraud_detection.bench.machine import Meter
from fraud_detection.bench.world import World
from tests.bench_world import quick_world

LEFT_MB = 15.0
BUSY = 0.2


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return quick_world(tmp_path_factory.mktemp("attacks"))


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attacker_costs_other_callers_little(world: World, attack: str) -> None:
    meter = Meter()
    found = measure(world, attack, Settings(seconds=4, rounds=3, peace_s=15))
    assert found.refused == 0
    # A tenth of what a server of a whole world takes; this one is small.
    assert found.left_mb <= LEFT_MB, found
    if meter.elsewhere() > BUSY:
        pytest.skip("other work on this machine: how long others wait is judged on a quiet one")
    assert set(found.failures) <= {"memory"}, found


def test_the_measure_runs_from_end_to_end(world: World) -> None:
    found = measure(world, "a head of 100 kB in one piece", Settings(seconds=1, rounds=1, peace_s=0))
    assert found.refused == 0
