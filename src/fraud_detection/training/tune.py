"""Tune the hyperparameters on walk-forward folds before the test slice.

    history ............ | stop | delay | fold 1 |
    history ..................... | stop | delay | fold 2 |
    history ............................. | stop | delay | fold 3 |  gap | the test slice is never looked at

Each trial trains anew for every fold, with the labels known when the fold begins, and is scored by those
known when the test slice begins.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

import msgspec
import numpy as np

from fraud_detection.adapters.optuna_tuner import OptunaTuner, SearchParameter
from fraud_detection.core.errors import ConfigError
from fraud_detection.core.project_schema import Model
from fraud_detection.evaluation.measures import DAY_MS, Ranking
from fraud_detection.evaluation.time_split import Boundaries
from fraud_detection.training.prequential import Fold, learn_fold
from fraud_detection.training.tables.feature_table import Table
from fraud_detection.training.tables.labelled_rows import LabelledRows
from fraud_detection.training.workspace import Workspace

FOLDS = 3
MODELS = 2
"""Of a fold, which are averaged: one alone would separate luck from skill less well."""
MAX_MS = 7 * DAY_MS
SEARCH_SPACE = (
    SearchParameter("max_depth", 3, 8, is_integer=True),
    SearchParameter("learning_rate", 0.03, 0.3, by_factor=True),
    SearchParameter("min_child_weight", 0.5, 30, by_factor=True),
    SearchParameter("subsample", 0.5, 1),
    SearchParameter("colsample", 0.3, 1),
    SearchParameter("reg_lambda", 0.5, 50, by_factor=True),
)


class Budget(msgspec.Struct, frozen=True):
    """Budget of the search: number of trials, the current settings among them, and time.

    minutes: no trial begins later; None means no limit.  Only without one the result is the same every time.
    """

    trials: int = 30
    minutes: float | None = None


class Tuned(msgspec.Struct, frozen=True):
    """The best settings, their score and that of the current ones; NaN without a trial.

    score: mean average precision over the folds.
    """

    settings: Model
    trials: int = 0
    score: float = math.nan
    baseline_score: float = math.nan


def folds(cut: Boundaries, delay_ms: int) -> list[Fold]:
    """Lay the folds so that the last one ends where the labels end that were known when the test begins.

    >>> cut = Boundaries(0, 40 * DAY_MS, 47 * DAY_MS, 60 * DAY_MS, 67 * DAY_MS, 80 * DAY_MS)
    >>> found = folds(cut, 7 * DAY_MS)
    >>> [(one.until // DAY_MS, one.test_from // DAY_MS, one.test_until // DAY_MS) for one in found]
    [(32, 39, 46), (39, 46, 53), (46, 53, 60)]
    """
    end = min(cut.validation_until, cut.test_from - delay_ms)
    # The first fold keeps at least twice a fold to learn from, and one to stop on.
    length = min(MAX_MS, (end - cut.train_from - delay_ms) // (FOLDS + 3))
    if length <= 0:
        raise ConfigError(
            "the history is too short to tune on: the label delay leaves no days; give more, or --trials 0"
        )
    fold_list = []
    for index in range(FOLDS):
        until = end - (FOLDS - 1 - index) * length
        test_from = until - length
        learned = test_from - delay_ms
        fold_list.append(Fold(cut.train_from, learned - length, learned, test_from, until))
    return fold_list


def tune(
    table: Table,
    current: Model,
    more: Sequence[Model],
    budget: Budget,
    progress: Callable[[str, float], None],
    workspace: Workspace | None = None,
) -> Tuned:
    """Return the best of the current settings, of `more` (such as the champion's), and of Optuna's proposals.

    Of equal ones the first stands.  Raises ConfigError when no fold has frauds to learn from and to find.
    """
    if budget.trials < 1:
        return Tuned(current)
    usable = _usable(table)
    tuner = OptunaTuner(SEARCH_SPACE, current.seed)
    initial = [
        current,
        *(changed for candidate in more if (changed := _turned(current, _values(candidate))) != current),
    ]
    until = math.inf if budget.minutes is None else time.monotonic() + 60 * budget.minutes
    tried: list[tuple[float, Model]] = []
    while len(tried) < budget.trials and (not tried or time.monotonic() < until):
        is_given = len(tried) < len(initial)
        settings = initial[len(tried)] if is_given else _turned(current, tuner.propose())
        score = float(np.mean([fold_score(table, fold, settings, workspace) for fold in usable]))
        if is_given:
            tuner.know(_values(settings), score)
        else:
            tuner.report(score)
        tried.append((score, settings))
        progress(f"tuning: {len(tried):,} settings tried", (len(tried) - 1) / budget.trials)
    progress(f"tuning: {len(tried):,} settings tried", 1.0)
    score, best = max(tried, key=lambda trial: trial[0])
    return Tuned(best, len(tried), score, tried[0][0])


def fold_score(table: Table, fold: Fold, settings: Model, workspace: Workspace | None = None) -> float:
    """Return the average precision in a fold's days of models that learned before them."""
    days = table.row_range(fold.test_from, fold.test_until)
    test = LabelledRows.of(table, days, table.info.boundaries.test_from).with_weight()
    score = learn_fold(table, fold, settings, MODELS, workspace).score_parts(test.feature_parts())
    return Ranking.of(score, test.label == 1, test.weight).average_precision()


def _usable(table: Table) -> list[Fold]:
    """Return the folds that have frauds to learn from, to stop on and to find."""
    laid = folds(table.info.boundaries, table.info.delay_ms)
    usable = [
        fold
        for fold in laid
        if all(_has_frauds(table, period, moment) for period, moment in _parts(table, fold))
    ]
    if not usable:
        raise ConfigError("too few frauds are known to tune on; give more history, or --trials 0")
    return usable


def _parts(table: Table, fold: Fold) -> Iterator[tuple[tuple[int, int], int]]:
    """Yield the stretches of time that need frauds, with the moment by which these have to be known."""
    yield (fold.history_from, fold.stop_from), fold.test_from
    yield (fold.stop_from, fold.until), fold.test_from
    yield (fold.test_from, fold.test_until), table.info.boundaries.test_from


def _has_frauds(table: Table, span: tuple[int, int], as_of: int) -> bool:
    rows = LabelledRows.of(table, table.row_range(*span), as_of)
    return bool(((rows.label == 1) & (rows.weight > 0)).any())


def _values(settings: Model) -> dict[str, float]:
    return {parameter.name: getattr(settings, parameter.name) for parameter in SEARCH_SPACE}


def _turned(settings: Model, values: Mapping[str, float]) -> Model:
    return msgspec.structs.replace(settings, **values)
