"""Emerging fraud: weekly recall of a kind of fraud that begins in mid-stream.

Each week a model is retrained with the labels known by then, and compared with the model of the first week,
which is never retrained.  The ground truth of the kind is used only to count.
"""

from __future__ import annotations

import datetime as dt
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from fraud_detection.core.errors import ConfigError
from fraud_detection.evaluation.measures import DAY_MS
from fraud_detection.training.prequential import Fold, Models, WalkForwardPlan, learn_fold

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fraud_detection.core.project_schema import Model
    from fraud_detection.training.tables.dataset import Dataset

HONEST = "none"


class Week(msgspec.Struct, frozen=True):
    """Figures of one week of test days; shares are null where there is nothing to count.

    frauds: payments of the new kind.  recall, recall_never_retrained: the share of them above the cut-off.
    recall_other_kinds: of all other fraud, retrained.  known: of the kind's payments before this week the
    share that was known as fraud when it began.  learned: how many of them the week's model learned from.
    reviewed, reviewed_never_retrained: the share of the week's payments above the cut-off.
    """

    start: str
    frauds: int
    recall: float
    recall_never_retrained: float
    recall_other_kinds: float
    known: float
    learned: int
    reviewed: float
    reviewed_never_retrained: float


@dataclass(frozen=True, slots=True)
class Watcher:
    """A model with its cut-off."""

    models: Models
    cut: float

    @classmethod
    def of(cls, dataset: Dataset, fold: Fold, settings: Model, question: Question) -> Watcher:
        """Learn, and cut off so that the share to review of the payments of the delay lie above.

        They are the latest payments, nothing was learned from them, and it takes no label to rank them.
        """
        models = learn_fold(dataset, fold, settings, question.plan.seeds)
        latest = dataset.slice(fold.until, fold.test_from)
        return cls(models, float(np.quantile(models.score(latest.features), 1 - question.review_rate)))

    def reviews(self, rows: Dataset) -> np.ndarray:
        """Return for each payment whether it lies above the cut-off."""
        return self.models.score(rows.features) > self.cut


@dataclass(frozen=True, slots=True)
class Question:
    """Settings: name of the new kind, days of each part, share of payments that is reviewed."""

    kind: str
    plan: WalkForwardPlan
    review_rate: float = 0.01

    def __post_init__(self) -> None:
        """Refuse what leaves no payments to choose a cut-off by."""
        if not self.plan.delay_days:
            raise ConfigError(
                "emerging-fraud: the cut-off is chosen on the payments of the delay: need a delay"
            )
        if not 0 < self.review_rate < 1:
            raise ConfigError(f"emerging-fraud: the review rate lies between 0 and 1, got {self.review_rate}")


def emerging_fraud(
    dataset: Dataset,
    kinds: np.ndarray,
    weeks: Sequence[dt.date],
    question: Question,
    settings: Model,
    progress: Callable[[str, float], None] | None = None,
) -> list[Week]:
    """Return the figures of each week of test days; the model of the first week is never retrained.

    kinds: shape (n,), for each payment the kind of fraud it is, HONEST where it is none.
    """
    plan, evaluated = question.plan, list[Week]()
    first: Watcher | None = None
    for number, day in enumerate(weeks):
        if progress:
            progress(f"retraining: week of {day}", number / len(weeks))
        fold = Fold.of(day - dt.timedelta(days=plan.train_days + plan.delay_days), plan)
        watcher = Watcher.of(dataset, fold, settings, question)
        first = first or watcher
        evaluated.append(_week(dataset, kinds, fold, question.kind, (watcher, first)))
    return evaluated


def _week(
    dataset: Dataset, kinds: np.ndarray, fold: Fold, kind: str, watchers: tuple[Watcher, Watcher]
) -> Week:
    here = (dataset.event_time >= fold.test_from) & (dataset.event_time < fold.test_until)
    rows, its = dataset.take(here), kinds[here]
    new, other_kinds = its == kind, (its != kind) & (its != HONEST)
    now, never = (watcher.reviews(rows) for watcher in watchers)
    day = dt.date(1970, 1, 1) + dt.timedelta(days=fold.test_from // DAY_MS)
    known, learned = _known(dataset, kinds == kind, fold)
    return Week(
        start=day.isoformat(),
        frauds=int(new.sum()),
        recall=_share(now[new]),
        recall_never_retrained=_share(never[new]),
        recall_other_kinds=_share(now[other_kinds]),
        known=known,
        learned=learned,
        reviewed=_share(now),
        reviewed_never_retrained=_share(never),
    )


def _known(dataset: Dataset, new: np.ndarray, fold: Fold) -> tuple[float, int]:
    """Return the share of the kind's payments that is known as fraud by now, and how many were learned."""
    known = dataset.labels(fold.test_from) == 1
    earlier = new & (dataset.event_time < fold.test_from)
    learned = earlier & known & (dataset.event_time >= fold.history_from) & (dataset.event_time < fold.until)
    return _share(known[earlier]), int(learned.sum())


def _share(flags: np.ndarray) -> float:
    return float(flags.mean()) if flags.size else math.nan
