"""Real-time fraud detection for payments: one engine, trained on replayed history and served live.

What flows, and the stages that compute, are in `core`; `engine` puts the stages in order; `adapters` speak to
the outside world; `serving` wires both to where payments come from.  `training`, `evaluation`,
`backtesting`, `challengers` and `releases` change what serves; `audit` explains it; `cli` is the command
`fraud`.  Begin reading at `engine/pipeline.py`.  docs/architecture.md has the map.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fraud_detection.python_api import (
        Backtest,
        Bundle,
        ConfigError,
        Explanation,
        FraudDetectionError,
        Project,
        Proposal,
        Training,
        backtest,
        features,
        load_bundle,
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


def __getattr__(name: str) -> object:
    """Load the public API when it is first asked for: what serves imports this package and none of that."""
    if name in __all__:
        return getattr(import_module("fraud_detection.python_api"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
