"""The account of every payment: what each side's answer to it adds to each sum.

Only labelled payments have one.  Summing, parting and resampling are done elsewhere, on these
columns and on no others, so that every figure of a report speaks of the same payments.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fraud_detection.core.events import Action
from fraud_detection.core.project_schema import Costs
from fraud_detection.evaluation.cutoffs import prices
from fraud_detection.evaluation.evaluation_set import NONE, Answers, Traffic
from fraud_detection.evaluation.time_split import UNKNOWN

SHARED = ("frauds", "frauds_squared", "fraud_money", "cost_approving")
"""Sums that do not depend on the answers; squared weights tell how many payments a sum is worth."""

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
"""Sums of one side."""

WIDTH = len(SHARED) + 2 * len(OWN)


@dataclass(frozen=True, slots=True)
class Ledger:
    """The accounts of the payments that can matter: frauds, and what a side did not approve.

    rows: int64, shape (m,), places in the traffic.  sums: float64, shape (m, WIDTH): SHARED, then OWN of
    the first side, then of the second.  cluster: int64, the card, or a number of its own where there is none.
    """

    rows: np.ndarray
    sums: np.ndarray
    cluster: np.ndarray

    @classmethod
    def of(cls, traffic: Traffic, sides: tuple[Answers, Answers], costs: Costs) -> Ledger:
        """Make the accounts of all labelled payments."""
        flagged = (sides[0].action > 0) | (sides[1].action > 0)
        matters = (traffic.label != UNKNOWN) & ((traffic.label == 1) | flagged)
        rows = np.flatnonzero(matters)
        fraud = (traffic.label[rows] == 1).astype(np.float64)
        book = _Book(fraud, traffic.amount[rows], traffic.weights()[rows], costs)
        columns = [*book.shared(), *(column for side in sides for column in book.own(side.action[rows]))]
        card = traffic.card.codes[rows]
        alone = len(traffic.card.names) + rows
        return cls(rows, np.column_stack(columns), np.where(card == NONE, alone, card))


class _Book:
    """Reckons the columns; each has one value a payment, in units of its weight."""

    def __init__(self, fraud: np.ndarray, amount: np.ndarray, weight: np.ndarray, costs: Costs) -> None:
        self.fraud, self.good = fraud * weight, (1.0 - fraud) * weight
        self.money = np.nan_to_num(amount.astype(np.float64))
        self.weight = weight
        self.prices = prices(fraud, amount, costs)

    def shared(self) -> list[np.ndarray]:
        fraud = self.fraud
        return [fraud, fraud * self.weight, fraud * self.money, self.prices.approved * self.weight]

    def own(self, action: np.ndarray) -> list[np.ndarray]:
        flagged = (action > Action.APPROVE).astype(np.float64)
        declined, reviewed = action == Action.DECLINE, action == Action.REVIEW
        caught = self.fraud * flagged
        by_action = [self.prices.approved, self.prices.reviewed, self.prices.declined]
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
    """Named sums of one side; each is a number, or one value a resample."""

    values: np.ndarray
    side: int

    def __getitem__(self, name: str) -> np.ndarray:
        """Return a sum by its name in SHARED or OWN; the last axis of the values is cut away."""
        if name in SHARED:
            return np.asarray(self.values[..., SHARED.index(name)])
        return np.asarray(self.values[..., len(SHARED) + self.side * len(OWN) + OWN.index(name)])

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
        """Return what approving everything would cost more, in major units."""
        return np.asarray(self["cost_approving"] - self["cost"])

    def effective(self, name: str) -> float:
        """Return how many equal payments the weighted ones of `flagged` or `frauds` are worth."""
        squared = self.of(f"{name}_squared")
        return self.of(name) ** 2 / squared if squared else 0.0


def _divided(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    none = np.full(np.shape(whole), np.nan)
    return np.asarray(np.divide(part, whole, out=none, where=np.asarray(whole) > 0))
