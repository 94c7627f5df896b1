from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from fraud_detection.core.project_schema import Costs
from fraud_detection.core.score.bundle import Cutoffs
from fraud_detection.evaluation.time_split import UNKNOWN
from fraud_detection.training.evaluate import EVER, Scored, evaluate_slice, money, savings
from tests.unit.training.history import DAY, START, history

COSTS = Costs()
DAYS = 60
CUTOFFS = Cutoffs(review_at=0.05, decline_at=0.4)


def scored(seed: int = 1) -> Scored:
    rows = history(3000, days=DAYS, seed=seed)
    rng = np.random.default_rng(seed)
    score = 1 / (1 + np.exp(-rng.normal(-4 + 3 * (rows.label == 1), 1.5)))
    return Scored.of(rows, range(len(rows)), np.round(score, 3), (START, START + DAYS * DAY), EVER)


def cost(one: Scored, cutoffs: Cutoffs) -> float:
    """Add up what happens to each payment, as the settings' words say it."""
    total = 0.0
    for score, label, amount in zip(one.score, one.label, one.amount, strict=True):
        missed = COSTS.missed_fraud_share * amount + COSTS.missed_fraud_fixed if label == 1 else 0.0
        if score >= cutoffs.decline_at:
            total += 0.0 if label == 1 else COSTS.declined_good_share * amount + COSTS.declined_good_fixed
        elif score >= cutoffs.review_at:
            total += COSTS.review + (1 - COSTS.review_recall) * missed
        else:
            total += missed
    return total


def test_money_is_what_each_payment_costs() -> None:
    known = scored().labelled()
    saved = money(known, CUTOFFS, COSTS)
    nothing = cost(known, Cutoffs(review_at=1.0, decline_at=1.0))
    assert saved["cost_major_units"] == pytest.approx(cost(known, CUTOFFS))
    assert saved["cost_approving_all_major_units"] == pytest.approx(nothing)
    assert saved["money_saved_major_units_per_day"] == pytest.approx((nothing - cost(known, CUTOFFS)) / DAYS)


def test_the_savings_curve_is_the_saving_of_each_cutoff() -> None:
    known = scored().labelled()
    nothing = cost(known, Cutoffs(review_at=1.0, decline_at=1.0))
    for name, (thresholds, saved) in savings(known, CUTOFFS, COSTS).items():
        assert thresholds.size > 10
        for i in range(0, thresholds.size, 9):
            at = {
                "review_at": CUTOFFS.review_at,
                "decline_at": CUTOFFS.decline_at,
                f"{name}_at": thresholds[i],
            }
            assert saved[i] == pytest.approx((nothing - cost(known, Cutoffs(**at))) / DAYS)


def test_unlabelled_payments_fill_the_reviewers_day_and_change_no_other_figure() -> None:
    scored_slice = scored()
    known = scored_slice.labelled()
    whole, part = (
        evaluate_slice(scored_slice, CUTOFFS, COSTS, seed=1),
        evaluate_slice(known, CUTOFFS, COSTS, seed=1),
    )
    different = {name for name in whole if whole[name] != part[name]}
    assert different == {"payments_count", "unlabelled_count", "reviews_per_day", "declines_per_day"}
    assert whole["unlabelled_count"] == (scored_slice.label == UNKNOWN).sum() > 0


def test_figures_are_rounded_and_the_same_every_time() -> None:
    figures = evaluate_slice(scored(), CUTOFFS, COSTS, seed=1)
    assert figures == evaluate_slice(scored(), CUTOFFS, COSTS, seed=1)
    assert all(round(value, 6) == value for value in figures.values())
    assert figures["average_precision_low"] < figures["average_precision"] < figures["average_precision_high"]
    assert figures["average_precision"] > figures["amount_only_average_precision"]


def test_a_slice_without_a_fraud_is_evaluated_with_the_figures_that_still_mean_something() -> None:
    scored_slice = scored()
    good = replace(scored_slice, label=np.where(scored_slice.label == 1, 0, scored_slice.label))
    figures = evaluate_slice(good, CUTOFFS, COSTS, seed=1)
    assert math.isnan(figures["auc"])
    assert figures["accuracy_always_legitimate"] == 1
    assert figures["money_saved_major_units"] < 0
