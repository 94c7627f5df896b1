"""A small trained world that the tests of whole paths share; made once a run."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from fraud_detection.adapters.simulator_files import write_history
from fraud_detection.config import Model, Project
from fraud_detection.generate.live import LiveOptions, LiveStream
from fraud_detection.generate.world import SimulatorSettings
from fraud_detection.run.demo import demo_project
from fraud_detection.run.training import FeaturesReport, make_features
from fraud_detection.strict import decode
from fraud_detection.train.workflow import TrainReport, train

WORLD = SimulatorSettings(seed=3, days=60, cards=200, fraud_share=0.05)
SHARED = Path(__file__).resolve().parents[2] / "shared"


class SmallWorld(msgspec.Struct, frozen=True):
    """A project, its history, and the bundle that was trained on it."""

    project: Project
    settings: SimulatorSettings
    history: Path
    features: Path
    bundle: Path
    made: FeaturesReport
    trained: TrainReport

    def live(self, payments: int, **options: object) -> list[bytes]:
        """Return live events after the history, without waiting for their schedule."""
        stream = LiveStream(self.settings, decode({"payments": payments, **options}, LiveOptions, "test"))
        return [event.data.rstrip(b"\n") for chunk in stream.chunks(0) for event in chunk]


@pytest.fixture(scope="session")
def small_world(tmp_path_factory: pytest.TempPathFactory) -> SmallWorld:
    folder = tmp_path_factory.mktemp("world")
    history, features, bundle = folder / "history.parquet", folder / "features.parquet", folder / "bundle"
    project = msgspec.structs.replace(demo_project(), model=Model(rounds=30, max_depth=3, threads=1))
    write_history(WORLD, history)
    made = make_features(project, history, features, lambda *_: None)
    trained = train(project, features, bundle)
    return SmallWorld(project, WORLD, history, features, bundle, made, trained)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Return the folder of data sets that are not part of the project; skip the test without them."""
    if not (SHARED / "data").is_dir():
        pytest.skip("the data sets in ../shared/data are not here")
    return SHARED / "data"
