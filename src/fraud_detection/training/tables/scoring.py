"""Score rows of a table batch by batch: what is kept of each is its log-odds, four bytes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

import numpy as np

from fraud_detection.core.score.calibration import Calibration

CALIBRATED_AT_ONCE = 65_536


class Marginal(Protocol):
    """What gives log-odds."""

    def margins(self, rows: np.ndarray) -> np.ndarray:
        """Return the log-odds of rows of float32, shape (m,)."""


def margins(scorer: Marginal, parts: Iterable[np.ndarray], rows: int) -> np.ndarray:
    """Return the log-odds before calibration of features in parts, `rows` in all: float32, shape (rows,)."""
    raw = np.empty(rows, np.float32)
    at = 0
    for part in parts:
        raw[at : at + len(part)] = scorer.margins(part)
        at += len(part)
    return raw


def probabilities(calibration: Calibration, raw: np.ndarray) -> np.ndarray:
    """Return the calibrated probabilities of log-odds, as a scorer gives them: float64, shape (n,)."""
    score = np.empty(raw.size)
    for at in range(0, raw.size, CALIBRATED_AT_ONCE):
        some = raw[at : at + CALIBRATED_AT_ONCE].tolist()
        score[at : at + len(some)] = [calibration.probability(each) for each in some]
    return score
