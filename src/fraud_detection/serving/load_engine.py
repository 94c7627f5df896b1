"""Load a bundle with its model into this process, for every service that scores by itself."""

from __future__ import annotations

from pathlib import Path

from fraud_detection.adapters.xgboost.bundle_trial import trusted_scorer
from fraud_detection.core.project_schema import Project
from fraud_detection.core.score.archive import read_bundle
from fraud_detection.engine.engine import Engine, make_engine


def load_engine(path: Path, project: Project | None = None) -> Engine:
    """Load a bundle and check it: files, fingerprint, test vectors.

    project: the project file of today, whose rules, policy and aliases take the place of those in the
    bundle; its features must be the bundle's.  Raises ConfigError with the reason.
    """
    bundle = read_bundle(path)
    return make_engine(bundle, trusted_scorer(bundle), project)
