"""Drift against what a bundle saw in training."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from fraud_detection.training.drift import DRIFTED, MIN_PAYMENTS, stability_index
from fraud_detection.training.reference import distribution


def sample(seed: int, size: int) -> np.ndarray:
    return np.random.default_rng(seed).lognormal(3, 1, size)


@pytest.mark.parametrize("seed", range(20))
def test_chance_alone_is_far_from_drift(seed: int) -> None:
    then = distribution(sample(100 + seed, 20_000))
    assert stability_index(then, sample(seed, MIN_PAYMENTS)) < DRIFTED / 5


CHANGES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "three times as much": lambda values: 3 * values,
    "a third is missing": lambda values: np.where(np.arange(values.size) % 3 == 0, np.nan, values),
    "a constant": np.zeros_like,
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_of_values_or_of_what_is_missing_shows(name: str) -> None:
    then = distribution(sample(1, 20_000))
    assert stability_index(then, CHANGES[name](sample(2, 5_000))) >= DRIFTED


def test_a_feature_that_was_never_there_and_now_is_has_drifted() -> None:
    then = distribution(np.full(1_000, np.nan))
    assert stability_index(then, np.full(2_000, np.nan)) < 0.01
    assert stability_index(then, sample(1, 2_000)) > DRIFTED
