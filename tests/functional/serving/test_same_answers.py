"""One stream has one answer: whatever the settings, whoever serves, however it is cut, whoever starts anew.

Two differences are allowed, and no third: the decline cap of several shards or workers that decide at the
same time (they take turns here, so it is exact), and the identity of events without an id on a pipe after
a restart (each process names them anew; what was decided is equal).
"""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from fraud_detection.training.stages import make_features
from fraud_detection.training.workflow import train
from tests.conftest import SmallSimulation
from tests.made_once import made_once
from tests.optional_settings import TABLE, Setting, amount_free
from tests.process_ways_of_serving import PROCESSES, in_order
from tests.ways_of_serving import (
    IN_PROCESS,
    REFERENCE,
    Case,
    Part,
    Result,
    WayOfServing,
    cuttings,
    killed_once,
)

PAYMENTS = 140
SEEDS = [1, *(pytest.param(seed, marks=pytest.mark.long) for seed in range(2, 9))]
KEY = "a key of the tests"
REFUSED = {"quarantined", "conflict"}
ONLY_LONG = {"lambda, 1 shards"}
"""What the same with batches that come again, and with more shards, shows too."""


@pytest.fixture(scope="session")
def without_amount(
    small_simulation: SmallSimulation, tmp_path_factory: pytest.TempPathFactory
) -> SmallSimulation:
    """Return the same simulation without amounts."""
    project = amount_free(small_simulation.project)

    def make(folder: Path) -> None:
        make_features(project, small_simulation.history, folder / "features.parquet", lambda *_: None)
        train(project, folder / "features.parquet", folder / "bundle")

    folder = made_once("simulation_without_amount", make, tmp_path_factory.mktemp("without-amount"))
    return msgspec.structs.replace(small_simulation, project=project, bundle=folder / "bundle")


@pytest.fixture(scope="module")
def stream_events(small_simulation: SmallSimulation) -> list[bytes]:
    return small_simulation.events(
        PAYMENTS, late_share=0.05, duplicate_share=0.03, malformed_share=0.03, labels="fraud"
    )


@pytest.fixture(scope="module", params=TABLE, ids=lambda one: one.name)
def setting(request: pytest.FixtureRequest) -> Setting:
    param: Setting = request.param
    return param


@pytest.fixture(scope="module")
def case(
    setting: Setting,
    stream_events: list[bytes],
    small_simulation: SmallSimulation,
    request: pytest.FixtureRequest,
) -> Case:
    simulation = small_simulation
    if setting.without_amount:
        simulation = request.getfixturevalue("without_amount")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FRAUD_CONTROL_GROUP_KEY", KEY)
        return Case.of(
            simulation, setting.project(simulation.project), simulation.bundle, setting.stream(stream_events)
        )


@pytest.fixture(scope="module")
def wanted(case: Case, setting: Setting, tmp_path_factory: pytest.TempPathFactory) -> Result:
    """Return what a file in one piece becomes."""
    folder = tmp_path_factory.mktemp("reference")
    reference = REFERENCE.decide(case, [Part(0, len(case.events))], folder)
    assert len(reference.records) == len(case.events)
    assert any(setting.matters in content for _, content in reference.records.values())
    return reference


def differences(
    case: Case, service: WayOfServing, wanted: Result, result: Result
) -> list[tuple[object, ...]]:
    mine, theirs = wanted.of_kinds(service.kinds), result.of_kinds(service.kinds)
    indices = sorted(mine.keys() | theirs.keys())
    return [
        (index, mine.get(index), theirs.get(index), case.events[index])
        for index in indices
        if mine.get(index) != theirs.get(index)
    ]


def assert_same(case: Case, service: WayOfServing, wanted: Result, result: Result) -> None:
    differing = differences(case, service, wanted, result)
    assert not differing, f"{service.name}: {len(differing)} differ, the first: {differing[0]}"
    assert result.counts in (wanted.counts, None)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    "service",
    [
        pytest.param(one, id=one.name, marks=pytest.mark.long if one.name in ONLY_LONG else ())
        for one in IN_PROCESS
    ],
)
def test_every_service_decides_as_a_file_in_one_piece(
    case: Case,
    wanted: Result,
    service: WayOfServing,
    seed: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FRAUD_CONTROL_GROUP_KEY", KEY)
    assert_same(case, service, wanted, service.decide(case, cuttings(len(case.events), seed), tmp_path))


def decided_once(case: Case, wanted: Result) -> list[tuple[str, str]]:
    """Return what was told in order, as a file of decisions has it: equal refused bytes are one line."""
    lines: dict[object, tuple[str, str]] = {}
    for index, one in sorted(wanted.records.items()):
        lines.setdefault((one, case.events[index]) if one[0] in REFUSED else index, one)
    return list(lines.values())


@pytest.mark.long
@pytest.mark.parametrize("service", PROCESSES, ids=lambda one: one.name)
def test_every_process_decides_as_a_file_in_one_piece(
    case: Case, wanted: Result, service: WayOfServing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FRAUD_CONTROL_GROUP_KEY", KEY)
    cuts = killed_once(cuttings(len(case.events), 7), len(case.events))
    reference = service.decide(case, cuts, tmp_path)
    if "duplicate" not in service.kinds:
        wanted = Result(in_order(decided_once(case, wanted)))
    assert_same(case, service, wanted, reference)
