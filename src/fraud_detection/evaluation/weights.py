"""How many payments one stands for, and how much a sum of unequal ones is worth.

A payment of the control group stands for all of its kind; see docs/labels.md.  Where the weights come
from is not known here.
"""

from __future__ import annotations

import math

import numpy as np


def effective(weight: np.ndarray) -> float:
    """Return how many equal payments say as much as these, after Kish; 0 where there is none.

    >>> effective(np.array([1.0, 1.0, 1.0])), effective(np.array([1.0, 1.0, 10.0])).__round__(2)
    (3.0, 1.41)
    """
    squares = float((weight**2).sum())
    return float(weight.sum()) ** 2 / squares if squares else 0.0


def deviation(weight: np.ndarray, chance: np.ndarray) -> float:
    """Return the standard deviation of a weighted number of frauds, each payment one by its own chance.

    >>> deviation(np.ones(4), np.full(4, 0.5)), deviation(np.array([100.0]), np.array([0.5]))
    (1.0, 50.0)
    """
    return math.sqrt(float((weight**2 * chance * (1 - chance)).sum()))


def in_effect(weight: np.ndarray) -> np.ndarray:
    """Return the weights scaled so that their sum is what they are worth; equal ones become 1.

    >>> in_effect(np.array([100.0, 100.0])).tolist()
    [1.0, 1.0]
    """
    total = float(weight.sum())
    scaled: np.ndarray = weight * (effective(weight) / total) if total else weight
    return scaled


def are_equal(weight: np.ndarray) -> bool:
    """Tell whether every payment stands for itself alone.

    >>> are_equal(np.ones(3)), are_equal(np.array([1.0, 0.0, 100.0]))
    (True, False)
    """
    return bool((weight == 1).all())
