from __future__ import annotations

from dataclasses import replace

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraud_detection.adapters.xgboost.fit import fit
from fraud_detection.adapters.xgboost.model import XGBoostScorer
from fraud_detection.core.errors import ConfigError
from fraud_detection.training.fit import Slices, learn, sample
from fraud_detection.training.tables.labelled_rows import LabelledRows
from tests.unit.training.history import FEATURES, history, project

NAMES = [feature.name for feature in FEATURES]
RISK, COUNT = NAMES.index("terminal_fraud_rate_7d"), NAMES.index("card_count_1d")
FREE = project(model={"rounds": 60, "early_stopping": 60, "max_depth": 5, "threads": 1}).model
HELD = msgspec.structs.replace(FREE, monotone={"terminal_fraud_rate_*": "up", "card_count_1d": "down"})
TRAIN = LabelledRows.of(history(4000), range(4000), 2**62)
HELD_MODEL, FREE_MODEL = (
    XGBoostScorer(fit(sample(TRAIN), None, settings).model) for settings in (HELD, FREE)
)


def margins(scorer: XGBoostScorer, seed: int, column: int, values: np.ndarray) -> np.ndarray:
    """Score rows of history with the values of one column put in; shape (rows, values)."""
    rows = history(200, seed=seed).features
    each = [np.array(rows) for _ in values]
    for changed, value in zip(each, values, strict=True):
        changed[:, column] = value
    return np.stack([scorer.margins(changed) for changed in each], axis=1)


@given(seed=st.integers(2, 10_000), risks=st.lists(st.floats(0, 1, width=32), min_size=2, max_size=12))
def test_a_real_model_never_falls_with_what_may_only_go_up(seed: int, risks: list[float]) -> None:
    margin = margins(HELD_MODEL, seed, RISK, np.sort(np.array(risks, np.float32)))
    assert (np.diff(margin, axis=1) >= 0).all()


@given(seed=st.integers(2, 10_000), counts=st.lists(st.integers(0, 20), min_size=2, max_size=12))
def test_a_real_model_never_rises_with_what_may_only_go_down(seed: int, counts: list[int]) -> None:
    margin = margins(HELD_MODEL, seed, COUNT, np.sort(np.array(counts, np.float32)))
    assert (np.diff(margin, axis=1) <= 0).all()


def test_without_the_setting_the_same_history_makes_a_model_that_moves_both_ways() -> None:
    steps = np.diff(margins(FREE_MODEL, 2, RISK, np.linspace(0, 1, 60, dtype=np.float32)), axis=1)
    assert (steps > 0).any()
    assert (steps < 0).any()


def test_a_model_that_training_makes_keeps_to_it_after_calibration() -> None:
    settings = msgspec.structs.replace(HELD, early_stopping=10)
    scorer = learn(Slices.of(history(6000)), settings).scorer(threads=1)
    rows = history(300, seed=5).features
    low, high = np.array(rows), np.array(rows)
    low[:, RISK], high[:, RISK] = 0.0, 0.9
    assert (np.array(scorer.score(high)) >= np.array(scorer.score(low))).all()
    assert (np.array(scorer.score(high)) > np.array(scorer.score(low))).any()


def test_an_empty_setting_changes_no_byte_of_a_model() -> None:
    named, unnamed = sample(TRAIN), replace(sample(TRAIN), names=())
    assert fit(named, None, FREE).model == fit(unnamed, None, FREE).model


def test_a_setting_that_names_no_feature_of_the_table_is_refused() -> None:
    wrong = msgspec.structs.replace(FREE, monotone={"merchant_fraud_rate_7d": "up"})
    with pytest.raises(ConfigError, match="no feature is called `merchant_fraud_rate_7d`"):
        fit(sample(TRAIN), None, wrong)
