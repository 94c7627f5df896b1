"""Warnings of a training that should not be trusted, whatever its figures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from fraud_detection.core.score.bundle import Cutoffs

MIN_FRAUDS = 30
MAX_STOPPED = 0.5


def training_warnings(
    frauds: int, score: np.ndarray, cutoffs: Cutoffs, weight: np.ndarray | None = None
) -> tuple[str, ...]:
    """Return the warnings, a sentence each.

    frauds: in the training slice.  score: calibrated, of the validation slice, shape (n,).  weight: for how
    many payments each of that slice stands.

    >>> from fraud_detection.core.score.bundle import Cutoffs
    >>> cutoffs = Cutoffs(review_at=0.5, decline_at=0.9)
    >>> training_warnings(500, np.array([0.1, 0.6, 0.01]), cutoffs)
    ()
    >>> len(training_warnings(3, np.array([0.6, 0.6, 0.6]), cutoffs))
    3
    """
    warnings = []
    if frauds < MIN_FRAUDS:
        warnings.append(f"only {frauds} frauds to learn from: the figures are very uncertain")
    if score.size and np.ptp(score) == 0:
        warnings.append("every payment gets the same score: the model has learned nothing")
    stopped = float((score >= cutoffs.review_at).mean()) if score.size else 0.0
    if stopped > MAX_STOPPED:
        warnings.append(
            f"{100 * stopped:.0f} % of payments would be reviewed or declined: the model ranks too weakly "
            "for these costs; it needs more labelled frauds, or `policy.review_capacity_per_day`"
        )
    if weight is not None and (weight == 0).any() and not (weight > 1).any():
        warnings.append(
            f"{int((weight == 0).sum()):,} payments were stopped and none is in the control group: no figure "
            "speaks of such payments; wait, or raise `control_group.sampling_rate`"
        )
    return tuple(warnings)
