"""Learn from one slice, stop and calibrate on a later one, and say what looks like a leak.

Between the slices lies the label delay, and every label is the one that was known at
the time: nothing after `test_from` is ever looked at.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from fraud_detection.adapters.xgboost.model import Sample, XGBoostScorer, fit
from fraud_detection.core.errors import ConfigError
from fraud_detection.evaluation.measures import Ranking
from fraud_detection.evaluation.weights import are_equal
from fraud_detection.training.calibrate import fit_calibration

if TYPE_CHECKING:
    from collections.abc import Callable

    from fraud_detection.core.project_schema import Model
    from fraud_detection.core.score.calibration import Calibration
    from fraud_detection.training.tables.dataset import Dataset

SUSPICIOUS_AUC = 0.98
_LOOKED_AT = 50_000


@dataclass(frozen=True, slots=True)
class Slices:
    """Slices to learn from: labelled training rows, and the validation slice with and without labels."""

    train: Dataset
    validation: Dataset
    all_validation: Dataset

    @classmethod
    def of(cls, dataset: Dataset) -> Slices:
        """Cut by the boundaries of the table; raise ConfigError where labels would leak."""
        cut = dataset.info.boundaries
        _check_no_overlap(dataset)
        _check_both_classes(dataset)
        all_validation = dataset.slice(cut.validation_from, cut.validation_until)
        train = dataset.slice(cut.train_from, cut.train_until).labelled(cut.validation_from)
        validation = all_validation.labelled(cut.test_from)
        for name, rows in (("training", train), ("validation", validation)):
            if not len(rows):
                raise ConfigError(f"no payment of the {name} slice has a known label; look at `schema.label`")
        return cls(train, validation, all_validation)


@dataclass(frozen=True, slots=True)
class Learned:
    """A model with its calibration, and after how many rounds it stopped."""

    model: bytes
    calibration: Calibration
    rounds: int

    def scorer(self, threads: int) -> XGBoostScorer:
        """Return the scorer that serves this model."""
        return XGBoostScorer(self.model, self.calibration, threads)


def learn(slices: Slices, settings: Model, progress: Callable[[float], None] | None = None) -> Learned:
    """Fit trees on the training slice, stop them and calibrate them on the validation slice."""
    later = sample(slices.validation)
    fitted = fit(sample(slices.train), later, settings, progress)
    raw = XGBoostScorer(fitted.model, threads=settings.threads).margins(later.features)
    calibration = fit_calibration(raw, later.label, settings.positive_weight, later.weight)
    return Learned(fitted.model, calibration, fitted.rounds)


@dataclass(frozen=True, slots=True)
class Refit:
    """A model refit on all mature data, with the calibration of the evaluated one.

    rows: that it learned from: payments before `until`, by labels as of `as_of`, both in ms.
    """

    learned: Learned
    rows: Dataset
    until: int
    as_of: int


def refit(
    dataset: Dataset,
    evaluated: Learned,
    settings: Model,
    progress: Callable[[float], None] | None = None,
    as_of: int | None = None,
) -> Refit:
    """Refit as many rounds on every payment with a mature label, the latest ones included.

    The model cannot be evaluated before later payments have labels, so it keeps the evaluated calibration.
    as_of: label cut-off in ms; overrides that of the table.
    """
    info = dataset.info
    if as_of is None:
        as_of = info.known_until if info.as_of is None else info.as_of
    if as_of is None:
        as_of = int(dataset.event_time.max())
    until = as_of - info.delay_ms + 1
    rows = dataset.slice(info.boundaries.train_from, until).labelled(as_of)
    counted = msgspec.structs.replace(settings, rounds=evaluated.rounds)
    model = fit(sample(rows), None, counted, progress).model
    return Refit(Learned(model, evaluated.calibration, evaluated.rounds), rows, until, as_of)


def sample(rows: Dataset) -> Sample:
    """Return what a model learns from; every row of `rows` must have a label.

    Rows that stand for no payment are not among it.
    """
    counted = rows.weight > 0
    own = rows if counted.all() else rows.take(counted)
    weight = None if are_equal(own.weight) else own.weight
    return Sample(own.features, own.label, weight, tuple(own.info.names))


def leakage_suspects(train: Dataset) -> dict[str, float]:
    """Return the features that alone rank nearly all frauds right, with their AUC.

    Payments rarely make it that easy: such a feature usually knows the label.
    """
    rows = train.take(np.arange(len(train)) % (1 + len(train) // _LOOKED_AT) == 0)
    areas = {name: _area(rows.features[:, i], rows.label) for i, name in enumerate(rows.info.names)}
    return {name: round(area, 4) for name, area in areas.items() if area >= SUSPICIOUS_AUC}


def _area(values: np.ndarray, label: np.ndarray) -> float:
    """Return the AUC in the better direction; a missing value counts as the lowest."""
    area = Ranking.of(np.nan_to_num(values, nan=-np.inf), label == 1).auc()
    return max(area, 1 - area)


def _check_both_classes(dataset: Dataset) -> None:
    frauds = int((dataset.label == 1).sum())
    if frauds and not (dataset.label == 0).any():
        raise ConfigError(
            f"all {frauds:,} labels say fraud, as a feed of chargebacks does: what a legitimate payment is "
            "like, no label says, and silence is not taken for one. Give the label 0 to payments of which "
            "nobody has complained once `schema.label.delay` has passed"
        )


def _check_no_overlap(dataset: Dataset) -> None:
    cut, delay = dataset.info.boundaries, dataset.info.delay_ms
    for name, until, following in (
        ("training", cut.train_until, cut.validation_from),
        ("validation", cut.validation_until, cut.test_from),
    ):
        if until + delay > following:
            raise ConfigError(
                f"the {name} slice ends {until} ms, the next begins {following} ms: less than the delay "
                f"of {delay} ms apart, and labels would leak; run `fraud features` again"
            )
