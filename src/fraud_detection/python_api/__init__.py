"""The public Python API: the functions that the commands call, on data frames, for notebooks and programs.

`import fraud_detection as fd` offers what `__all__` lists here, loaded when it is first asked for; everything
else in the package may change in any release.  Not here: work of any kind, which lies in the packages below.
Imports `training`, `backtesting`, `serving`, `onboarding` and below; only the package itself imports
it.  Begin at `workflow.py`.
"""

from fraud_detection.core.errors import ConfigError, FraudDetectionError
from fraud_detection.core.project_schema import Project
from fraud_detection.python_api.bundle import Bundle, Explanation, load_bundle
from fraud_detection.python_api.workflow import (
    Backtest,
    Proposal,
    Training,
    backtest,
    features,
    load_project,
    propose,
    train,
)

__all__ = [
    "Backtest",
    "Bundle",
    "ConfigError",
    "Explanation",
    "FraudDetectionError",
    "Project",
    "Proposal",
    "Training",
    "backtest",
    "features",
    "load_bundle",
    "load_project",
    "propose",
    "train",
]
