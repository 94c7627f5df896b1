"""Load a bundle with the model inside this process, the same way for every door that holds it itself."""

from __future__ import annotations

from pathlib import Path

from fraud_detection.adapters.xgboost_trial import trusted_scorer
from fraud_detection.config import Project
from fraud_detection.run.engine import Engine, make_engine
from fraud_detection.score.archive import read_bundle


def load_engine(path: Path, project: Project | None = None) -> Engine:
    """Load a bundle and check it: files, fingerprint, test vectors.

    project: the project file of today, whose rules, policy and aliases take the place of those in the
    bundle; its features must be the bundle's.  Raises ConfigError with the reason.
    """
    bundle = read_bundle(path)
    return make_engine(bundle, trusted_scorer(bundle), project)
