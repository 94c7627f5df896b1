"""Fit the calibration: one slope and one intercept, pulled towards 'no change' when frauds are few.

It never sees the rows that the model learned from.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fraud_detection.core.score.calibration import Calibration
from fraud_detection.evaluation.weights import in_effect

SLOPE_SIGMA = 0.5
INTERCEPT_SIGMA = 2.0
"""How far slope and intercept may be expected from 1 and 0: standard deviations of a normal prior."""

_PRECISION = np.array([SLOPE_SIGMA**-2, INTERCEPT_SIGMA**-2])

MIN_SLOPE = 0.1
"""A model that ranks backwards on the later slice is still never turned round: its metrics show it."""

_STEPS = 100
_CLOSE = 1e-12


def fit_calibration(
    log_odds: np.ndarray,
    label: np.ndarray,
    positive_weight: float = 1.0,
    weight: np.ndarray | None = None,
) -> Calibration:
    """Return the calibration that explains `label` (1 or 0, shape (n,)) best, given the prior.

    positive_weight: how much heavier frauds weighed in training.  It shifts every log-odds by
    its logarithm, so the prior expects just that shift to be undone.
    weight: sampling weights, shape (n,).  Against the prior they count as their effective sample size: one
    payment of weight 100 counts as one.

    >>> raw = np.repeat([-2.0, 2.0], 5000)
    >>> label = np.concatenate([np.arange(5000) % 100 == 0, np.arange(5000) % 2 == 0])
    >>> fitted = fit_calibration(raw, label)
    >>> round(fitted.probability(-2.0), 3), round(fitted.probability(2.0), 3)
    (0.01, 0.5)

    Without a single payment it changes nothing:

    >>> fit_calibration(np.zeros(0), np.zeros(0))
    Calibration(slope=1.0, intercept=0.0)
    """
    raw, outcome = np.asarray(log_odds, np.float64), np.asarray(label, np.float64)
    each = np.ones(raw.size) if weight is None else in_effect(weight)
    rows = _Rows(np.column_stack([raw, np.ones(raw.size)]), outcome, each)
    shift = np.log(1.0 / positive_weight)
    slope, intercept = _newton(rows, np.array([1.0, shift]), np.array([True, True]))
    if slope < MIN_SLOPE:
        slope, intercept = _newton(rows, np.array([MIN_SLOPE, shift]), np.array([False, True]))
    # Rounded, so that another library for linear algebra gives the same bundle.
    return Calibration(slope=round(float(slope), 9), intercept=round(float(intercept), 9))


@dataclass(frozen=True, slots=True)
class _Rows:
    """design: log-odds and 1, shape (n, 2); label and weight: shape (n,)."""

    design: np.ndarray
    label: np.ndarray
    weight: np.ndarray

    def loss(self, at: np.ndarray, prior: np.ndarray) -> float:
        z = self.design @ at
        each = self.weight * (np.logaddexp(0.0, z) - self.label * z)
        return float(each.sum() + (_PRECISION * (at - prior) ** 2).sum() / 2)

    def step(self, at: np.ndarray, prior: np.ndarray, free: np.ndarray) -> np.ndarray:
        chance = 1.0 / (1.0 + np.exp(-np.clip(self.design @ at, -700, 700)))
        gradient = self.design.T @ (self.weight * (chance - self.label)) + _PRECISION * (at - prior)
        variance = (self.weight * chance * (1 - chance))[:, None]
        curvature = (self.design * variance).T @ self.design + np.diag(_PRECISION)
        step = np.zeros(2)
        step[free] = np.linalg.solve(curvature[np.ix_(free, free)], gradient[free])
        return step


def _newton(rows: _Rows, prior: np.ndarray, free: np.ndarray) -> np.ndarray:
    """Minimise the loss over the free ones of (slope, intercept), from the prior's centre on."""
    at = prior.copy()
    for _ in range(_STEPS):
        step = rows.step(at, prior, free)
        while np.abs(step).max() > _CLOSE and rows.loss(at - step, prior) > rows.loss(at, prior):
            step = step / 2
        at = at - step
        if np.abs(step).max() <= _CLOSE:
            break
    return at
