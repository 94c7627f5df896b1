from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import xgboost as xgb

from fraud_detection.adapters.xgboost.fit import fit
from fraud_detection.adapters.xgboost.model import XGBoostScorer
from fraud_detection.adapters.xgboost.pages import Sample
from fraud_detection.adapters.xgboost.shap_tables import ShapTables
from fraud_detection.adapters.xgboost.tree_walk import TreeWalk
from fraud_detection.core.project_schema import Model

WIDTH = 7


def sample(seed: int, rows: int = 1500, width: int = WIDTH) -> Sample:
    """Return rows whose label hangs on bands and on pairs of features, so that paths ask features twice."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(rows, width)).astype(np.float32)
    signal = np.sin(3 * features[:, 0]) + features[:, 0] * features[:, width // 2] + features[:, -1] ** 2
    features[rng.random(features.shape) < 0.15] = np.nan
    return Sample(features, (signal + 0.3 * rng.normal(size=rows) > 1.2).astype(np.int8))


def model(depth: int, seed: int = 0, width: int = WIDTH, **settings: float) -> bytes:
    grown = Model(**{"rounds": 25, "max_depth": depth, "min_child_weight": 1, "threads": 1, **settings})  # type: ignore[arg-type]
    return fit(sample(seed, width=width), None, grown).model


def scorer_with_tables(booster: bytes) -> tuple[XGBoostScorer, ShapTables]:
    scorer = XGBoostScorer(booster)
    assert scorer._tables is not None
    return scorer, scorer._tables


def hard_rows(scorer: XGBoostScorer, seed: int) -> np.ndarray:
    """Return rows as in training, rows that sit on the splits, and rows with nothing or little in them."""
    assert scorer._walk is not None
    sparse = sample(seed + 1, 30, scorer.width).features
    sparse[np.random.default_rng(seed).random(sparse.shape) < 0.7] = np.nan
    empty = np.full((1, scorer.width), np.nan, np.float32)
    return np.concatenate([sample(seed, 60, scorer.width).features, scorer._walk.probes(60), sparse, empty])


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("depth", [1, 2, 3, 4, 5, 6, 7])
def test_the_tables_find_the_contributions_of_xgboost(depth: int, seed: int) -> None:
    scorer, tables = scorer_with_tables(model(depth, seed))
    rows = hard_rows(scorer, 10 + seed)
    expected = scorer._explain(rows)
    contributions = [tables.contributions(row) for row in rows]
    assert np.abs(expected).max() > 0.5
    assert np.allclose(contributions, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("width", [1, 2])
def test_a_feature_tested_more_than_once_on_a_path_is_one_player(width: int) -> None:
    scorer, tables = scorer_with_tables(model(6, width=width))
    rows = hard_rows(scorer, 3)
    contributions = np.array([tables.contributions(row) for row in rows])
    assert np.allclose(contributions, scorer._explain(rows), rtol=0, atol=1e-5)


@pytest.mark.parametrize(("empty", "least", "most"), [(3, 0.1, 0.9), (WIDTH, 1, 1)])
def test_a_tree_of_one_leaf_moves_no_feature(empty: int, least: float, most: float) -> None:
    known = sample(4)
    known.features[:, :empty] = np.nan  # a tree that is shown only such a column cannot split
    settings = Model(rounds=40, max_depth=5, min_child_weight=1, colsample=0.15, threads=1)
    scorer, tables = scorer_with_tables(fit(known, None, settings).model)
    assert scorer._walk is not None
    single = scorer._walk.left[scorer._walk.roots] == scorer._walk.roots
    assert least <= single.mean() <= most
    rows = hard_rows(scorer, 4)
    contributions = np.array([tables.contributions(row) for row in rows])
    assert np.allclose(contributions, scorer._explain(rows), rtol=0, atol=1e-5)
    assert not contributions[:, :empty].any()
    assert contributions.any() == (empty < WIDTH)


def test_the_contributions_are_the_shapley_values_of_the_definition() -> None:
    scorer, tables = scorer_with_tables(model(3, rounds=4))
    walk = scorer._walk
    assert walk is not None
    for row in hard_rows(scorer, 5)[::20]:
        assert np.allclose(tables.contributions(row), by_definition(walk, row), rtol=0, atol=1e-6)


def by_definition(walk: TreeWalk, row: np.ndarray) -> list[float]:
    """Return the mean of what a feature adds to the expected margin, over all orders to learn them in."""
    known = {
        frozenset(some): sum(expected(walk, row, frozenset(some), root) for root in walk.roots)
        for size in range(WIDTH + 1)
        for some in itertools.combinations(range(WIDTH), size)
    }

    def share(some: frozenset[int]) -> float:
        return math.factorial(len(some)) * math.factorial(WIDTH - len(some) - 1) / math.factorial(WIDTH)

    return [
        sum(share(some) * (known[some | {feature}] - known[some]) for some in known if feature not in some)
        for feature in range(WIDTH)
    ]


def expected(walk: TreeWalk, row: np.ndarray, known: frozenset[int], node: int) -> float:
    """Return a tree's mean value where only some features are known: the others split as in training."""
    left = int(walk.left[node])
    if left == node:
        return float(walk.value[node])
    ways = [expected(walk, row, known, child) for child in (left, left + 1)]
    column = int(walk.column[node]) % walk.width
    if column not in known:
        shares = walk.cover[[left, left + 1]] / walk.cover[node]
        return float(shares @ ways)
    to_the_right = (
        walk.column[node] >= walk.width if np.isnan(row[column]) else row[column] >= walk.threshold[node]
    )
    return ways[int(to_the_right)]


@pytest.mark.parametrize("depth", [1, 3, 6])
def test_the_contributions_and_one_constant_add_up_to_the_margin(depth: int) -> None:
    scorer, tables = scorer_with_tables(model(depth))
    rows = hard_rows(scorer, 6)
    rest = scorer.margins(rows) - [tables.contributions(row).sum() for row in rows]
    assert np.ptp(rest) < 1e-5
    assert np.ptp(scorer.margins(rows)) > 1


def test_a_row_is_explained_the_same_to_the_last_bit_alone_and_among_others() -> None:
    scorer, _ = scorer_with_tables(model(5))
    rows = hard_rows(scorer, 7)
    together = scorer.contributions(rows)
    assert together.dtype == np.float32
    alone = [scorer.contributions(rows[i : i + 1])[0] for i in range(len(rows))]
    assert np.array_equal(alone, together)
    assert np.array_equal(scorer.contributions(rows.tolist()), together)


def test_no_rows_have_no_contributions() -> None:
    assert scorer_with_tables(model(2))[0].contributions([]).shape == (0, WIDTH)


def test_trees_too_deep_for_the_tables_are_explained_by_xgboost() -> None:
    scorer = XGBoostScorer(model(8))
    assert scorer._walk is not None
    assert scorer._tables is None
    with pytest.raises(ValueError, match="trees 8 deep: the tables hold for 7 at most"):
        ShapTables(scorer._walk)
    rows = hard_rows(scorer, 8)
    assert np.array_equal(scorer.contributions(rows), scorer._explain(rows))


def test_too_many_trees_for_the_tables_are_refused() -> None:
    scorer, tables = scorer_with_tables(model(4))
    assert scorer._walk is not None
    with pytest.raises(ValueError, match="too large"):
        ShapTables(scorer._walk, largest=tables._table.nbytes - 1)
    assert ShapTables(scorer._walk, largest=tables._table.nbytes)._table.shape == tables._table.shape


def test_nodes_that_no_training_row_has_reached_are_refused() -> None:
    scorer, _ = scorer_with_tables(model(3))
    assert scorer._walk is not None
    scorer._walk.cover = np.zeros_like(scorer._walk.cover)
    with pytest.raises(ValueError, match="no training row"):
        ShapTables(scorer._walk)


def test_tables_that_disagree_with_xgboost_are_not_used() -> None:
    scorer, _ = scorer_with_tables(model(3))
    walk = scorer._walk
    assert walk is not None
    assert scorer._shap_tables(walk) is not None
    walk.cover = np.sqrt(walk.cover)
    assert scorer._shap_tables(walk) is None


def test_without_tables_xgboost_finds_the_same() -> None:
    scorer, _ = scorer_with_tables(model(3))
    rows = hard_rows(scorer, 9)
    quick = scorer.contributions(rows)
    scorer._tables = None
    assert np.allclose(scorer.contributions(rows), quick, rtol=0, atol=1e-5)


def test_a_model_that_the_walk_cannot_read_is_explained_by_xgboost() -> None:
    known = sample(0)
    matrix = xgb.DMatrix(known.features, known.label - 5.0)
    other_model = xgb.train({"objective": "reg:squarederror", "max_depth": 3, "nthread": 1}, matrix, 5)
    scorer = XGBoostScorer(bytes(other_model.save_raw("ubj")))
    assert scorer._walk is None
    assert scorer._tables is None
    assert np.array_equal(scorer.contributions(known.features), scorer._explain(known.features))
