"""Cost table: what the decision of each arm for each labelled payment adds to each sum.

Slicing, summing and bootstrap use these columns only, so every figure of a report covers the same payments.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fraud_detection.core.events import Action
from fraud_detection.core.project_schema import Costs
from fraud_detection.evaluation.cutoffs import expected_costs
from fraud_detection.evaluation.evaluation_set import NONE, ArmDecisions, EvaluationSet
from fraud_detection.evaluation.time_split import UNKNOWN

SHARED = ("frauds", "frauds_squared", "fraud_money", "cost_approving")
"""Sums that do not depend on the decisions; squared weights give the effective sample size."""

OWN = (
    "flagged",
    "flagged_squared",
    "caught",
    "caught_money",
    "caught_by_decline",
    "declined_good",
    "declined_good_money",
    "reviewed_good",
    "reviewed_good_money",
    "cost",
)
"""Sums of one arm."""

WIDTH = len(SHARED) + 2 * len(OWN)


@dataclass(frozen=True, slots=True)
class CostTable:
    """Rows of the payments that can matter: frauds, and payments that an arm did not approve.

    rows: int64, shape (m,), positions in the evaluation set.  sums: float64, shape (m, WIDTH): SHARED, then
    OWN of the first arm, then of the second.  cluster: int64, the card, or a unique number without one.
    """

    rows: np.ndarray
    sums: np.ndarray
    cluster: np.ndarray

    @classmethod
    def of(
        cls, evaluation_set: EvaluationSet, arms: tuple[ArmDecisions, ArmDecisions], costs: Costs
    ) -> CostTable:
        """Build the table of all labelled payments."""
        flagged = (arms[0].action > 0) | (arms[1].action > 0)
        matters = (evaluation_set.label != UNKNOWN) & ((evaluation_set.label == 1) | flagged)
        rows = np.flatnonzero(matters)
        fraud = (evaluation_set.label[rows] == 1).astype(np.float64)
        per_payment = _CostColumns(fraud, evaluation_set.amount[rows], evaluation_set.weights()[rows], costs)
        columns = [
            *per_payment.shared(),
            *(column for arm in arms for column in per_payment.own(arm.action[rows])),
        ]
        card = evaluation_set.card.codes[rows]
        alone = len(evaluation_set.card.names) + rows
        return cls(rows, np.column_stack(columns), np.where(card == NONE, alone, card))


class _CostColumns:
    """Computes the columns: one value per payment, times its weight."""

    def __init__(self, fraud: np.ndarray, amount: np.ndarray, weight: np.ndarray, costs: Costs) -> None:
        self.fraud, self.good = fraud * weight, (1.0 - fraud) * weight
        self.money = np.nan_to_num(amount.astype(np.float64))
        self.weight = weight
        self.expected_costs = expected_costs(fraud, amount, costs)

    def shared(self) -> list[np.ndarray]:
        fraud = self.fraud
        return [fraud, fraud * self.weight, fraud * self.money, self.expected_costs.approved * self.weight]

    def own(self, action: np.ndarray) -> list[np.ndarray]:
        flagged = (action > Action.APPROVE).astype(np.float64)
        declined, reviewed = action == Action.DECLINE, action == Action.REVIEW
        caught = self.fraud * flagged
        by_action = [self.expected_costs.approved, self.expected_costs.reviewed, self.expected_costs.declined]
        return [
            flagged * self.weight,
            flagged * self.weight**2,
            caught,
            caught * self.money,
            self.fraud * declined,
            self.good * declined,
            self.good * declined * self.money,
            self.good * reviewed,
            self.good * reviewed * self.money,
            np.choose(action, by_action) * self.weight,
        ]


@dataclass(frozen=True, slots=True)
class Sums:
    """Named sums of one arm: numbers, or one value per bootstrap draw."""

    values: np.ndarray
    arm: int

    def __getitem__(self, name: str) -> np.ndarray:
        """Return a sum by its name in SHARED or OWN, without the last axis."""
        if name in SHARED:
            return np.asarray(self.values[..., SHARED.index(name)])
        return np.asarray(self.values[..., len(SHARED) + self.arm * len(OWN) + OWN.index(name)])

    def of(self, name: str) -> float:
        """Return a sum that is a single number."""
        return float(self[name])

    def precision(self) -> np.ndarray:
        """Return the share of fraud among what was not approved, NaN where there is none."""
        return _divided(self["caught"], self["flagged"])

    def recall(self) -> np.ndarray:
        """Return the share of frauds that were not approved, NaN without a fraud."""
        return _divided(self["caught"], self["frauds"])

    def saved(self) -> np.ndarray:
        """Return the money saved over approving everything, in major units."""
        return np.asarray(self["cost_approving"] - self["cost"])

    def effective(self, name: str) -> float:
        """Return the effective sample size of `flagged` or `frauds`."""
        squared = self.of(f"{name}_squared")
        return self.of(name) ** 2 / squared if squared else 0.0


def _divided(numerator: np.ndarray, whole: np.ndarray) -> np.ndarray:
    none = np.full(np.shape(whole), np.nan)
    return np.asarray(np.divide(numerator, whole, out=none, where=np.asarray(whole) > 0))
