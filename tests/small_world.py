"""How the small world is made: a project, its history, its features, and two trained bundles."""

from __future__ import annotations

from pathlib import Path

import msgspec

from fraud_detection.core.project_schema import Model
from fraud_detection.demo.demo import demo_project
from fraud_detection.simulator.history_file import write_history
from fraud_detection.simulator.settings import SimulatorSettings
from fraud_detection.training.stages import make_features
from fraud_detection.training.workflow import train
from tests.conftest import SmallWorld

WORLD = SimulatorSettings(seed=3, days=60, cards=200, fraud_share=0.05)
OTHER = Model(rounds=10, max_depth=2, threads=1)


def world_in(folder: Path) -> SmallWorld:
    project = msgspec.structs.replace(demo_project(), model=Model(rounds=30, max_depth=3, threads=1))
    files = (folder / name for name in ("history.parquet", "features.parquet", "bundle", "other"))
    return SmallWorld(project, WORLD, *files)


def make_world(folder: Path) -> None:
    world = world_in(folder)
    write_history(WORLD, world.history)
    make_features(world.project, world.history, world.features, lambda *_: None)
    train(world.project, world.features, world.bundle)
    train(msgspec.structs.replace(world.project, model=OTHER), world.features, world.other)
