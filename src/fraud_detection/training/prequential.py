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

from fraud_detection.adapters.xgboost.model import XGBoostScorer
from fraud_detection.core.errors import ConfigError
from fraud_detection.evaluation.measures import DAY_MS
from fraud_detection.evaluation.slices import iso
from fraud_detection.training.fit import fit_rows
from fraud_detection.training.tables.cache import check_same_features
from fraud_detection.training.tables.feature_table import FeatureTable
from fraud_detection.training.tables.labelled_rows import LabelledRows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from fraud_detection.core.project_schema import Model, Project
    from fraud_detection.training.tables.feature_table import Table
    from fraud_detection.training.workspace import Workspace


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
        """Return the columns of a file."""
        return {"fold": self.fold, id_name: self.transaction_id, "score": self.score}


def prequential(
    table: Table,
    start_dates: Sequence[dt.date],
    plan: WalkForwardPlan,
    settings: Model,
    progress: Callable[[str, float], None] | None = None,
    workspace: Workspace | None = None,
) -> Iterator[Scores]:
    """Score every payment of every fold's test days, each fold by models of its own; yield them in batches.

    Ids are int64 where every payment that is scored has the plain decimal of one, else as they are.
    """
    folds = [Fold.of(start, plan) for start in start_dates]
    as_numbers = all(_all_numbers(table, fold) for fold in folds)
    for number, (start, fold) in enumerate(zip(start_dates, folds, strict=True)):
        if progress:
            progress(f"fold {start}", number / len(folds))
        rows = table.row_range(fold.test_from, fold.test_until)
        known = _known(table, fold)
        if not len(rows) or not len(known):
            raise ConfigError(f"fold {start}: {len(known)} payments to learn from and {len(rows)} to score")
        score, at = _learn(known, fold, settings, plan.seeds, workspace).score_rows(table, rows), 0
        for payments in table.payments(rows):
            ids = payments.transaction_id.astype(np.int64) if as_numbers else payments.transaction_id
            some = score[at : at + len(payments)]
            yield Scores(np.full(some.size, start.isoformat()), ids, some)
            at += len(payments)


def stored_table(project: Project, path: Path, known_until: int) -> FeatureTable:
    """Open a feature table whose categories are learned until a time in ms, or earlier.

    Raises ConfigError for a table of other features, or of categories learned from later payments.
    """
    check_same_features(project, path)
    table = FeatureTable(path)
    learned_until = table.info.boundaries.train_until
    if table.info.category_encoding and learned_until > known_until:
        raise ConfigError(
            f"{path}: its categories were learned from payments until {iso(learned_until)}, and the first "
            f"fold may know none from {iso(known_until)} on; begin later, or give --data instead"
        )
    return table


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

    def score_rows(self, table: Table, rows: range) -> np.ndarray:
        """Return the same for some rows of a table."""
        return self.score_parts(table.feature_parts(rows))

    def score_parts(self, parts: Iterable[np.ndarray]) -> np.ndarray:
        """Return the same for features in parts."""
        return np.concatenate([np.zeros(0), *(self.score(part) for part in parts)])


def learn_fold(
    table: Table, fold: Fold, settings: Model, seeds: int, workspace: Workspace | None = None
) -> Models:
    """Learn from the fold's history with the labels known when its test days begin, and no later ones."""
    return _learn(_known(table, fold), fold, settings, seeds, workspace)


def _known(table: Table, fold: Fold) -> LabelledRows:
    return LabelledRows.of(table, table.row_range(fold.history_from, fold.until), fold.test_from)


def _learn(
    known: LabelledRows, fold: Fold, settings: Model, seeds: int, workspace: Workspace | None
) -> Models:
    rounds = settings.rounds
    if settings.early_stopping is not None:
        early, late = known.split(known.table.row_range(fold.stop_from, fold.until).start)
        rounds = fit_rows(early, late, [settings], workspace=workspace)[0].rounds
    each = [
        msgspec.structs.replace(settings, rounds=rounds, seed=settings.seed + number)
        for number in range(seeds)
    ]
    fitted = fit_rows(known, None, each, workspace=workspace)
    return Models(tuple(XGBoostScorer(one.model, threads=settings.threads) for one in fitted))


def _all_numbers(table: Table, fold: Fold) -> bool:
    rows = table.row_range(fold.test_from, fold.test_until)
    return all(_are_numbers(payments.transaction_id) for payments in table.payments(rows))


def _are_numbers(ids: np.ndarray) -> bool:
    """Return whether each id is the plain decimal of an int64."""
    try:
        numbers = ids.astype(np.int64)
    except (ValueError, OverflowError):
        return False
    return bool((numbers.astype(str) == ids.astype(str)).all())
