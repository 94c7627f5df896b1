"""XGBoost: fit a model, in memory or, where the rows are too many, with pages of them on disk.

Both give the same model: the cuts between a feature's values are found over all rows in their order, and a
histogram is a sum in double precision.  Not here: whether the rows fit into memory.
"""

from __future__ import annotations

import traceback
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fraud_detection.adapters.xgboost.lean_import import without_scikit_learn
from fraud_detection.adapters.xgboost.pages import DiskCache, PageIterator, Rows
from fraud_detection.core.errors import ConfigError
from fraud_detection.core.features.monotonicity import monotonic_constraints

with without_scikit_learn():
    import xgboost as xgb

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fraud_detection.core.project_schema import Model

_METRIC = "logloss"
"""Stops early.  Average precision would be nearer to the aim, but jumps about with few frauds."""

_PASSES = 3
"""How often XGBoost reads the pages before it grows trees: to count, to find the cuts, and to cache."""

_CACHING = 0.1
"""The share of a fit's progress that caching takes."""


@dataclass(frozen=True, slots=True)
class FittedModel:
    """The model in XGBoost's binary JSON (UBJ), cut after its best round.

    losses: log-loss on the later slice after each round; empty when there was none.
    """

    model: bytes
    rounds: int
    losses: tuple[float, ...]


def fit(
    train: Rows,
    later: Rows | None,
    settings: Model,
    progress: Callable[[float], None] | None = None,
    cache: DiskCache | None = None,
) -> FittedModel:
    """Grow trees on `train` until `later` gets no better; without `later`, or early stopping, all rounds.

    cache: where the features are kept; in memory for None.  Equal samples and settings give equal bytes, with
    any number of threads, in memory and on disk.
    """
    return fit_each(train, later, [settings], progress, cache)[0]


def fit_each(
    train: Rows,
    later: Rows | None,
    each: Sequence[Model],
    progress: Callable[[float], None] | None = None,
    cache: DiskCache | None = None,
) -> list[FittedModel]:
    """Fit one model for each of several settings on the same rows, which are read once for all of them."""
    _check_two_classes(train)
    try:
        return _all_grown(train, later, each, progress, cache)
    except BaseException as error:
        # XGBoost removes its pages when its matrices go, and the traceback would keep them past their folder.
        traceback.clear_frames(error.__traceback__)
        raise


def _all_grown(
    train: Rows,
    later: Rows | None,
    each: Sequence[Model],
    progress: Callable[[float], None] | None,
    cache: DiskCache | None,
) -> list[FittedModel]:
    report, cached = progress or _silent, _CACHING if cache else 0.0
    rows = train.label.size + (0 if later is None else later.label.size)
    matrices = _Matrices(each[0].threads, cache, _Count(_PASSES * rows, _part(report, 0, cached)))
    matrix = matrices.of(train, "train")
    validation = None if later is None else matrices.of(later, "later", matrix)
    share, fitted = (1 - cached) / len(each), []
    for number, settings in enumerate(each):  # a comprehension would hold the matrices in a closure, too
        own = _part(report, cached + number * share, share)
        fitted.append(_grown(train, matrix, validation, settings, own))
    return fitted


def _grown(
    train: Rows,
    matrix: xgb.DMatrix,
    validation: xgb.DMatrix | None,
    settings: Model,
    progress: Callable[[float], None],
) -> FittedModel:
    stopping = settings.early_stopping if validation is not None else None
    history: dict[str, dict[str, list[float]]] = {}
    booster = xgb.train(
        _parameters(train, settings),
        matrix,
        settings.rounds,
        evals=[] if validation is None else [(validation, "later")],
        evals_result=history,
        early_stopping_rounds=stopping,
        callbacks=[_Progress(settings.rounds, progress)],
        verbose_eval=False,
    )
    rounds = settings.rounds if stopping is None else booster.best_iteration + 1
    losses = history.get("later", {}).get(_METRIC, [])
    return FittedModel(bytes(booster[:rounds].save_raw("ubj")), rounds, tuple(losses))


class _Progress(xgb.callback.TrainingCallback):
    """Report the share of the work that is done, every tenth round."""

    def __init__(self, rounds: int, report: Callable[[float], None]) -> None:
        super().__init__()
        self.rounds, self.report = rounds, report

    def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:  # noqa: ANN401, ARG002 - XGBoost's own
        """Report, and never stop the training."""
        if epoch % 10 == 0:
            self.report(epoch / self.rounds)
        return False


@dataclass(frozen=True, slots=True)
class _Matrices:
    """Makes XGBoost's own form of samples, in memory or on disk."""

    threads: int
    cache: DiskCache | None
    count: _Count

    def of(self, rows: Rows, name: str, like: xgb.DMatrix | None = None) -> xgb.DMatrix:
        if self.cache is None:
            return xgb.QuantileDMatrix(
                rows.matrix(), rows.label, weight=rows.weight, ref=like, nthread=self.threads
            )
        pages = PageIterator(rows, self.cache, name, self.count.add)
        return xgb.ExtMemQuantileDMatrix(pages, ref=like, nthread=self.threads)


@dataclass(slots=True)
class _Count:
    """Counts the rows that were read, of so many, and reports the share."""

    expected: int
    report: Callable[[float], None]
    read: int = 0

    def add(self, rows: int) -> None:
        self.read += rows
        self.report(min(self.read / self.expected, 1.0))


def _part(report: Callable[[float], None], start: float, size: float) -> Callable[[float], None]:
    """Return what reports the progress of a part of the work as that of all of it."""
    return lambda share: report(start + size * share)


def _silent(_: float) -> None:
    """Ignore progress."""


def _parameters(train: Rows, settings: Model) -> dict[str, Any]:
    frauds, goods = _weight_of_classes(train)
    weighted = settings.positive_weight * frauds
    return {
        "objective": "binary:logistic",
        "eval_metric": _METRIC,
        "tree_method": "hist",
        # Given, not estimated: XGBoost 3 estimates it in one step that depends on its version.
        "base_score": weighted / (weighted + goods),
        "seed": settings.seed,
        "nthread": settings.threads,
        "num_parallel_tree": settings.parallel_trees,
        "max_depth": settings.max_depth,
        "learning_rate": settings.learning_rate,
        # XGBoost reads text as float32, and refuses what would underflow there.
        "min_child_weight": float(np.float32(settings.min_child_weight)),
        "subsample": settings.subsample,
        "colsample_bytree": settings.colsample,
        "reg_lambda": float(np.float32(settings.reg_lambda)),
        "scale_pos_weight": settings.positive_weight,
        **_constraints(train, settings),
    }


def _weight_of_classes(train: Rows) -> tuple[float, float]:
    """Return for how many payments the frauds stand, and the others."""
    fraud = train.label == 1
    if train.weight is None:
        return float(fraud.sum()), float((train.label == 0).sum())
    return float(train.weight[fraud].sum()), float(train.weight[train.label == 0].sum())


def _constraints(train: Rows, settings: Model) -> dict[str, tuple[int, ...]]:
    if not settings.monotone:
        return {}
    return {"monotone_constraints": tuple(monotonic_constraints(settings.monotone, train.names))}


def _check_two_classes(train: Rows) -> None:
    frauds = int(train.label.sum())
    if not 0 < frauds < train.label.size:
        raise ConfigError(
            f"the training slice has {frauds} frauds among {train.label.size} labelled payments: both kinds "
            "are needed; give more history, or look at `schema.label`"
        )
