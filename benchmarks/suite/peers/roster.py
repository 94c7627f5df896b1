"""The peers of the benchmark, made ready for the model of a bundle."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.suite.peers.bentoml_serve import BentomlServe
from benchmarks.suite.peers.kind import Kind, Model
from benchmarks.suite.peers.mlflow_serve import MlflowServe, MlflowTensors
from benchmarks.suite.peers.mlserver_start import MlserverStart
from benchmarks.suite.peers.peer import Peer, Work
from benchmarks.suite.peers.usual_service import UsualService
from fraud_detection.adapters.xgboost.model import XGBoostScorer
from fraud_detection.core.score.bundle import Bundle

ENVIRONMENTS = Path(".venv-peers")

KINDS: tuple[Kind, ...] = (UsualService(), MlflowServe(), MlflowTensors(), MlserverStart(), BentomlServe())


def work_of(bundle: Bundle, rows: Sequence[Sequence[float]] = ()) -> Work:
    """Return what the peers are given; without rows, the test vectors of the bundle.

    The scores are those of the scorer that serves here, without calibration: the peers have the model alone.
    """
    contents = bundle.contents
    asked = rows or contents.vectors.matrix()
    scorer = XGBoostScorer(contents.model)
    return Work(Model(contents.model, contents.features.names), asked, scorer.score(asked))


def peers(
    bundle: Bundle,
    folder: Path,
    rows: Sequence[Sequence[float]] = (),
    environments: Path = ENVIRONMENTS,
) -> list[Peer]:
    """Return every peer, not started yet; raise ConfigError when an environment is not there."""
    work = work_of(bundle, rows)
    return [Peer(kind, work, environments / kind.environment, folder / kind.name) for kind in KINDS]
