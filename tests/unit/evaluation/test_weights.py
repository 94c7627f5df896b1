"""Figures of what was seen, where what was stopped is seen only in the control group."""

from __future__ import annotations

import math
from dataclasses import replace

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fraud_detection.core.project_schema import Costs
from fraud_detection.core.score.bundle import Cutoffs
from fraud_detection.evaluation.cutoffs import choose_cutoffs
from fraud_detection.evaluation.intervals import rate_interval
from fraud_detection.evaluation.measures import Ranking, accuracy_measures, brier
from fraud_detection.evaluation.time_split import UNKNOWN
from fraud_detection.training.calibrate import fit_calibration
from fraud_detection.training.evaluate import EVER, Scored, evaluate_slice
from fraud_detection.training.fit import Slices, learn
from fraud_detection.training.tables.dataset import Dataset
from fraud_detection.training.warnings import training_warnings
from tests.unit.training.history import DAY, START, history, project

SHARE = 0.1
COSTS = Costs()
NEW = Cutoffs(review_at=0.25, decline_at=0.6)
SPAN = (START, START + 80 * DAY)
BASE = history(5000)


def simulation(seed: int, payments: int = 5000) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the labels, a score, and whether an older policy, which sees something else too, stops it."""
    rng = np.random.default_rng(seed)
    risk = rng.beta(0.4, 6.0, payments)
    fraud = rng.random(payments) < risk
    score = np.clip(risk + rng.normal(0, 0.08, payments), 0, 1)
    hint = np.where(fraud, rng.random(payments) < 0.5, rng.random(payments) < 0.02)
    return fraud, score, (score > 0.3) | hint


def scored(rows: Dataset, score: np.ndarray) -> Scored:
    return Scored.of(rows, range(len(rows)), score, SPAN, EVER)


def seen(seed: int) -> tuple[Scored, Scored]:
    """Return what can be seen of a sample, with weights and, as if there were none, without."""
    fraud, score, stopped = simulation(seed)
    through = np.random.default_rng(10_000 + seed).random(fraud.size) < SHARE
    label = np.where(stopped & ~through, UNKNOWN, fraud).astype(np.int8)
    weight = np.where(stopped, np.where(through, 1 / SHARE, 0.0), 1.0)
    rows = replace(BASE, label=label, weight=weight)
    weighted = scored(rows, score)
    return weighted, replace(weighted, weight=np.ones(fraud.size))


def true_measures() -> dict[str, float]:
    """Return what the figures are of a sample so large that chance is nothing, with everything seen."""
    fraud, score, _ = simulation(seed=77, payments=2_000_000)
    return {**accuracy_measures(score >= NEW.review_at, fraud), "fraud_rate": float(fraud.mean())}


@pytest.mark.parametrize("count", [30, pytest.param(120, marks=pytest.mark.long)])
def test_precision_and_recall_lie_in_their_intervals_where_the_naive_ones_do_not(count: int) -> None:
    # 95 % of the samples, give or take three standard deviations; a mean of fewer samples is less exact.
    lowest, near = 0.95 - 3 * math.sqrt(0.95 * 0.05 / count), 0.03 * math.sqrt(120 / count)
    expected = true_measures()
    samples = [seen(seed) for seed in range(count)]
    weighted = [evaluate_slice(one, NEW, COSTS, seed=1) for one, _ in samples]
    naive = [evaluate_slice(one, NEW, COSTS, seed=1) for _, one in samples[: count // 3]]
    for name in ("precision", "recall"):
        inside = [sample[f"{name}_low"] <= expected[name] <= sample[f"{name}_high"] for sample in weighted]
        assert np.mean(inside) >= lowest, name
        fooled = [sample[f"{name}_low"] <= expected[name] <= sample[f"{name}_high"] for sample in naive]
        assert np.mean(fooled) < 0.3, name
        assert np.mean([sample[name] for sample in weighted]) == pytest.approx(expected[name], rel=near), name
    shares = [sample["fraud_rate"] for sample in weighted]
    assert np.mean(shares) == pytest.approx(expected["fraud_rate"], rel=4 / 3 * near)
    assert np.mean([sample["fraud_rate"] for sample in naive]) < 0.8 * expected["fraud_rate"]


def test_an_interval_of_few_that_stand_for_many_is_no_narrower_than_that_of_the_few() -> None:
    few = rate_interval(np.array([True, False, True]), np.full(3, 100.0), seed=1)
    alone = rate_interval(np.array([True, False, True]), np.ones(3), seed=1)
    assert few == pytest.approx(alone)


scores = st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.6, 1.0])
outcomes = st.lists(st.tuples(scores, st.booleans(), st.integers(0, 5)), min_size=2, max_size=30).filter(
    lambda rows: {fraud for _, fraud, weight in rows if weight} == {True, False}
)


@settings(max_examples=60, deadline=None)
@given(outcomes)
def test_a_payment_that_weighs_five_counts_as_five_of_its_kind(rows: list[tuple[float, bool, int]]) -> None:
    score, fraud, weight = (np.array(column) for column in zip(*rows, strict=True))
    again = np.repeat(np.arange(len(rows)), weight)
    whole = Ranking.of(score[again], fraud[again])
    one = Ranking.of(score[weight > 0], fraud[weight > 0], weight[weight > 0].astype(float))
    assert one.average_precision() == pytest.approx(whole.average_precision())
    assert one.auc() == pytest.approx(whole.auc())
    assert one.recall_at(0.2) == pytest.approx(whole.recall_at(0.2))
    assert brier(score, fraud, weight) == pytest.approx(brier(score[again], fraud[again]))
    flagged = score >= 0.25
    assert accuracy_measures(flagged, fraud, weight) == pytest.approx(
        accuracy_measures(flagged[again], fraud[again])
    )


def expanded(dataset: Dataset, weight: np.ndarray) -> Dataset:
    return dataset.take(np.repeat(np.arange(len(dataset)), weight))


def test_every_figure_of_weighted_payments_is_that_of_duplicated_payments() -> None:
    dataset = history(1500)
    rng = np.random.default_rng(3)
    weight = rng.choice([0, 1, 1, 4], len(dataset))
    score = np.round(1 / (1 + np.exp(-rng.normal(-4 + 3 * (dataset.label == 1), 1.5))), 2)
    one = scored(replace(dataset, weight=weight.astype(float)), score)
    many = scored(expanded(dataset, weight), np.repeat(score, weight))
    found, expected = evaluate_slice(one, NEW, COSTS, seed=1), evaluate_slice(many, NEW, COSTS, seed=1)
    same = [
        name
        for name in expected
        if not name.endswith(("_low", "_high")) and "per_day" not in name and name != "card_precision_at_100"
    ]
    counted = {"payments_count", "unlabelled_count", "calibration_error"}
    for name in set(same) - counted:
        assert found[name] == pytest.approx(expected[name], abs=2e-6), name
    assert found["payments_count"] == len(dataset)
    assert found["left_out_count"] == (weight == 0).sum()
    known = dataset.label != UNKNOWN
    assert found["control_group_count"] == ((weight == 4) & known).sum()
    # Fewer payments speak for as many: the intervals are wider.
    for name in ("precision", "recall", "average_precision"):
        widths = [one[f"{name}_high"] - one[f"{name}_low"] for one in (found, expected)]
        assert widths[0] > widths[1], name


def test_weights_of_one_change_nothing() -> None:
    dataset = history(3000)
    with_ones = learn(Slices.of(dataset), project().model)
    halved = replace(dataset, weight=np.ones(len(dataset)))
    assert learn(Slices.of(halved), project().model).model == with_ones.model


def test_calibration_follows_the_weights_but_never_takes_one_for_a_hundred() -> None:
    rng = np.random.default_rng(5)
    raw = rng.normal(-3, 1, 4000)
    label = (rng.random(4000) < 1 / (1 + np.exp(-raw))).astype(int)
    ten = np.where(label == 1, 10.0, 1.0)
    weighted, plain = fit_calibration(raw, label, weight=ten), fit_calibration(raw, label)
    assert weighted.intercept - plain.intercept == pytest.approx(np.log(10), abs=0.2)
    all_ten = fit_calibration(raw, label, weight=np.full(4000, 10.0))
    assert all_ten == plain


def test_the_model_learns_how_frequent_fraud_is_among_all_and_not_among_those_that_passed() -> None:
    dataset = history(12_000, unlabelled=0.0)
    rng = np.random.default_rng(8)
    # Somebody stops most frauds by what no feature tells.
    stopped = np.where(dataset.label == 1, rng.random(12_000) < 0.8, rng.random(12_000) < 0.02)
    through = rng.random(12_000) < 0.25
    weight = np.where(stopped, np.where(through, 4.0, 0.0), 1.0)
    naive = dataset.take(~stopped | through)
    means = {}
    for name, rows in (("weighted", replace(dataset, weight=weight)), ("naive", naive)):
        settings = msgspec.structs.replace(project().model, threads=1)
        scorer = learn(Slices.of(rows), settings).scorer(threads=1)
        means[name] = float(np.mean(scorer.score(dataset.features)))
    share = float((dataset.label == 1).mean())
    assert means["weighted"] == pytest.approx(share, rel=0.15)
    assert means["naive"] < 0.6 * share


def test_cutoffs_are_those_of_the_payments_that_the_seen_ones_stand_for() -> None:
    fraud, score, stopped = simulation(seed=5, payments=40_000)
    amount = np.random.default_rng(5).lognormal(3, 1, fraud.size)
    policy = project(policy={}).policy
    whole = choose_cutoffs(score, fraud.astype(int), amount, COSTS, policy, days=10)
    through = np.random.default_rng(6).random(fraud.size) < SHARE
    weight = np.where(stopped, np.where(through, 1 / SHARE, 0.0), 1.0)
    label = np.where(weight > 0, fraud, UNKNOWN)
    weighted = choose_cutoffs(score, label, amount, COSTS, policy, days=10, weight=weight)
    unweighted = np.where(stopped & ~through, UNKNOWN, fraud)
    naive = choose_cutoffs(score, unweighted, amount, COSTS, policy, days=10)
    assert weighted.review_at == pytest.approx(whole.review_at, rel=0.35)
    assert abs(weighted.review_at - whole.review_at) < abs(naive.review_at - whole.review_at)


def test_it_is_said_when_nobody_stands_for_those_that_were_stopped() -> None:
    score, cutoffs = np.array([0.1, 0.2, 0.9]), Cutoffs(review_at=0.5, decline_at=0.95)
    (warning,) = training_warnings(500, score, cutoffs, np.array([1.0, 1.0, 0.0]))
    assert "1 payments were stopped and none is in the control group" in warning
    assert training_warnings(500, score, cutoffs, np.array([1.0, 0.0, 50.0])) == ()
