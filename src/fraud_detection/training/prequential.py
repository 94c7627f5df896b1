"""Prequential (walk-forward) training: for every start date, train and score the test days that follow.

    history ........ | train days | delay | test days
                                  ^ nothing later is learned from

Early stopping looks at the last train days; then all of history is learned again
with the number of rounds found.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from fraud_detection.adapters.xgboost.model import XGBoostScorer, fit
from fraud_detection.core.errors import ConfigError
from fraud_detection.evaluation.measures import DAY_MS
from fraud_detection.training.fit import sample

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fraud_detection.core.project_schema import Model
    from fraud_detection.training.tables.dataset import Dataset


@dataclass(frozen=True, slots=True)
class WalkForwardPlan:
    """Days of each part of a fold; history ends where the train days end.

    seeds: number of models whose log-odds are averaged.
    """

    train_days: int = 7
    delay_days: int = 7
    test_days: int = 7
    history_days: int = 56
    seeds: int = 2

    def __post_init__(self) -> None:
        """Refuse a plan that leaves nothing to learn from before the early stopping's days."""
        if min(self.train_days, self.test_days, self.seeds) < 1 or self.delay_days < 0:
            raise ConfigError(f"prequential: days and seeds must be positive, got {self}")
        if self.history_days <= self.train_days:
            raise ConfigError(f"prequential: need history_days > train_days, got {self}")


@dataclass(frozen=True, slots=True)
class Fold:
    """Boundaries of one fold, in ms since 1970 UTC.

    >>> fold = Fold.of(dt.date(1970, 3, 1), WalkForwardPlan())
    >>> fold.history_from // DAY_MS, fold.stop_from // DAY_MS, fold.until // DAY_MS
    (10, 59, 66)
    >>> fold.test_from // DAY_MS, fold.test_until // DAY_MS
    (73, 80)
    """

    history_from: int
    stop_from: int
    until: int
    test_from: int
    test_until: int

    @classmethod
    def of(cls, start: dt.date, plan: WalkForwardPlan) -> Fold:
        """Return the fold that begins on a date."""
        first = (start - dt.date(1970, 1, 1)).days
        until = first + plan.train_days
        test = until + plan.delay_days
        days = (until - plan.history_days, first, until, test, test + plan.test_days)
        return cls(*(day * DAY_MS for day in days))


@dataclass(frozen=True, slots=True)
class Scores:
    """One row per scored payment: the fold's start (YYYY-MM-DD), the payment's id, its score."""

    fold: np.ndarray
    transaction_id: np.ndarray
    score: np.ndarray

    def columns(self, id_name: str = "transaction_id") -> dict[str, np.ndarray]:
        """Return the columns of a file, the ids as numbers where all of them are numbers."""
        return {"fold": self.fold, id_name: _numbers(self.transaction_id), "score": self.score}


def prequential(
    dataset: Dataset,
    start_dates: Sequence[dt.date],
    plan: WalkForwardPlan,
    settings: Model,
    progress: Callable[[str, float], None] | None = None,
) -> Scores:
    """Score every payment of every fold's test days, each fold by models of its own."""
    parts = []
    for number, start in enumerate(start_dates):
        if progress:
            progress(f"fold {start}", number / len(start_dates))
        parts.append(_fold(dataset, start, plan, settings))
    return Scores(*(np.concatenate([getattr(p, name) for p in parts]) for name in Scores.__slots__))


@dataclass(frozen=True, slots=True)
class Models:
    """Models that learned the same and differ in their seed only."""

    scorers: tuple[XGBoostScorer, ...]

    def score(self, features: np.ndarray) -> np.ndarray:
        """Return the probability of the mean log-odds for each row, shape (n,); it is not calibrated."""
        total = np.zeros(len(features))
        for scorer in self.scorers:
            total += scorer.margins(features)
        chances: np.ndarray = 1.0 / (1.0 + np.exp(-total / len(self.scorers)))
        return chances


def learn_fold(dataset: Dataset, fold: Fold, settings: Model, seeds: int) -> Models:
    """Learn from the fold's history with the labels known when its test days begin, and no later ones."""
    known = dataset.slice(fold.history_from, fold.until).labelled(fold.test_from)
    rounds = settings.rounds
    if settings.early_stopping is not None:
        early = known.take(known.event_time < fold.stop_from)
        late = known.take(known.event_time >= fold.stop_from)
        rounds = fit(sample(early), sample(late), settings).rounds
    each = [
        msgspec.structs.replace(settings, rounds=rounds, seed=settings.seed + number)
        for number in range(seeds)
    ]
    models = [fit(sample(known), None, seed).model for seed in each]
    return Models(tuple(XGBoostScorer(model, threads=settings.threads) for model in models))


def _fold(dataset: Dataset, start: dt.date, plan: WalkForwardPlan, settings: Model) -> Scores:
    fold = Fold.of(start, plan)
    test = dataset.slice(fold.test_from, fold.test_until)
    known = len(dataset.slice(fold.history_from, fold.until).labelled(fold.test_from))
    if not len(test) or not known:
        raise ConfigError(f"fold {start}: {known} payments to learn from and {len(test)} to score")
    score = learn_fold(dataset, fold, settings, plan.seeds).score(test.features)
    return Scores(np.full(len(test), start.isoformat()), test.transaction_id, score)


def _numbers(ids: np.ndarray) -> np.ndarray:
    """Return ids as int64 if each is the plain decimal of one, else as they are."""
    try:
        numbers = ids.astype(np.int64)
    except ValueError:
        return ids
    return numbers if (numbers.astype(str) == ids.astype(str)).all() else ids
