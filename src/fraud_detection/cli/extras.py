"""Which optional library a command needs, said in one sentence before any work begins.

The plain installation initialises, trains, scores, serves and explains.  What only some
people need is an extra of the package.
"""

from __future__ import annotations

import platform
from collections.abc import Callable
from importlib.util import find_spec
from typing import TYPE_CHECKING

from fraud_detection.core.errors import ConfigError

if TYPE_CHECKING:
    from fraud_detection.core.project_schema import Project

DISTRIBUTION = "fraud-detection-system"
EXTRAS = {"boto3": "aws", "botocore": "aws", "mlflow": "track", "optuna": "tune", "pyspark": "spark"}
"""The extra that brings a library."""


def missing(error: ModuleNotFoundError) -> ConfigError | None:
    """Return the refusal for a library of an extra that is not installed; None for any other module.

    >>> str(missing(ModuleNotFoundError("", name="botocore.session")))
    "needs botocore, which is not installed: pip install 'fraud-detection-system[aws]'"
    """
    library = (error.name or "").partition(".")[0]
    return ConfigError(f"needs {advice(library)}") if library in EXTRAS else None


def require(library: str, otherwise: str) -> None:
    """Raise ConfigError where a library of an extra is not installed; `otherwise` says how to do without."""
    if not has(library):
        raise ConfigError(f"needs {advice(library)}; {otherwise}")


def tracks(project: Project, log: Callable[[str], None], *, wanted: bool) -> bool:
    """Return whether a training is tracked; `log` where it is not because MLflow is not installed.

    Raises ConfigError where what MLflow stores cannot be used, or the project file names its own tracking
    server and MLflow is not installed.
    """
    from fraud_detection.core.project_schema import Tracking

    if not wanted:
        return False
    if has("mlflow"):
        from fraud_detection.training.workflow import tracker

        # Opened once before the work, which may take hours and would end without its figures.
        tracker(project)
        return True
    if project.tracking != Tracking():
        raise ConfigError(
            f"`tracking` of the project file needs {advice('mlflow')}; or train with --no-tracking"
        )
    log(f"this run is not tracked: that takes {advice('mlflow')}")
    return False


def installed() -> str:
    """Return the version, and whether the hot modules are compiled."""
    from importlib.metadata import version  # slow to import

    found = find_spec("fraud_detection.engine.pipeline")
    source = (found.origin if found is not None else None) or ""
    how = "plain Python: same results, slower" if source.endswith(".py") else "compiled"
    return f"{version(DISTRIBUTION)} ({how}; Python {platform.python_version()})"


def has(library: str) -> bool:
    """Return whether a library is installed, without importing it."""
    return find_spec(library) is not None


def advice(library: str) -> str:
    """Return the message for a library of an extra that is missing: its name, and how to install it."""
    return f"{library}, which is not installed: pip install '{DISTRIBUTION}[{EXTRAS[library]}]'"
