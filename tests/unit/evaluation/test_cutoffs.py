from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fraud_detection.core.decision_settings import PolicySettings
from fraud_detection.core.project_schema import Costs
from fraud_detection.core.score.calibration import Calibration
from fraud_detection.evaluation.cutoffs import (
    ExpectedCosts,
    cheapest_cutoffs,
    choose_cutoffs,
    expected_costs,
    round_between,
    smoothed,
)
from fraud_detection.evaluation.time_split import UNKNOWN

levels = st.sampled_from([0.0, 0.1, 0.15, 0.2, 0.35, 0.5, 0.75, 0.9, 0.99])
money = st.integers(0, 60).map(float)
payments = st.lists(st.tuples(levels, money, money, money), min_size=1, max_size=12)


def total(rows: list[tuple[float, float, float, float]], review: float, decline: float) -> tuple[float, int]:
    """Add up price and reviews, payment by payment, as a policy would answer."""
    price, reviews = 0.0, 0
    for score, approved, reviewed, declined in rows:
        if score >= decline:
            price += declined
        elif score >= review:
            price, reviews = price + reviewed, reviews + 1
        else:
            price += approved
    return price, reviews


@settings(max_examples=100)
@given(payments, st.sampled_from([0, 1, 2, 5, math.inf]))
def test_no_other_pair_of_cutoffs_is_cheaper(
    rows: list[tuple[float, float, float, float]], capacity: float
) -> None:
    score, approved, reviewed, declined = np.array(rows).T
    chosen = cheapest_cutoffs(score, ExpectedCosts(approved, reviewed, declined), capacity)
    assert 0 <= chosen.review_at <= chosen.decline_at <= 1
    price, reviews = total(rows, chosen.review_at, chosen.decline_at)
    assert reviews <= capacity
    thresholds = [*sorted(set(score.tolist())), 1.0]
    pairs = [(low, high) for low, high in itertools.product(thresholds, thresholds) if low <= high]
    possible = [total(rows, low, high) for low, high in pairs]
    assert price == min(price for price, count in possible if count <= capacity)


def sample(frauds: int, seed: int = 3, payments: int = 4000) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    label = (np.arange(payments) < frauds).astype(np.int8)
    score = 1 / (1 + np.exp(-rng.normal(-5 + 5 * label, 1.5)))
    return score, label, rng.lognormal(4, 1, payments)


def test_cutoffs_are_better_than_approving_reviewing_and_declining_everything() -> None:
    score, label, amount = sample(frauds=80)
    chosen = choose_cutoffs(score, label, amount, Costs(), PolicySettings(), days=10)
    each = expected_costs(label, amount, Costs())
    costs = np.where(score >= chosen.review_at, each.reviewed, each.approved)
    cost = np.where(score >= chosen.decline_at, each.declined, costs).sum()
    assert cost < 0.8 * min(each.approved.sum(), each.reviewed.sum(), each.declined.sum())


@given(st.floats(0, 50))
@settings(max_examples=30)
def test_reviews_a_day_stay_within_capacity_and_unlabelled_payments_count(capacity: float) -> None:
    score, label, amount = sample(frauds=80)
    label[::3] = UNKNOWN
    policy = PolicySettings(review_capacity_per_day=capacity)
    chosen = choose_cutoffs(score, label, amount, Costs(), policy, days=10)
    reviews = ((score >= chosen.review_at) & (score < chosen.decline_at)).sum()
    assert reviews / 10 <= capacity


def test_an_unlabelled_payment_does_not_count_as_legitimate() -> None:
    score, label, amount = sample(frauds=80)
    unknown = np.full(3000, UNKNOWN, np.int8)
    more = (np.r_[score, np.full(3000, 0.97)], np.r_[label, unknown], np.r_[amount, np.full(3000, 50.0)])
    assert choose_cutoffs(*more, Costs(), PolicySettings(), days=10) == choose_cutoffs(
        score, label, amount, Costs(), PolicySettings(), days=10
    )


def test_dearer_frauds_never_raise_the_review_cutoff() -> None:
    score, label, amount = sample(frauds=80)
    prices = [Costs(missed_fraud_fixed=fixed) for fixed in (0.0, 20.0, 200.0, 2000.0)]
    chosen = [
        choose_cutoffs(score, label, amount, each, PolicySettings(), days=10).review_at for each in prices
    ]
    assert chosen == sorted(chosen, reverse=True)
    assert chosen[0] > chosen[-1]


def test_cutoffs_in_the_settings_win() -> None:
    policy = PolicySettings(review_at=0.3, decline_at=0.7)
    chosen = choose_cutoffs(*sample(frauds=80), Costs(), policy, days=10)
    assert (chosen.review_at, chosen.decline_at, chosen.origin) == (0.3, 0.7, "settings")


def test_without_a_single_fraud_the_calibrated_score_still_decides() -> None:
    score, label, amount = sample(frauds=0)
    chosen = choose_cutoffs(score, label, amount, Costs(), PolicySettings(), days=10)
    # A payment of typical amount is worth a review once its expected loss passes the cost of one.
    assert 0.005 < chosen.review_at < 0.2


def test_smoothing_fades_as_frauds_are_confirmed() -> None:
    score = np.full(4000, 0.5)
    few, many = (smoothed(sample(frauds)[1], score) for frauds in (5, 2000))
    assert few[0] == pytest.approx(0.2 * 1 + 0.8 * 0.5)
    assert many[0] > 0.99


@given(st.floats(0, 1), st.floats(0, 1))
def test_a_round_number_lies_between_and_has_no_needless_digits(one: float, other: float) -> None:
    low, high = sorted((one, other))
    if low < high:
        rounded = round_between(low, high)
        assert low < rounded <= high
        if high - low > 0.1:
            assert len(str(rounded)) <= 3


@pytest.mark.parametrize(("days", "reviews"), [(1.0, 3), (10.0, 30)])
def test_the_capacity_is_that_of_a_day(days: float, reviews: int) -> None:
    score, label, amount = sample(frauds=200)
    policy, costs = PolicySettings(review_capacity_per_day=3.0), Costs(review=0.0, review_recall=1.0)
    chosen = choose_cutoffs(score, label, amount, costs, policy, days)
    reviewed = int(((score >= chosen.review_at) & (score < chosen.decline_at)).sum())
    assert reviewed == reviews


def test_a_cutoff_of_one_takes_nothing_in() -> None:
    assert Calibration().probability(1e9) < 1.0
