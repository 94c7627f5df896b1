"""How the small simulation is made: a project, its history, its features, and two trained bundles."""

from __future__ import annotations

from pathlib import Path

import msgspec

from fraud_detection.core.project_schema import Model
from fraud_detection.demo.demo import demo_project
from fraud_detection.simulator.history_file import write_history
from fraud_detection.simulator.settings import SimulatorSettings
from fraud_detection.training.stages import make_features
from fraud_detection.training.workflow import train
from tests.conftest import SmallSimulation

SIMULATION = SimulatorSettings(seed=3, days=60, cards=200, fraud_rate=0.05)
OTHER = Model(rounds=10, max_depth=2, threads=1)


def simulation_in(folder: Path) -> SmallSimulation:
    project = msgspec.structs.replace(demo_project(), model=Model(rounds=30, max_depth=3, threads=1))
    files = (folder / name for name in ("history.parquet", "features.parquet", "bundle", "other"))
    return SmallSimulation(project, SIMULATION, *files)


def make_simulation(folder: Path) -> None:
    simulation = simulation_in(folder)
    write_history(SIMULATION, simulation.history)
    make_features(simulation.project, simulation.history, simulation.features, lambda *_: None)
    train(simulation.project, simulation.features, simulation.bundle)
    train(msgspec.structs.replace(simulation.project, model=OTHER), simulation.features, simulation.other)
