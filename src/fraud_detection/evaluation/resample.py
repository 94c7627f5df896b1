"""Confidence intervals: a seeded Poisson bootstrap clustered by card, and Wilson's interval for shares.

A card is drawn with all its payments, since they are not independent; each card Poisson(1) times.
Both arms see the same draws, so differences are paired.

Drawing n of n cards with replacement draws each about Poisson(1) times, and the counts depend on one another
only by their fixed sum.  Without that constraint (Chamandy et al. 2012, Estimating uncertainty for massive
data streams) the count of a card can be a hash of the card and the draw: nothing is stored, and the draws of
a card do not depend on the other cards.  A ratio has the same interval either way; a sum of money has a wider
one, which includes that another month would have had another number of cards.
"""

from __future__ import annotations

import math

import numpy as np

from fraud_detection.evaluation.comparison import Estimate
from fraud_detection.evaluation.intervals import wilson
from fraud_detection.evaluation.measures import RESAMPLES

DRAWS_PER_BLOCK = 50
_ODD = np.array([0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB], np.uint64)
_A_HASH, _BITS, _LOW = np.uint64(4), np.uint64(16), np.uint64(0xFFFF)
_POISSON = np.searchsorted(
    np.cumsum([math.exp(-1.0) / math.factorial(count) for count in range(12)]),
    (np.arange(65536) + 0.5) / 65536,
).astype(np.uint8)
"""How often something is drawn, for each value of 16 random bits: Poisson with a mean of 1."""


def bootstrap_sums(
    group: np.ndarray, cluster: np.ndarray, sums: np.ndarray, groups: int, seed: int
) -> np.ndarray:
    """Return the sums of each group in every bootstrap draw, shape (RESAMPLES, groups, k).

    group, cluster: int64, shape (n,): group and card of each payment.  sums: float64, shape (n, k).
    Payments without a group are not passed in.
    """
    resampled = np.zeros((RESAMPLES, groups, sums.shape[1]))
    if not group.size:
        return resampled
    clusters, cluster_index = np.unique(cluster, return_inverse=True)
    pairs, pair = np.unique(group * clusters.size + cluster_index, return_inverse=True)
    columns = [np.bincount(pair, weights=column, minlength=pairs.size) for column in sums.T]
    values, owner = np.column_stack(columns), pairs % clusters.size
    edges = np.searchsorted(pairs // clusters.size, np.arange(groups + 1))
    for start in range(0, RESAMPLES, DRAWS_PER_BLOCK):
        draws = bootstrap_draws(clusters, start, min(start + DRAWS_PER_BLOCK, RESAMPLES), seed).astype(
            np.float64
        )
        for number in range(groups):
            own = slice(edges[number], edges[number + 1])
            resampled[start : start + len(draws), number] = draws[:, owner[own]] @ values[own]
    return resampled


def bootstrap_draws(clusters: np.ndarray, start: int, stop: int, seed: int) -> np.ndarray:
    """Return how often each cluster is drawn in the draws `start` to `stop` (exclusive), uint8.

    A hash of cluster and draw, so the draws of a card do not depend on the other cards: an arm has the same
    intervals whatever it is compared with.

    >>> some, more = bootstrap_draws(np.array([7]), 0, 400, 1), bootstrap_draws(np.array([3, 7]), 0, 400, 1)
    >>> bool((some[:, 0] == more[:, 1]).all()), 0.8 < float(some.mean()) < 1.2
    (True, True)
    """
    own = _mixed(clusters.astype(np.uint64) + np.uint64(seed) * _ODD[:1])
    resample = np.arange(start, stop, dtype=np.uint64)[:, np.newaxis]
    hashed = _mixed(own[np.newaxis, :] + (resample // _A_HASH) * _ODD[:1])
    return np.asarray(_POISSON[(hashed >> (resample % _A_HASH * _BITS)) & _LOW])


def _mixed(keys: np.ndarray) -> np.ndarray:
    """Return well mixed 64-bit hashes, by the finaliser of SplitMix64; sums and products wrap."""
    keys = (keys ^ (keys >> np.uint64(30))) * _ODD[1:2]
    keys = (keys ^ (keys >> np.uint64(27))) * _ODD[2:3]
    return np.asarray(keys ^ (keys >> np.uint64(31)))


def estimate(value: float, draws: np.ndarray) -> Estimate:
    """Return a figure with the middle 95 % of its bootstrap draws; NaN becomes None.

    >>> estimate(2.0, np.array([1.0, 2.0, 3.0])).value, estimate(math.nan, np.array([math.nan])).low
    (2.0, None)
    """
    known = draws[np.isfinite(draws)]
    if not math.isfinite(value) or not known.size:
        return Estimate(value=figure(value), low=None, high=None)
    low, high = np.quantile(known, [0.025, 0.975])
    return Estimate(value=figure(value), low=figure(low), high=figure(high))


def share(numerator: float, whole: float, effective: float, draws: np.ndarray) -> Estimate:
    """Return a share with the wider of the bootstrap's and Wilson's interval.

    The bootstrap accounts for clusters, but gives three hits of three an interval of zero width.
    effective: effective sample size of the whole.
    """
    value = numerator / whole if whole else math.nan
    bootstrap_draws, (low, high) = estimate(value, draws), wilson(value, effective)
    lows = [edge for edge in (bootstrap_draws.low, low) if edge is not None and math.isfinite(edge)]
    highs = [edge for edge in (bootstrap_draws.high, high) if edge is not None and math.isfinite(edge)]
    return Estimate(
        value=figure(value),
        low=figure(min(lows, default=math.nan)),
        high=figure(max(highs, default=math.nan)),
    )


def figure(value: float) -> float | None:
    """Return a figure rounded to 6 digits, None where it has no meaning."""
    return round(float(value), 6) if math.isfinite(value) else None
