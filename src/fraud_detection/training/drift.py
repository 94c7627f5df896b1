"""How far payments of late are from those a bundle learned from: the population stability index.

It looks at what was served, scores and features, and needs no labels.
"""

from __future__ import annotations

import numpy as np

from fraud_detection.core.score.reference import Distribution

DRIFTED = 0.25
"""From here on a distribution has changed a lot; below 0.1 is what chance and the season do."""

MIN_PAYMENTS = 1_000
"""With fewer the index of ten bins is more than 0.01 by chance alone."""

MIN_SHARE = 1e-4
SMOOTHING = 0.5


def stability_index(then: Distribution, values: np.ndarray) -> float:
    """Return the index of values (float64, shape (n,), NaN where missing) against a distribution of training.

    What is missing is a bin of its own.

    >>> then = Distribution(edges=(1.0, 2.0), shares=(0.5, 0.25, 0.25))
    >>> same = stability_index(then, np.array([1.0, 0.5, 2.0, 3.0] * 500))
    >>> other = stability_index(then, np.array([3.0, 3.0, 2.0, np.nan] * 500))
    >>> round(same, 3), other > DRIFTED
    (0.0, True)
    """
    present = values[~np.isnan(values)]
    counts = np.bincount(np.searchsorted(np.array(then.edges), present), minlength=len(then.shares))
    seen = np.append(counts, values.size - present.size) + SMOOTHING
    now = seen / seen.sum()
    shares = np.append(np.array(then.shares) * (1 - then.missing), then.missing)
    expected = np.maximum(shares, MIN_SHARE)
    return float(((now - expected) * np.log(now / expected)).sum())
