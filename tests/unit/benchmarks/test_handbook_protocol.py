"""The handbook's protocol: which payments count, and which cards are known by then."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.handbook_protocol import DAY_MS, Payments, evaluated, figures
from fraud_detection.core.errors import ConfigError

START = "1970-01-11"
FIRST = 10
"""The day of the train week's beginning, counted from 1970."""


def payments(*rows: tuple[int, str, bool]) -> Payments:
    """Make payments of (day from the start, card, fraud), whose ids are their places."""
    days, cards, frauds = zip(*rows, strict=True)
    time = (np.array(days) + FIRST) * DAY_MS + 1
    return Payments(np.arange(len(rows)), time, np.array(cards), np.array(frauds))


def test_the_test_week_is_the_third() -> None:
    test_week = evaluated(payments(*((day, "a", False) for day in range(-3, 30))), START)
    assert (test_week - 3).tolist() == list(range(14, 21))


@pytest.mark.parametrize(
    ("fraud_on", "test_days"),
    [(-1, 7), (0, 0), (6, 0), (7, 1), (12, 6), (13, 7), (14, 7)],
)
def test_a_card_is_left_out_from_eight_days_after_its_fraud(fraud_on: int, test_days: int) -> None:
    week = [(day, "a", False) for day in range(14, 21)]
    left = [payment for payment in evaluated(payments((fraud_on, "a", True), *week), START) if payment > 0]
    assert len(left) == test_days


def test_a_fold_is_ranked_by_its_scores() -> None:
    rows = payments((14, "a", True), (14, "b", False), (15, "c", False), (16, "d", True))
    perfect = figures(rows, START, {0: 0.9, 1: 0.1, 2: 0.2, 3: 0.8})
    assert (perfect.auc, perfect.average_precision) == (1.0, 1.0)
    assert perfect.card_precision == pytest.approx((0.01 + 0.0 + 0.01) / 3)
    turned = figures(rows, START, {0: 0.1, 1: 0.9, 2: 0.8, 3: 0.2})
    assert turned.auc == 0.0


def test_a_payment_without_a_score_is_refused() -> None:
    with pytest.raises(ConfigError, match="1 of 2 payments have no score"):
        figures(payments((14, "a", True), (15, "b", False)), START, {0: 0.5})
