"""Less of the same, where much is not the subject: a few features, a few cards."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np

from fraud_detection.adapters.files.tables import read_columns, write_columns
from fraud_detection.core.decoding import Duration
from fraud_detection.core.project_schema import EntityFeatures, Project


def few_features(project: Project) -> Project:
    """Return the project with less than a quarter of its features, and without the rules that need others."""
    entities = {
        "card": EntityFeatures(
            windows=durations("1h", "7d"), statistics=("count", "mean"), risk=durations("30d")
        ),
        "merchant": EntityFeatures(windows=durations("1d"), statistics=("ratio",), risk=durations("30d")),
    }
    features = msgspec.structs.replace(project.features, entities=entities)
    return msgspec.structs.replace(project, features=features, rules=())


def durations(*texts: str) -> tuple[Duration, ...]:
    return tuple(map(Duration.parse, texts))


def third_of_cards(history: Path, out: Path) -> Path:
    """Write the history of every third card, over the same days; return its path."""
    columns, metadata = read_columns(history)
    cards = np.array(columns["card_id"])
    rows = np.flatnonzero(np.isin(cards, np.unique(cards)[::3]))
    write_columns(out, {name: [values[row] for row in rows] for name, values in columns.items()}, metadata)
    return out
