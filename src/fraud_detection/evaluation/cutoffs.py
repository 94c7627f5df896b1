"""Choose the cut-offs for review and decline by money and by review capacity.

Every payment has three prices: approved, reviewed, declined.  The cheapest pair of
cut-offs is found exactly, over all distinct scores.  Nothing here knows the model.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fraud_detection.core.score.bundle import Cutoffs
from fraud_detection.evaluation.time_split import UNKNOWN
from fraud_detection.evaluation.weights import effective

if TYPE_CHECKING:
    from fraud_detection.core.decision_settings import PolicySettings
    from fraud_detection.core.project_schema import Costs

PRIOR_FRAUDS = 20.0
"""The calibrated score's own opinion weighs as much as so many confirmed frauds.

With thousands of frauds it is nothing; with five it keeps one odd payment from setting a cut-off.
"""


@dataclass(frozen=True, slots=True)
class ExpectedCosts:
    """What each of n payments costs under each action, in major units; float64, shape (n,)."""

    approved: np.ndarray
    reviewed: np.ndarray
    declined: np.ndarray

    def weighted(self, weight: np.ndarray) -> ExpectedCosts:
        """Return the prices times the sampling weights."""
        return ExpectedCosts(self.approved * weight, self.reviewed * weight, self.declined * weight)


def expected_costs(fraud: np.ndarray, amount: np.ndarray, costs: Costs) -> ExpectedCosts:
    """Return the expected prices, where `fraud` is the probability (or the label, 1 or 0) of fraud.

    An unknown amount counts as 0: only the fixed parts of the costs apply.

    >>> from fraud_detection.core.project_schema import Costs
    >>> one = expected_costs(np.array([1.0, 0.0]), np.array([100.0, 100.0]), Costs(review_recall=0.75))
    >>> one.approved.tolist(), one.reviewed.tolist(), one.declined.tolist()
    ([120.0, 0.0], [33.0, 3.0], [0.0, 15.0])
    """
    money = np.nan_to_num(amount.astype(np.float64))
    missed = fraud * (costs.missed_fraud_share * money + costs.missed_fraud_fixed)
    offended = (1.0 - fraud) * (costs.declined_good_share * money + costs.declined_good_fixed)
    reviewed = costs.review + (1.0 - costs.review_recall) * missed
    return ExpectedCosts(missed, reviewed, offended)


def smoothed(
    label: np.ndarray,
    score: np.ndarray,
    prior_frauds: float = PRIOR_FRAUDS,
    weight: np.ndarray | None = None,
) -> np.ndarray:
    """Return the label, mixed with the calibrated score where frauds are few.

    Weighted frauds count as their effective number.

    >>> smoothed(np.array([1, 0]), np.array([0.6, 0.2]), prior_frauds=1).round(2).tolist()
    [0.8, 0.1]
    """
    frauds = effective((np.ones(label.size) if weight is None else weight)[label == 1])
    own = prior_frauds / (prior_frauds + frauds) if prior_frauds else 0.0
    mixed: np.ndarray = (1.0 - own) * (label == 1) + own * score
    return mixed


def choose_cutoffs(  # noqa: PLR0913 - costs, capacity and payments
    score: np.ndarray,
    label: np.ndarray,
    amount: np.ndarray,
    costs: Costs,
    policy: PolicySettings,
    days: float,
    *,
    weight: np.ndarray | None = None,
) -> Cutoffs:
    """Return the cheapest cut-offs, or those that the settings give.

    score: calibrated, shape (n,); label: 1, 0 or UNKNOWN; days: how long the n payments took; weight: how
    many payments each one's price stands for.
    A payment with an unknown label has no price, but it fills the reviewers' day like any other.
    """
    if policy.review_at is not None and policy.decline_at is not None:
        return Cutoffs(review_at=policy.review_at, decline_at=policy.decline_at, origin="settings")
    stands_for = np.where(label == UNKNOWN, 0.0, 1.0 if weight is None else weight)
    outcome = np.where(label == UNKNOWN, 0.0, smoothed(label, score, weight=stands_for))
    capacity = math.inf if policy.review_capacity_per_day is None else policy.review_capacity_per_day * days
    return cheapest_cutoffs(score, expected_costs(outcome, amount, costs).weighted(stands_for), capacity)


def cheapest_cutoffs(score: np.ndarray, each: ExpectedCosts, capacity: float) -> Cutoffs:
    """Return the pair review_at <= decline_at of least total price with at most `capacity` reviews.

    Exact over all pairs of distinct scores, in O(n log n): with payments in falling order, the
    price of declining the first j groups and reviewing up to group i is a part that depends on j
    plus a part that depends on i, so one pass with a sliding minimum is enough.  Of equally
    cheap pairs the one that disturbs the fewest payments is taken.

    >>> each = ExpectedCosts(np.array([9.0, 9, 0]), np.array([3.0, 3, 3]), np.array([0.0, 5, 9]))
    >>> cheapest_cutoffs(np.array([0.9, 0.5, 0.1]), each, math.inf)
    Cutoffs(review_at=0.2, decline_at=0.6, origin='money')
    """
    levels, group = np.unique(-score, return_inverse=True)
    sums = [_running(values, group, levels.size) for values in (each.approved, each.reviewed, each.declined)]
    approved, reviewed, declined = sums
    count = _running(np.ones(score.size), group, levels.size)
    first = _best_first(declined - reviewed, count, capacity)
    total = (declined - reviewed)[first] + reviewed - approved
    last = int(np.argmin(total))
    return Cutoffs(review_at=_between(-levels, last), decline_at=_between(-levels, int(first[last])))


def round_between(low: float, high: float) -> float:
    """Return the number in (low, high] with the fewest decimals, so that people can say it.

    >>> round_between(0.41273, 0.43811), round_between(0.0, 1.0), round_between(0.5, 0.5)
    (0.42, 1.0, 0.5)
    """
    for decimals in range(17):
        scale = 10.0**decimals
        candidate = (math.floor(low * scale) + 1) / scale
        if low < candidate <= high:
            return candidate
    return high


def _running(values: np.ndarray, group: np.ndarray, groups: int) -> np.ndarray:
    """Sum `values` by group, then over the first 0, 1, ... all groups."""
    return np.concatenate([[0.0], np.cumsum(np.bincount(group, weights=values, minlength=groups))])


def _best_first(price: np.ndarray, count: np.ndarray, capacity: float) -> np.ndarray:
    """For each i, return the j <= i of least price[j] with count[i] - count[j] <= capacity."""
    window: deque[int] = deque()
    best = np.empty(price.size, np.int64)
    for i in range(price.size):
        while window and price[window[-1]] > price[i]:
            window.pop()
        window.append(i)
        while count[i] - count[window[0]] > capacity:
            window.popleft()
        best[i] = window[0]
    return best


def _between(levels: np.ndarray, groups: int) -> float:
    """Return a cut-off that takes in exactly the `groups` highest scores."""
    if groups == 0:
        # No score of the sample may reach it; above 1 there is none.
        return round_between(float(levels[0]), 1.0) if levels.size else 1.0
    low = float(levels[groups]) if groups < levels.size else 0.0
    return round_between(low, float(levels[groups - 1]))
