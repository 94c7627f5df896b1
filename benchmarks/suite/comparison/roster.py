"""The comparison servers of the benchmark, made ready for the model of a bundle."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.suite.comparison.bentoml_serve import BentomlServe
from benchmarks.suite.comparison.kind import Kind, Model
from benchmarks.suite.comparison.mlflow_serve import MlflowServe, MlflowTensors
from benchmarks.suite.comparison.mlserver_start import MlserverStart
from benchmarks.suite.comparison.server_process import ComparisonServer, Work
from benchmarks.suite.comparison.typical_service import TypicalService
from fraud_detection.adapters.xgboost.model import XGBoostScorer
from fraud_detection.core.score.bundle import Bundle

ENVIRONMENTS = Path(".venv-comparison")

KINDS: tuple[Kind, ...] = (TypicalService(), MlflowServe(), MlflowTensors(), MlserverStart(), BentomlServe())


def work_of(bundle: Bundle, rows: Sequence[Sequence[float]] = ()) -> Work:
    """Return what the comparison servers are given; without rows, the test vectors of the bundle.

    The scores are those of the scorer that serves here, uncalibrated: the servers have the model alone.
    """
    contents = bundle.contents
    rows = rows or contents.vectors.matrix()
    scorer = XGBoostScorer(contents.model)
    return Work(Model(contents.model, contents.features.names), rows, scorer.score(rows))


def comparison_servers(
    bundle: Bundle,
    folder: Path,
    rows: Sequence[Sequence[float]] = (),
    environments: Path = ENVIRONMENTS,
) -> list[ComparisonServer]:
    """Return every comparison server, not started yet; raise ConfigError when an environment is not there."""
    work = work_of(bundle, rows)
    return [
        ComparisonServer(kind, work, environments / kind.environment, folder / kind.name) for kind in KINDS
    ]
