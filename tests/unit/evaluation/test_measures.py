from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score

from fraud_detection.evaluation.measures import (
    DAY_MS,
    Ranking,
    accuracy_measures,
    brier,
    calibration_bins,
    card_precision,
    risk_bins,
)

scores = st.sampled_from([0.0, 0.1, 0.2, 0.5, 0.7, 1.0])
outcomes = st.lists(st.tuples(scores, st.booleans()), min_size=2, max_size=30).filter(
    lambda rows: len({fraud for _, fraud in rows}) == 2
)
Rows = list[tuple[float, bool]]


def arrays(rows: Rows) -> tuple[np.ndarray, np.ndarray]:
    return np.array([score for score, _ in rows]), np.array([fraud for _, fraud in rows])


@settings(max_examples=50, deadline=None)  # the first call of scikit-learn may take long
@given(outcomes)
def test_average_precision_auc_and_brier_are_those_of_scikit_learn(rows: Rows) -> None:
    score, fraud = arrays(rows)
    ranking = Ranking.of(score, fraud)
    assert ranking.average_precision() == pytest.approx(average_precision_score(fraud, score))
    assert ranking.auc() == pytest.approx(roc_auc_score(fraud, score))
    assert brier(score, fraud) == pytest.approx(brier_score_loss(fraud, score))


@settings(max_examples=50)
@given(outcomes, st.sampled_from([0.0, 0.1, 0.5, 1.0]))
def test_recall_at_a_false_positive_rate_is_that_of_the_best_allowed_threshold(
    rows: Rows, rate: float
) -> None:
    score, fraud = arrays(rows)
    allowed = [0.0]
    for threshold in set(score.tolist()):
        flagged = score >= threshold
        if flagged[~fraud].mean() <= rate:
            allowed.append(flagged[fraud].mean())
    assert Ranking.of(score, fraud).recall_at(rate) == pytest.approx(max(allowed))


@settings(max_examples=50)
@given(outcomes, st.integers(1, 5))
def test_bins_by_risk_hold_every_payment_once_and_adjacent_scores_together(rows: Rows, most: int) -> None:
    score, fraud = arrays(rows)
    bins = risk_bins(score, fraud, most)
    assert 1 <= bins.count.size <= most
    assert bins.count.sum() == score.size
    assert (bins.count * bins.observed).sum() == pytest.approx(fraud.sum())
    assert (bins.count * bins.predicted).sum() == pytest.approx(score.sum())
    assert (np.diff(bins.predicted) >= -1e-12).all()


def test_bins_by_risk_expect_equally_many_frauds() -> None:
    score = np.random.default_rng(1).beta(0.1, 5, 20_000)
    bins = risk_bins(score, score > 1, 10)
    assert bins.count * bins.predicted == pytest.approx(np.full(10, score.sum() / 10), rel=0.02)


def test_the_intervals_hold_the_value_and_agree_with_a_plain_bootstrap() -> None:
    rng = np.random.default_rng(5)
    score = np.round(rng.random(3000), 2)
    fraud = rng.random(3000) < 0.1 * score
    ranking = Ranking.of(score, fraud)
    samples = [rng.integers(0, 3000, 3000) for _ in range(300)]
    again = [Ranking.of(score[rows], fraud[rows]) for rows in samples]
    plain = {
        "average_precision": [ranking.average_precision() for ranking in again],
        "auc": [ranking.auc() for ranking in again],
    }
    values = {"average_precision": ranking.average_precision(), "auc": ranking.auc()}
    for name, (low, high) in ranking.intervals(seed=1).items():
        assert low < values[name] < high
        expected = np.quantile(plain[name], [0.025, 0.975])
        assert high - low == pytest.approx(expected[1] - expected[0], rel=0.25)
    assert ranking.intervals(seed=1) == ranking.intervals(seed=1)


def by_hand(rows: list[tuple[float, int, str, int]], top: int) -> float:
    """Say the definition of card precision again, slowly."""
    caught: set[str] = set()
    shares = []
    for day in sorted({day for *_, day in rows}):
        best: dict[str, float] = {}
        guilty = set()
        for score, fraud, card, when in rows:
            if when == day and card not in caught:
                best[card] = max(best.get(card, -1.0), score)
                if fraud:
                    guilty.add(card)
        shown = sorted(best, key=lambda card: (-best[card], card))[:top]
        hits = [card for card in shown if card in guilty]
        shares.append(len(hits) / top)
        caught |= set(hits)
    return sum(shares) / len(shares)


@settings(max_examples=50)
@given(
    st.lists(st.tuples(scores, st.integers(0, 1), st.sampled_from("abcdef"), st.integers(0, 3)), min_size=1),
    st.integers(1, 4),
)
def test_card_precision_is_the_written_definition(rows: list[tuple[float, int, str, int]], top: int) -> None:
    score, fraud, card, day = (np.array(column) for column in zip(*rows, strict=True))
    precision = card_precision(score, fraud, card, day * DAY_MS + 5, top)
    assert precision == pytest.approx(by_hand(rows, top))


def test_a_calibrated_score_has_less_error_than_one_twice_as_high() -> None:
    rng = np.random.default_rng(2)
    chance = rng.beta(0.5, 10, 20000)
    fraud = (rng.random(20000) < chance).astype(int)
    good, doubled = calibration_bins(chance, fraud), calibration_bins(np.minimum(2 * chance, 1), fraud)
    assert good.error() < 0.01 < doubled.error()
    assert good.count.sum() == 20000
    assert good.count.max() - good.count.min() <= 1


def test_predicting_legitimate_always_is_accurate_and_useless() -> None:
    fraud = np.array([1] + [0] * 99)
    assert accuracy_measures(np.zeros(100, bool), fraud) == {
        "accuracy": 0.99,
        "precision": 0.0,
        "recall": 0.0,
    }
