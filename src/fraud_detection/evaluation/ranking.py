"""Average precision of two arms on the same payments, and their difference, clustered by card."""

from __future__ import annotations

import numpy as np

from fraud_detection.evaluation.comparison import Estimate
from fraud_detection.evaluation.measures import RESAMPLES
from fraud_detection.evaluation.resample import estimate


def average_precision(score: np.ndarray, fraud: np.ndarray, weight: np.ndarray) -> float:
    """Return the mean precision over all frauds, each payment counting `weight` times; NaN without one.

    >>> average_precision(np.array([0.9, 0.5, 0.4]), np.array([1, 0, 1]), np.ones(3)).__round__(4)
    0.8333
    """
    return float(_Levels(score).average_precision(fraud * weight, (1 - fraud) * weight))


def ranked(
    scores: tuple[np.ndarray, np.ndarray],
    fraud: np.ndarray,
    weight: np.ndarray,
    card: np.ndarray,
    seed: int,
) -> tuple[Estimate, Estimate, Estimate]:
    """Return the average precision of each arm, and variant minus baseline, with 95 % intervals.

    All arrays have one row per payment; card: int64, cluster of the bootstrap.  Both arms see the same draws.
    """
    levels = [_Levels(score) for score in scores]
    cards, card_index = np.unique(card, return_inverse=True)
    rng = np.random.default_rng(seed)
    resampled = np.empty((RESAMPLES, 2))
    for row in range(RESAMPLES):
        weights = weight * rng.poisson(1.0, cards.size)[card_index]
        resampled[row] = [
            arm_levels.average_precision(fraud * weights, (1 - fraud) * weights) for arm_levels in levels
        ]
    exact = [arm_levels.average_precision(fraud * weight, (1 - fraud) * weight) for arm_levels in levels]
    return (
        estimate(exact[0], resampled[:, 0]),
        estimate(exact[1], resampled[:, 1]),
        estimate(exact[1] - exact[0], resampled[:, 1] - resampled[:, 0]),
    )


class _Levels:
    """Distinct scores of n payments, highest first."""

    def __init__(self, score: np.ndarray) -> None:
        levels, self._level = np.unique(-score, return_inverse=True)
        self._size = levels.size

    def average_precision(self, frauds: np.ndarray, goods: np.ndarray) -> float:
        hit = np.bincount(self._level, weights=frauds, minlength=self._size)
        harmed = np.bincount(self._level, weights=goods, minlength=self._size)
        caught, flagged = np.cumsum(hit), np.cumsum(hit + harmed)
        total = hit.sum()
        return float((hit * caught / np.maximum(flagged, 1e-12)).sum() / total) if total else float("nan")
