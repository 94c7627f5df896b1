from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fraud_detection.adapters.xgboost.fit import FittedModel, fit
from fraud_detection.adapters.xgboost.leaf_finder import CompiledTrees
from fraud_detection.adapters.xgboost.model import XGBoostScorer
from fraud_detection.adapters.xgboost.pages import Sample
from fraud_detection.adapters.xgboost.tree_walk import reached_from
from fraud_detection.core.decoding import decode
from fraud_detection.core.errors import ConfigError
from fraud_detection.core.project_schema import Model
from fraud_detection.core.score.calibration import Calibration

SETTINGS = Model(rounds=40, early_stopping=5, max_depth=3, threads=1)


def sample(rows: int = 3000, seed: int = 0, noise: float = 1.0) -> Sample:
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(rows, 6)).astype(np.float32)
    label = (features[:, 0] + features[:, 1] + noise * rng.normal(size=rows) > 2.5).astype(np.int8)
    features[rng.random(features.shape) < 0.1] = np.nan
    return Sample(features, label)


@pytest.fixture(scope="module")
def fitted() -> FittedModel:
    return fit(sample(), sample(seed=1), SETTINGS)


def test_without_early_stopping_all_rounds_are_grown_and_validation_changes_nothing() -> None:
    settings = msgspec.structs.replace(SETTINGS, early_stopping=None, rounds=30)
    alone, watched = fit(sample(), None, settings), fit(sample(), sample(seed=1), settings)
    assert (alone.rounds, watched.rounds) == (30, 30)
    assert alone.model == watched.model
    stopping = msgspec.structs.replace(settings, early_stopping=1, rounds=300)
    assert fit(sample(), sample(seed=1), stopping).rounds < 300


def test_it_stops_where_the_later_slice_was_best_and_keeps_no_tree_after_that() -> None:
    noisy = fit(sample(noise=5.0), sample(seed=1, noise=5.0), Model(rounds=300, early_stopping=5, threads=1))
    assert noisy.rounds == 1 + int(np.argmin(noisy.losses))
    assert noisy.rounds < len(noisy.losses) < 300
    exactly = fit(sample(noise=5.0), None, Model(rounds=noisy.rounds, threads=1))
    again, cut = (XGBoostScorer(model.model).margins(sample().features) for model in (exactly, noisy))
    assert np.array_equal(again, cut)


def test_trees_of_one_round_are_a_mean_that_is_nearer_to_that_of_many_models() -> None:
    settings = Model(rounds=15, early_stopping=None, subsample=0.3, colsample=0.5, threads=1)
    train, rows = sample(noise=5.0), sample(seed=3, noise=5.0).features

    def margins(**changed: int) -> np.ndarray:
        changed_settings = msgspec.structs.replace(settings, **changed)
        return XGBoostScorer(fit(train, None, changed_settings).model).margins(rows)

    mean = np.mean([margins(seed=seed) for seed in range(100, 120)], axis=0)
    alone = np.mean([np.std(margins(seed=seed) - mean) for seed in range(3)])
    together = np.mean([np.std(margins(seed=seed, parallel_trees=12) - mean) for seed in range(3)])
    assert together < 0.5 * alone
    forest = fit(train, sample(seed=1, noise=5.0), msgspec.structs.replace(settings, parallel_trees=3))
    assert forest.rounds == 15


def test_equal_data_and_seed_give_equal_bytes_with_any_number_of_threads() -> None:
    settings = [Model(rounds=6, early_stopping=5, max_depth=3, threads=threads) for threads in (1, 1, 2)]
    first, again, parallel = (fit(sample(800), sample(800, seed=1), each) for each in settings)
    assert first == again == parallel


def test_a_row_scores_the_same_to_the_last_bit_alone_and_among_others(fitted: FittedModel) -> None:
    scorer, rows = XGBoostScorer(fitted.model), sample(500, seed=2).features
    together = scorer.score(rows)
    assert [scorer.score(rows[i : i + 1])[0] for i in range(0, 500, 7)] == together[::7]
    assert scorer.score(rows.tolist()) == together
    assert XGBoostScorer(fitted.model, threads=2).score(rows) == together


@pytest.mark.parametrize(("depth", "parallel"), [(1, 1), (3, 1), (8, 1), (4, 5)])
def test_the_walk_for_few_rows_finds_the_margins_of_xgboost_to_the_last_bit(
    depth: int, parallel: int
) -> None:
    settings = Model(rounds=20, max_depth=depth, min_child_weight=1, parallel_trees=parallel, threads=1)
    model = fit(sample(), None, settings).model
    scorer, rows = XGBoostScorer(model), sample(300, seed=5).features
    rows[0], rows[1], rows[2] = np.nan, np.inf, -np.inf
    assert scorer._walk is not None
    expected = scorer._predict(rows)
    assert np.array_equal(scorer._walk.margins(rows), expected)
    assert np.array_equal([scorer._walk.margins(row[np.newaxis])[0] for row in rows], expected)
    # Values of the engine are doubles, of which XGBoost sees the nearest float32.
    probes = scorer._walk.probes(200).astype(float)
    nearby = probes * (1 + np.random.default_rng(0).choice([-1, 0, 1], probes.shape) * 2.0**-25)
    assert np.array_equal(scorer._walk.margins(nearby.tolist()), scorer._predict(nearby.astype(np.float32)))
    # Without a compiler numpy finds the leaves.
    scorer._walk._compiled = None
    assert np.array_equal(scorer._walk.margins(rows), expected)


@given(st.lists(st.floats(-(2.0**100), 2.0**100, width=32) | st.floats(-4, 4, width=32), min_size=1))
@example([1.0, 2.0**-24])  # in the middle between two float32: the even one
@example([1.0 + 2.0**-23, 2.0**-24])
@example([1.0, 2.0**-24, 2.0**-24])
@example([2.0**-126, -(2.0**-149)])  # what follows has fewer bits
@example([2.0**24, -1.0, 0.5])
def test_leaves_are_added_as_float32(leaves: list[float]) -> None:
    own = list(range(len(leaves)))
    trees = CompiledTrees(own[1:], own, [math.inf] * len(own), own, leaves, leaves[0], len(own), 0)
    assert trees.margins([[math.nan] * len(own)]) == [np.add.accumulate(np.array(leaves, np.float32))[-1]]


@given(st.floats(width=32, allow_nan=False, allow_infinity=False), st.floats(-1e39, 1e39))
@example(-3.4028234663852886e38, 0.0)  # the least float32: nothing lies below it
@example(3.4028234663852886e38, 0.0)
def test_a_double_reaches_a_threshold_when_its_float32_does(threshold: float, probe: float) -> None:
    reached = float(reached_from(np.array([threshold], np.float32))[0])
    near = [reached, math.nextafter(reached, -math.inf), threshold, math.nextafter(threshold, -math.inf)]
    with np.errstate(over="ignore"):
        for candidate in (*near, (threshold + 3 * reached) / 4, probe):
            assert (candidate >= reached) == (np.float32(candidate) >= np.float32(threshold))


def test_a_model_that_the_walk_cannot_read_is_scored_by_xgboost(fitted: FittedModel) -> None:
    scorer, rows = XGBoostScorer(fitted.model), sample(3, seed=6).features
    quick = scorer.score(rows)
    scorer._walk = None
    assert scorer.score(rows) == quick


def test_the_score_is_the_calibrated_margin(fitted: FittedModel) -> None:
    rows = sample(50, seed=3).features
    calibration = Calibration(0.7, -1.2)
    raw = XGBoostScorer(fitted.model).margins(rows).tolist()
    assert XGBoostScorer(fitted.model, calibration).score(rows) == [calibration.probability(m) for m in raw]


def test_contributions_and_the_mean_add_up_to_the_margin(fitted: FittedModel) -> None:
    scorer, rows = XGBoostScorer(fitted.model), sample(200, seed=4).features
    parts = scorer.contributions(rows)
    assert parts.shape == rows.shape
    rest = scorer.margins(rows) - parts.sum(axis=1)
    assert np.allclose(rest, rest[0], atol=1e-4)
    assert np.abs(parts[:, :2]).mean() > 3 * np.abs(parts[:, 2:]).mean()


def test_missing_values_everywhere_still_give_a_probability(fitted: FittedModel) -> None:
    (score,) = XGBoostScorer(fitted.model).score([[math.nan] * 6])
    assert 0 < score < 1


def test_no_rows_give_no_scores(fitted: FittedModel) -> None:
    assert XGBoostScorer(fitted.model).score([]) == []


def test_before_the_first_split_the_score_is_the_share_of_frauds() -> None:
    train = sample()
    stump = fit(train, None, Model(rounds=1, learning_rate=1e-6, threads=1))
    scores = XGBoostScorer(stump.model).score(train.features[:5])
    assert scores == pytest.approx([train.label.mean()] * 5, rel=1e-3)


@pytest.mark.parametrize("label", [0, 1])
def test_a_slice_with_one_class_is_refused(label: int) -> None:
    features = sample().features
    with pytest.raises(ConfigError, match="both kinds are needed"):
        fit(Sample(features, np.full(len(features), label, np.int8)), None, SETTINGS)


def test_bytes_that_are_no_model_are_refused() -> None:
    with pytest.raises(ConfigError, match="cannot be loaded by XGBoost"):
        XGBoostScorer(b"not a model")


@pytest.mark.parametrize("width", [5, 7])
def test_rows_of_another_width_are_refused(fitted: FittedModel, width: int) -> None:
    scorer = XGBoostScorer(fitted.model)
    with pytest.raises(ConfigError, match="the model has 6 features"):
        scorer.score(np.zeros((3, width), np.float32))
    with pytest.raises(ConfigError, match="the model has 6 features"):
        scorer.score([[0.0] * width] * 3)


NUMBERS = [name for name, value in msgspec.structs.asdict(Model()).items() if isinstance(value, (int, float))]
EXTREMES = [0, 1, 16, (1 << 31) - 1, 10**30, -1, 1e-300, 1e9, 1e300, math.inf, math.nan]


@pytest.mark.parametrize("name", NUMBERS)
def test_a_setting_is_refused_or_xgboost_takes_it(name: str) -> None:
    refused = 0
    for value in EXTREMES:
        try:
            settings = decode({name: value}, Model, "params.yaml")
        except ConfigError:
            refused += 1
            continue
        threads = min(settings.threads, 16) if name == "threads" else 1
        quick = msgspec.structs.replace(settings, rounds=1, threads=threads)
        assert fit(sample(50), None, quick).rounds == 1
    assert refused >= 5
