"""What the examples of the Python API work on: payments, their project file, a trained bundle."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pyarrow.parquet as pq

import fraud_detection as fd
from fraud_detection.core.project_schema import Model
from fraud_detection.onboarding.project_text import to_yaml
from fraud_detection.simulator.history_file import write_history
from fraud_detection.simulator.settings import SimulatorSettings
from fraud_detection.training.stages import make_features
from fraud_detection.training.workflow import train
from tests.made_once import made_once
from tests.smaller import few_features

SIMULATION = SimulatorSettings(seed=3, days=60, cards=100, fraud_rate=0.08)
PAYMENTS, PROJECT, BUNDLE = "payments.parquet", "params.yaml", "build/bundle"


def names_in(folder: Path) -> dict[str, object]:
    """Fill a folder with the files of the examples; return the names that the examples use."""
    made_once("python_api_examples", make_files, folder)
    return {
        "fd": fd,
        "payments": pq.read_table(folder / PAYMENTS),
        "project": fd.load_project(folder / PROJECT),
        "bundle": fd.load_bundle(folder / BUNDLE),
    }


def make_files(folder: Path) -> None:
    """Write simulated payments, a small project file, and the bundle that is trained by it."""
    payments, features = folder / PAYMENTS, folder / "build" / "features.parquet"
    features.parent.mkdir()
    write_history(SIMULATION, payments)
    model = Model(rounds=60, max_depth=3, threads=1)
    project = msgspec.structs.replace(few_features(fd.propose(payments).project), model=model)
    project = msgspec.structs.replace(project, history=PAYMENTS)
    (folder / PROJECT).write_text(to_yaml(project, PAYMENTS, [], {}), encoding="utf-8")
    make_features(project, payments, features, lambda *_: None)
    train(project, features, folder / BUNDLE)
