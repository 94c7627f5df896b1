"""Payments that one side stopped, the other would approve, and whose outcome no figure counts.

Of what was stopped nobody hears whether it was fraud.  A side that just approves it would look free of cost:
without a label there is neither a fraud missed nor money lost.
"""

from __future__ import annotations

import numpy as np

from fraud_detection.core.events import Action
from fraud_detection.core.project_schema import Costs
from fraud_detection.evaluation.comparison import Unseen
from fraud_detection.evaluation.cutoffs import prices
from fraud_detection.evaluation.evaluation_set import NONE, Answers, Traffic
from fraud_detection.evaluation.slices import Parting
from fraud_detection.evaluation.time_split import UNKNOWN


def unseen(traffic: Traffic, sides: tuple[Answers, Answers], total: Parting, costs: Costs) -> Unseen:
    """Return how many these are among what is in `total`, and what they would cost if all were fraud."""
    standing = unseen_weights(traffic, sides, total)
    rows = np.flatnonzero(standing)
    stands_for, amount = standing[rows], traffic.amount[rows]
    return Unseen(
        payments=round(float(stands_for.sum()), 6),
        money=round(float((np.nan_to_num(amount) * stands_for).sum()), 6),
        cost=round(float((prices(np.ones(rows.size), amount, costs).approved * stands_for).sum()), 6),
    )


def unseen_weights(traffic: Traffic, sides: tuple[Answers, Answers], total: Parting) -> np.ndarray:
    """Return, for each payment, how many unseen ones it stands for; float64, 0 for all others.

    A label is an outcome that was seen, also one by people who reviewed the payment.  Where a payment could
    be assigned to the control group, its own label counts in no sum: the control group stands for it once
    some of them are labelled, and until then each stands for itself alone.  While none of n that are labelled
    is fraud, up to 3 / n of what they stand for may be (the rule of three, 95 %).
    """
    newly = (total.piece != NONE) & (sides[0].action > Action.APPROVE) & (sides[1].action == Action.APPROVE)
    weight, known = traffic.weights(), traffic.label != UNKNOWN
    by_lot = newly & (weight != 1)
    told = by_lot & known & (weight > 0)
    if told.any():
        may_be = 0.0 if (traffic.label[told] == 1).any() else min(1.0, 3.0 / float(told.sum()))
        return np.where(newly & ~known, weight, np.where(told, may_be * weight, 0.0))
    return np.where(newly & (by_lot | ~known), 1.0, 0.0)
