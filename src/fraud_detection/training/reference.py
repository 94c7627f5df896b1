"""What was normal in training: the yardstick of later drift checks, and the typical values in reasons."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fraud_detection.core.score.bundle import Vectors
from fraud_detection.core.score.reference import Distribution, FeatureReference, Reference
from fraud_detection.evaluation.measures import mean
from fraud_detection.training.tables.labelled_rows import gathered

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fraud_detection.adapters.xgboost.model import XGBoostScorer
    from fraud_detection.core.events import FeatureDefinition
    from fraud_detection.training.tables.feature_table import Table
    from fraud_detection.training.tables.labelled_rows import LabelledRows

QUANTILES = (0.0, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1.0)
DECILES = tuple(round(0.1 * i, 1) for i in range(1, 10))
SCORE_EDGES = (0.5, 0.75, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999)
"""Where the scores' histogram is cut, as quantiles: finely at the top, where decisions are taken."""

VECTORS = 20

VALUES_AT_ONCE = 4_000_000
"""Of features, as float32; at least one feature is read whole."""


def reference(train: LabelledRows, score: Distribution) -> Reference:
    """Describe the labelled training slice; score: of calibrated ones of a slice not learned from.

    Its features are read a few at a time, so that all values of one can be sorted.
    """
    good = train.label == 0
    return Reference(
        rows=len(train),
        fraud_rate=_short(mean(train.label == 1, train.weight)),
        features=tuple(_features(train, good)),
        score=score,
    )


def _features(train: LabelledRows, good: np.ndarray) -> Iterator[FeatureReference]:
    definitions, at_once = train.info.features, max(1, VALUES_AT_ONCE // max(len(train), 1))
    for start in range(0, len(definitions), at_once):
        some = definitions[start : start + at_once]
        matrix = train.features(list(range(start, start + len(some))))
        for definition, values in zip(some, matrix.T, strict=True):
            yield _feature(definition, values, values[good])


def distribution(values: np.ndarray, cuts: tuple[float, ...] = DECILES) -> Distribution:
    """Cut at the given quantiles, each edge once, and count.

    >>> distribution(np.array([1.0, 2.0, np.nan, 4.0]), cuts=(0.5,))
    Distribution(edges=(2.0,), shares=(0.666667, 0.333333), missing=0.25)
    """
    present = values[~np.isnan(values)].astype(np.float64)
    missing = _short(1 - present.size / values.size) if values.size else 1.0
    if not present.size:
        return Distribution(edges=(), shares=(1.0,), missing=missing)
    edges = np.unique(np.quantile(present, cuts, method="inverted_cdf"))
    counts = np.bincount(np.searchsorted(edges, present), minlength=edges.size + 1)
    shares = tuple(_short(count / present.size) for count in counts)
    return Distribution(edges=tuple(edges.tolist()), shares=shares, missing=missing)


def vectors(table: Table, rows: range, raw: np.ndarray, scorer: XGBoostScorer) -> Vectors:
    """Choose rows of a table from the lowest score to the highest, and one with every value missing.

    raw: their log-odds, shape (len(rows),).
    """
    picked = np.argsort(raw, kind="stable")[np.linspace(0, raw.size - 1, VECTORS).astype(int)]
    numbers, position = np.unique(rows.start + picked, return_inverse=True)
    empty = np.full((1, len(table.info.features)), np.nan, np.float32)
    matrix = np.concatenate([gathered(table, numbers)[position], empty])
    return Vectors(
        rows=tuple(tuple(None if np.isnan(value) else float(value) for value in row) for row in matrix),
        raw=tuple(scorer.margins(matrix).tolist()),
        expected=tuple(scorer.score(matrix)),
    )


def _feature(definition: FeatureDefinition, values: np.ndarray, good: np.ndarray) -> FeatureReference:
    present = values[~np.isnan(values)]
    quantiles = np.quantile(present, QUANTILES, method="inverted_cdf").tolist() if present.size else ()
    typical_value = _typical_value(good[~np.isnan(good)], definition.unit)
    return FeatureReference(
        name=definition.name,
        typical_value=typical_value,
        quantiles=tuple(quantiles),
        distribution=distribution(values),
    )


def _typical_value(present: np.ndarray, unit: str) -> float | None:
    if not present.size:
        return None
    if unit == "code":
        codes, counts = np.unique(present, return_counts=True)
        return float(codes[np.argmax(counts)])
    return float(np.median(present))


def _short(value: float) -> float:
    return round(float(value), 6)
