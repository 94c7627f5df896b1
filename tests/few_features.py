"""The simulated project with a few of its features: where many are not the subject, they only take time."""

from __future__ import annotations

import msgspec

from fraud_detection.config import EntityFeatures, Project
from fraud_detection.strict import Duration


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


def durations(*words: str) -> tuple[Duration, ...]:
    return tuple(map(Duration.parse, words))
