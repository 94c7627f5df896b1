"""Unobserved outcomes: payments that one arm stopped and the other would approve.

The outcome of a stopped payment is never observed.  An arm that simply approves it would appear to cost
nothing: without a label there is neither a missed fraud nor lost money.
"""

from __future__ import annotations

import numpy as np

from fraud_detection.core.events import Action
from fraud_detection.core.project_schema import Costs
from fraud_detection.evaluation.comparison import UnobservedOutcomes
from fraud_detection.evaluation.cutoffs import expected_costs
from fraud_detection.evaluation.evaluation_set import NONE, ArmDecisions, EvaluationSet
from fraud_detection.evaluation.slices import Segmentation
from fraud_detection.evaluation.time_split import UNKNOWN


def unobserved_outcomes(
    evaluation_set: EvaluationSet, arms: tuple[ArmDecisions, ArmDecisions], total: Segmentation, costs: Costs
) -> UnobservedOutcomes:
    """Return number, amount and worst-case cost of unobserved outcomes in `total`."""
    weights = unobserved_weights(evaluation_set, arms, total)
    rows = np.flatnonzero(weights)
    weight, amount = weights[rows], evaluation_set.amount[rows]
    return UnobservedOutcomes(
        payments=round(float(weight.sum()), 6),
        money=round(float((np.nan_to_num(amount) * weight).sum()), 6),
        cost=round(float((expected_costs(np.ones(rows.size), amount, costs).approved * weight).sum()), 6),
    )


def unobserved_weights(
    evaluation_set: EvaluationSet, arms: tuple[ArmDecisions, ArmDecisions], total: Segmentation
) -> np.ndarray:
    """Return the number of unobserved outcomes that each payment represents; float64, 0 for all others.

    A label is an observed outcome, also one by a reviewer.  The label of a payment that was eligible for the
    control group counts in no sum: the control group represents it once some of its payments are labelled,
    and until then each counts for itself.  While none of n labelled ones is fraud, up to 3 / n of the
    payments that they represent may be (the rule of three, 95 %).
    """
    newly = (
        (total.slice_number != NONE) & (arms[0].action > Action.APPROVE) & (arms[1].action == Action.APPROVE)
    )
    weight, known = evaluation_set.weights(), evaluation_set.label != UNKNOWN
    eligible = newly & (weight != 1)
    observed = eligible & known & (weight > 0)
    if observed.any():
        may_be = 0.0 if (evaluation_set.label[observed] == 1).any() else min(1.0, 3.0 / float(observed.sum()))
        return np.where(newly & ~known, weight, np.where(observed, may_be * weight, 0.0))
    return np.where(newly & (eligible | ~known), 1.0, 0.0)
