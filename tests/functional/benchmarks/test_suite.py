"""`python -m benchmarks` from beginning to end, on a small simulation: every figure is there."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.__main__ import main
from benchmarks.load_generator.connection import copy_names
from benchmarks.load_generator.load import HOLE
from benchmarks.suite.engine import take_all
from benchmarks.suite.simulation import BenchmarkSimulation, prepared, with_holes
from fraud_detection.adapters.sqlite.state_file import StateFile
from tests.bench_simulation import quick_simulation


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bench")


@pytest.fixture(scope="module")
def simulation(folder: Path) -> BenchmarkSimulation:
    return quick_simulation(folder)


def numbers(value: Any) -> Iterator[float]:  # noqa: ANN401 - JSON
    if isinstance(value, dict):
        for item in value.values():
            yield from numbers(item)
    elif isinstance(value, list):
        for item in value:
            yield from numbers(item)
    elif isinstance(value, int | float):
        yield value


STAGES = {"parse", "lookup", "features", "score", "decide", "reasons", "persist", "total", "deferred"}


def test_every_figure_of_the_engine_is_measured(simulation: BenchmarkSimulation, tmp_path: Path) -> None:
    report_path = tmp_path / "figures.json"
    arguments = ["engine", "--quick", "--plain", f"--json={report_path}", f"--directory={simulation.folder}"]
    assert main(arguments) == 0
    figures = json.loads(report_path.read_bytes())
    assert all(math.isfinite(number) for number in numbers(figures))
    check_engine(figures["engine"])


def check_engine(engine: dict[str, Any]) -> None:
    assert engine["bulk_payments_per_s"]["lowest"] <= engine["bulk_payments_per_s"]["median"]
    assert set(engine["stages_us"]) == STAGES
    for stage in engine["stages_us"].values():
        assert 0 < stage["p50_us"] <= stage["p99_us"] <= stage["p99_9_us"]
        assert stage["count"] >= 500


@pytest.mark.long
def test_every_figure_that_is_promised_is_measured(simulation: BenchmarkSimulation, tmp_path: Path) -> None:
    report_path = tmp_path / "figures.json"
    arguments = ["--quick", "--plain", f"--json={report_path}", f"--directory={simulation.folder}"]
    assert main(arguments) == 0
    figures = json.loads(report_path.read_bytes())
    assert all(math.isfinite(number) for number in numbers(figures))
    scale, http = figures["scale"], figures["http"]
    check_engine(figures["engine"])
    assert scale["many"] > 1.5 * scale["few"]
    assert 0.2 < scale["ratio"]["median"] < 5
    memory = scale["memory"]
    assert memory["entities"] == scale["many"]
    assert memory["loaded"]["own_mb"] > memory["empty"]["own_mb"] > 10
    assert 0 < http["ready_s"]["median"] <= http["first_decision_s"]["median"]
    rounds = http["even"]["rounds"] + http["poisson"]["rounds"]
    for load in (*rounds, http["closed"]["one"], http["closed"]["many"]):
        assert set(load["statuses"]) == {"200"}
        assert load["latencies"]["count"] > 0
    assert [round_figures["latencies"]["count"] for round_figures in http["even"]["rounds"]] == [200, 200]
    assert http["even"]["p99_ms"]["lowest"] <= http["even"]["p99_ms"]["median"]
    assert http["memory"]["own_mb"] > 10
    assert {step["load"]["target_per_s"] for step in http["sweep"]["steps"]} >= {200.0}
    assert figures["machine"]["cores"] >= 1


@pytest.mark.long  # tests/unit/benchmarks/test_soak.py is its short form
def test_a_soak_looks_at_every_slice_and_every_card(simulation: BenchmarkSimulation, tmp_path: Path) -> None:
    report_path = tmp_path / "soak.json"
    arguments = ["soak", "--quick", "--plain", f"--json={report_path}", f"--directory={simulation.folder}"]
    assert main(arguments) == 0
    figures = json.loads(report_path.read_bytes())
    population = figures["population"]
    assert [minute["load"]["from_s"] for minute in population["minutes"]] == [0.0, 1.0, 2.0, 3.0]
    assert population["total"]["statuses"] == {"200": 800}
    assert sum(minute["load"]["latencies"]["count"] for minute in population["minutes"]) == 800
    assert all(minute["memory"]["own_mb"] > 10 for minute in population["minutes"])
    assert population["loaded"]["own_mb"] > population["at_start"]["own_mb"]
    assert population["entities"] >= 600
    decided = sum(n for name, n in population["server"].items() if name.startswith("fraud_decisions_total"))
    # The first one, one of each card, the warm-up, and the soak.
    assert decided >= 1 + 600 + 100 + 800


@pytest.mark.long  # tests/functional/benchmarks/test_load.py has the turns
def test_two_servers_of_a_soak_take_turns(simulation: BenchmarkSimulation, tmp_path: Path) -> None:
    report_path = tmp_path / "soak.json"
    arguments = ["soak", "--quick", "--alongside=400", "--plain", f"--json={report_path}"]
    assert main([*arguments, f"--directory={simulation.folder}"]) == 0
    figures = json.loads(report_path.read_bytes())
    turns = [
        [minute["load"]["from_s"] for minute in population["minutes"]]
        for population in (figures["population"], figures["alongside"])
    ]
    assert turns == [[0.0, 2.0, 4.0, 6.0], [1.0, 3.0, 5.0, 7.0]]
    assert (
        figures["population"]["total"]["statuses"]
        == figures["alongside"]["total"]["statuses"]
        == {"200": 800}
    )
    assert figures["alongside"]["cards"] < figures["population"]["cards"]


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["engine", "--write"], "leave out --quick and parts"),
        (["--quick", "--write"], "leave out --quick and parts"),
        (["soak", "--comparison"], "of `fraud serve` alone"),
        (["engine", "--quick", "--comparison", "--environments=none"], "make comparison-servers"),
    ],
)
def test_what_cannot_be_done_is_refused_with_the_reason(
    simulation: BenchmarkSimulation, arguments: list[str], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([f"--directory={simulation.folder}", "--plain", *arguments]) == 2
    assert why in capsys.readouterr().err


def test_a_simulation_that_is_there_is_not_made_again(simulation: BenchmarkSimulation) -> None:
    before = simulation.state.stat().st_mtime_ns
    assert prepared(simulation.folder, lambda *_: None, quick=True).state.stat().st_mtime_ns == before


def test_a_simulation_that_does_not_fit_is_made_anew(simulation: BenchmarkSimulation, tmp_path: Path) -> None:
    shutil.copytree(simulation.folder, tmp_path, dirs_exist_ok=True)
    simulation = prepared(tmp_path, lambda *_: pytest.fail("made again"), quick=True)
    (simulation.bundle / "manifest.json").write_text("{}")
    made: list[str] = []
    prepared(tmp_path, lambda stage, _: made.append(stage), quick=True)
    assert any("simulating the history" in stage for stage in made)
    assert prepared(tmp_path, lambda *_: pytest.fail("made again"), quick=True) == simulation


def test_a_copy_of_the_cards_is_decided_as_the_cards_themselves(
    simulation: BenchmarkSimulation, tmp_path: Path
) -> None:
    events = simulation.events(400)
    state = simulation.copied(3, lambda *_: None)
    responses = []
    for name in copy_names(3):
        service = simulation.service(tmp_path / f"state-{name.decode()}.db", state)
        take_all(service, [with_holes(event).replace(HOLE, name) for event in events])
        service.close()
        rows = service_rows(tmp_path / f"state-{name.decode()}.db")
        assert all(row[0].endswith(name.decode()) for row in rows)
        responses.append([row[1:] for row in rows])
    assert len(responses[0]) == 400
    assert responses[0] == responses[1] == responses[2]


def service_rows(state: Path) -> list[tuple[Any, ...]]:
    state_file = StateFile(state, reading=True)
    rows = state_file.rows("SELECT transaction_id, score, action, features FROM decisions ORDER BY seq")
    state_file.close()
    return rows
