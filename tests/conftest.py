"""A small trained simulation that the tests of whole paths share, made once for its sources."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import hypothesis
import msgspec
import pytest

from fraud_detection.adapters.spark.java import check_java
from fraud_detection.core.decoding import decode
from fraud_detection.core.errors import ConfigError
from fraud_detection.core.project_schema import Project
from fraud_detection.simulator.settings import SimulatorSettings
from fraud_detection.simulator.stream import SimulatedStream, StreamOptions
from tests.made_once import made_once
from tests.root import ROOT

SHARED = ROOT.parent / "shared"

# `make test` tries the same examples every time; `make test-long` tries others, and more of them.
hypothesis.settings.register_profile("fixed", derandomize=True, deadline=None)
hypothesis.settings.register_profile("random", max_examples=500, deadline=None, print_blob=True)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fixed"))


class SmallSimulation(msgspec.Struct, frozen=True):
    """A project, its history, and the bundle that was trained on it; `other` has another model."""

    project: Project
    settings: SimulatorSettings
    history: Path
    features: Path
    bundle: Path
    other: Path

    def events(self, payments: int, **options: object) -> list[bytes]:
        """Return the events after the history, without waiting for their schedule."""
        stream = SimulatedStream(
            self.settings, decode({"payments": payments, **options}, StreamOptions, "test")
        )
        return [event.data.rstrip(b"\n") for chunk in stream.chunks(0) for event in chunk]


@pytest.fixture(scope="session")
def small_simulation(tmp_path_factory: pytest.TempPathFactory) -> SmallSimulation:
    # Imported here: a process that only hands tests out needs none of the libraries that train.
    recipe = importlib.import_module("tests.small_simulation")
    folder = made_once("small_simulation", recipe.make_simulation, tmp_path_factory.mktemp("simulation"))
    simulation: SmallSimulation = recipe.simulation_in(folder)
    return simulation


SPARK = ROOT / ".venv-spark"
"""The environment that has pyspark, made by make."""


def missing(what: str) -> NoReturn:
    """Skip the test; fail it where everything has to be there, as on the machines of the build."""
    if os.environ.get("FRAUD_REQUIRE_ALL") == "1":
        pytest.fail(f"FRAUD_REQUIRE_ALL is set, and {what}", pytrace=False)
    pytest.skip(what)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what needs Java where it is missing."""
    if item.get_closest_marker("java") is None:
        return
    try:
        check_java(os.environ)
    except ConfigError as error:
        missing(str(error))
    if not (SPARK / ".locked").exists():
        missing(f"pyspark is not here: make {SPARK.name}/.locked")


@pytest.fixture(scope="module")
def no_pictures() -> Iterator[None]:
    """Let trainings draw nothing: a third of a small one is drawing."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fraud_detection.training.workflow.draw", lambda *_: ())
        yield


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Return the folder of data sets that are not part of the project; skip the test without them."""
    if not (SHARED / "data").is_dir():
        pytest.skip("the data sets in ../shared/data are not here")
    return SHARED / "data"
