"""Sampling weights: effective sample size and standard deviation of weighted counts.

A payment of the control group represents all of its kind, see docs/labels.md.
"""

from __future__ import annotations

import math

import numpy as np


def effective(weight: np.ndarray) -> float:
    """Return the effective sample size (Kish); 0 without payments.

    >>> effective(np.array([1.0, 1.0, 1.0])), effective(np.array([1.0, 1.0, 10.0])).__round__(2)
    (3.0, 1.41)
    """
    squares = float((weight**2).sum())
    return float(weight.sum()) ** 2 / squares if squares else 0.0


def deviation(weight: np.ndarray, chance: np.ndarray) -> float:
    """Return the standard deviation of a weighted number of frauds, given each payment's probability.

    >>> deviation(np.ones(4), np.full(4, 0.5)), deviation(np.array([100.0]), np.array([0.5]))
    (1.0, 50.0)
    """
    return math.sqrt(float((weight**2 * chance * (1 - chance)).sum()))


def in_effect(weight: np.ndarray) -> np.ndarray:
    """Return the weights scaled to sum to the effective sample size; equal ones become 1.

    >>> in_effect(np.array([100.0, 100.0])).tolist()
    [1.0, 1.0]
    """
    total = float(weight.sum())
    scaled: np.ndarray = weight * (effective(weight) / total) if total else weight
    return scaled


def are_equal(weight: np.ndarray) -> bool:
    """Return whether every weight is 1.

    >>> are_equal(np.ones(3)), are_equal(np.array([1.0, 0.0, 100.0]))
    (True, False)
    """
    return bool((weight == 1).all())
