"""How sure a figure is: a seeded Poisson bootstrap over cards, and Wilson's interval for shares.

A card is drawn with all its payments, since they are not independent; each card Poisson(1) times.
Both sides see the same draws, so differences are paired.

Drawing n of n cards with replacement takes each about Poisson(1) times, and the counts hang together only by
their fixed sum.  Without that bond (Chamandy et al. 2012, Estimating uncertainty for massive data streams)
each card's count can be a hash of the card and the resample: nothing is stored, and no card's draws depend on
which others there are.  A ratio has the same interval either way; a sum of money has a wider one, which also
says that another month would have had another number of cards.
"""

from __future__ import annotations

import math

import numpy as np

from fraud_detection.evaluation.comparison import Estimate
from fraud_detection.evaluation.intervals import wilson
from fraud_detection.evaluation.measures import RESAMPLES

DRAWN_AT_ONCE = 50
_ODD = np.array([0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB], np.uint64)
_A_HASH, _BITS, _LOW = np.uint64(4), np.uint64(16), np.uint64(0xFFFF)
_POISSON = np.searchsorted(
    np.cumsum([math.exp(-1.0) / math.factorial(count) for count in range(12)]),
    (np.arange(65536) + 0.5) / 65536,
).astype(np.uint8)
"""How often something is drawn, for each value of 16 random bits: Poisson with a mean of 1."""


def resampled(group: np.ndarray, cluster: np.ndarray, sums: np.ndarray, groups: int, seed: int) -> np.ndarray:
    """Return the sums of each group in every resample, shape (RESAMPLES, groups, k).

    group, cluster: int64, shape (n,): the group of a payment, and the card that it is drawn with.
    sums: float64, shape (n, k).  What is in no group is not handed in.
    """
    found = np.zeros((RESAMPLES, groups, sums.shape[1]))
    if not group.size:
        return found
    clusters, place = np.unique(cluster, return_inverse=True)
    pairs, pair = np.unique(group * clusters.size + place, return_inverse=True)
    columns = [np.bincount(pair, weights=column, minlength=pairs.size) for column in sums.T]
    values, owner = np.column_stack(columns), pairs % clusters.size
    edges = np.searchsorted(pairs // clusters.size, np.arange(groups + 1))
    for start in range(0, RESAMPLES, DRAWN_AT_ONCE):
        draws = drawn(clusters, start, min(start + DRAWN_AT_ONCE, RESAMPLES), seed).astype(np.float64)
        for number in range(groups):
            own = slice(edges[number], edges[number + 1])
            found[start : start + len(draws), number] = draws[:, owner[own]] @ values[own]
    return found


def drawn(clusters: np.ndarray, start: int, stop: int, seed: int) -> np.ndarray:
    """Return how often each cluster is drawn in the resamples from `start` until before `stop`, uint8.

    A hash of the cluster and the resample, so that a card is drawn alike whichever others matter: the same
    side has the same intervals beside any other.

    >>> some, more = drawn(np.array([7]), 0, 400, 1), drawn(np.array([3, 7]), 0, 400, 1)
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
    """Return a figure with the middle 95 % of what resamples gave; NaN becomes None.

    >>> estimate(2.0, np.array([1.0, 2.0, 3.0])).value, estimate(math.nan, np.array([math.nan])).low
    (2.0, None)
    """
    known = draws[np.isfinite(draws)]
    if not math.isfinite(value) or not known.size:
        return Estimate(value=figure(value), low=None, high=None)
    low, high = np.quantile(known, [0.025, 0.975])
    return Estimate(value=figure(value), low=figure(low), high=figure(high))


def share(part: float, whole: float, effective: float, draws: np.ndarray) -> Estimate:
    """Return a share with the wider of the bootstrap's interval and Wilson's.

    The bootstrap knows that a card's payments go together, but of three hits in three it says that
    nothing else was possible.  effective: how many equal observations the whole is worth.
    """
    value = part / whole if whole else math.nan
    drawn, (low, high) = estimate(value, draws), wilson(value, effective)
    lows = [one for one in (drawn.low, low) if one is not None and math.isfinite(one)]
    highs = [one for one in (drawn.high, high) if one is not None and math.isfinite(one)]
    return Estimate(
        value=figure(value),
        low=figure(min(lows, default=math.nan)),
        high=figure(max(highs, default=math.nan)),
    )


def figure(value: float) -> float | None:
    """Return a figure rounded to 6 digits, None where it has no meaning."""
    return round(float(value), 6) if math.isfinite(value) else None
