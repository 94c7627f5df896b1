from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fraud_detection.training.calibrate import MIN_SLOPE, fit_calibration


def simulation(slope: float, intercept: float, payments: int, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Raw scores, and labels drawn with probability sigmoid(slope * raw + intercept)."""
    rng = np.random.default_rng(seed)
    raw = rng.normal(-4, 2, payments)
    return raw, (rng.random(payments) < 1 / (1 + np.exp(-(slope * raw + intercept)))).astype(int)


@pytest.mark.parametrize(("slope", "intercept"), [(1.0, 0.0), (0.6, -0.5), (1.4, 1.0)])
def test_with_many_payments_it_finds_the_true_calibration(slope: float, intercept: float) -> None:
    fitted = fit_calibration(*simulation(slope, intercept, 200_000))
    assert fitted.slope == pytest.approx(slope, rel=0.07)
    assert fitted.intercept == pytest.approx(intercept, abs=0.2)


def test_it_undoes_a_weight_on_frauds_even_without_a_single_one() -> None:
    fitted = fit_calibration(np.array([]), np.array([]), positive_weight=10.0)
    assert fitted.slope == 1
    assert fitted.intercept == pytest.approx(-np.log(10))


def test_one_lucky_fraud_does_not_make_it_sure_of_itself() -> None:
    raw, label = np.r_[np.full(500, -6.0), 0.0], np.r_[np.zeros(500, int), 1]
    assert fit_calibration(raw, label).probability(0.0) < 0.9


def test_a_model_that_ranks_backwards_is_flattened_and_never_turned() -> None:
    raw, label = simulation(-1.0, -6.0, 20_000)
    assert fit_calibration(raw, label).slope == MIN_SLOPE


def test_the_mean_probability_is_the_share_of_frauds() -> None:
    raw, label = simulation(0.7, 0.3, 50_000)
    fitted = fit_calibration(raw, label)
    mean = np.mean([fitted.probability(value) for value in raw])
    assert mean == pytest.approx(label.mean(), rel=0.01)


@settings(max_examples=50)
@given(
    st.lists(st.tuples(st.floats(-30, 30), st.integers(0, 1)), max_size=40),
    st.sampled_from([0.01, 1.0, 100.0]),
)
def test_it_always_ends_with_a_rising_curve(rows: list[tuple[float, int]], weight: float) -> None:
    raw, label = np.array([row[0] for row in rows]), np.array([row[1] for row in rows])
    fitted = fit_calibration(raw, label, weight)
    assert MIN_SLOPE <= fitted.slope < 50
    assert abs(fitted.intercept) < 50
