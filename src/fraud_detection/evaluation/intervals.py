"""How far a share may be from its true value, where payments stand for different numbers of others."""

from __future__ import annotations

import math

import numpy as np

from fraud_detection.evaluation.measures import RESAMPLES, mean, middle_95
from fraud_detection.evaluation.weights import effective

Z = 1.959964
"""Of a 95 % interval."""


def rate_interval(
    hit: np.ndarray, weight: np.ndarray, seed: int, resamples: int = RESAMPLES
) -> tuple[float, float]:
    """Return a 95 % interval of the share of hits among payments; NaN where there is none.

    It is the wider of two: a Poisson bootstrap over payments, which knows that they weigh differently, and
    Wilson's with their effective number, since of three hits in three a bootstrap says that
    nothing else was possible.

    >>> three = rate_interval(np.array([True] * 3), np.ones(3), seed=1)
    >>> round(three[0], 3), three[1]
    (0.439, 1.0)
    """
    if not weight.sum():
        return (math.nan, math.nan)
    rng = np.random.default_rng(seed)
    hits, all_of_them = np.zeros(resamples), np.zeros(resamples)
    for stratum_weight in np.unique(weight):
        own = weight == stratum_weight
        stratum_hits = stratum_weight * rng.poisson(int((own & hit).sum()), resamples)
        hits += stratum_hits
        all_of_them += stratum_hits + stratum_weight * rng.poisson(int((own & ~hit).sum()), resamples)
    ratios = np.divide(hits, all_of_them, out=np.full(resamples, np.nan), where=all_of_them > 0)
    low, high = middle_95(list(ratios))
    wilson_low, wilson_high = wilson(mean(hit, weight), effective(weight))
    return (float(np.fmin(low, wilson_low)), float(np.fmax(high, wilson_high)))


def wilson(share: float, count: float) -> tuple[float, float]:
    """Return Wilson's 95 % interval of a share among `count` observations; NaN without any.

    >>> [round(edge, 2) for edge in wilson(1.0, 3)], [round(edge, 3) for edge in wilson(0.5, 100)]
    ([0.44, 1.0], [0.404, 0.596])
    """
    if not count or not math.isfinite(share):
        return math.nan, math.nan
    shrinkage = Z * Z / count
    middle = (share + shrinkage / 2) / (1 + shrinkage)
    half = Z / (1 + shrinkage) * math.sqrt(share * (1 - share) / count + shrinkage / (4 * count))
    return max(middle - half, 0.0), min(middle + half, 1.0)
