"""Learn from one slice, stop and calibrate on a later one, and say what looks like a leak.

Between the slices lies the label delay, and every label is the one that was known at
the time: nothing after `test_from` is ever looked at.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from fraud_detection.adapters.xgboost.fit import FittedModel, fit_each
from fraud_detection.adapters.xgboost.model import XGBoostScorer
from fraud_detection.adapters.xgboost.pages import StoredSample
from fraud_detection.core.errors import ConfigError
from fraud_detection.evaluation.measures import Ranking
from fraud_detection.evaluation.weights import are_equal
from fraud_detection.training.calibrate import fit_calibration
from fraud_detection.training.tables.labelled_rows import LabelledRows, gathered
from fraud_detection.training.tables.scoring import margins

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fraud_detection.core.project_schema import Model
    from fraud_detection.core.score.calibration import Calibration
    from fraud_detection.training.tables.feature_table import Table
    from fraud_detection.training.workspace import Workspace

SUSPICIOUS_AUC = 0.98
_LOOKED_AT = 50_000


@dataclass(frozen=True, slots=True)
class Slices:
    """Slices to learn from: labelled rows to train and to validate on.

    all_validation: the numbers of the rows of the validation slice, with and without labels.
    """

    train: LabelledRows
    validation: LabelledRows
    all_validation: range

    @classmethod
    def of(cls, table: Table) -> Slices:
        """Cut by the boundaries of the table; raise ConfigError where labels would leak."""
        cut = table.info.boundaries
        _check_no_overlap(table)
        _check_both_classes(table)
        all_validation = table.row_range(cut.validation_from, cut.validation_until)
        train_rows = table.row_range(cut.train_from, cut.train_until)
        train = LabelledRows.of(table, train_rows, cut.validation_from)
        validation = LabelledRows.of(table, all_validation, cut.test_from)
        for name, rows in (("training", train), ("validation", validation)):
            if not len(rows):
                raise ConfigError(f"no payment of the {name} slice has a known label; look at `schema.label`")
        return cls(train, validation, all_validation)

    @property
    def table(self) -> Table:
        """Return the table of which they are slices."""
        return self.train.table


@dataclass(frozen=True, slots=True)
class Learned:
    """A model with its calibration, and after how many rounds it stopped."""

    model: bytes
    calibration: Calibration
    rounds: int

    def scorer(self, threads: int) -> XGBoostScorer:
        """Return the scorer that serves this model."""
        return XGBoostScorer(self.model, self.calibration, threads)


def learn(
    slices: Slices,
    settings: Model,
    progress: Callable[[float], None] | None = None,
    workspace: Workspace | None = None,
) -> Learned:
    """Fit trees on the training slice, stop them and calibrate them on the validation slice."""
    later = slices.validation.with_weight()
    (fitted,) = fit_rows(slices.train, later, [settings], progress, workspace)
    raw = margins(XGBoostScorer(fitted.model, threads=settings.threads), later.feature_parts(), len(later))
    weight = None if are_equal(later.weight) else later.weight
    calibration = fit_calibration(raw, later.label, settings.positive_weight, weight)
    return Learned(fitted.model, calibration, fitted.rounds)


@dataclass(frozen=True, slots=True)
class Refit:
    """A model refit on all mature data, with the calibration of the evaluated one.

    rows: that it learned from: payments before `until`, by labels as of `as_of`, both in ms.
    """

    learned: Learned
    rows: LabelledRows
    until: int
    as_of: int


def refit(
    table: Table,
    evaluated: Learned,
    settings: Model,
    progress: Callable[[float], None] | None = None,
    as_of: int | None = None,
    workspace: Workspace | None = None,
) -> Refit:
    """Refit as many rounds on every payment with a mature label, the latest ones included.

    The model cannot be evaluated before later payments have labels, so it keeps the evaluated calibration.
    as_of: label cut-off in ms; overrides that of the table.
    """
    info = table.info
    if as_of is None:
        as_of = info.known_until if info.as_of is None else info.as_of
    if as_of is None:
        as_of = _last_time(table)
    until = as_of - info.delay_ms + 1
    rows = LabelledRows.of(table, table.row_range(info.boundaries.train_from, until), as_of)
    counted = msgspec.structs.replace(settings, rounds=evaluated.rounds)
    (fitted,) = fit_rows(rows, None, [counted], progress, workspace)
    return Refit(Learned(fitted.model, evaluated.calibration, evaluated.rounds), rows, until, as_of)


def fit_rows(
    train: LabelledRows,
    later: LabelledRows | None,
    each: Sequence[Model],
    progress: Callable[[float], None] | None = None,
    workspace: Workspace | None = None,
) -> list[FittedModel]:
    """Fit one model for each of the settings, stopped on `later` where there is one.

    Without a workspace it is done in memory.
    """
    samples = [sample(rows) for rows in (train, later) if rows is not None]
    learned, stopped = samples[0], samples[1] if later is not None else None
    if workspace is None:
        return fit_each(learned, stopped, each, progress)
    rows = sum(one.label.size for one in samples)
    with workspace.cache(rows, len(train.info.names)) as cache:
        return fit_each(learned, stopped, each, progress, cache)


def sample(rows: LabelledRows) -> StoredSample:
    """Return what a model learns from: not the rows that stand for no payment."""
    own = rows.with_weight()
    weight = None if are_equal(own.weight) else own.weight
    return StoredSample(own.feature_parts, own.label, weight, tuple(own.info.names))


def leakage_suspects(train: LabelledRows) -> dict[str, float]:
    """Return the features that alone rank nearly all frauds right, with their AUC.

    Payments rarely make it that easy: such a feature usually knows the label.  Every so many rows one is
    looked at: 50,000 to 100,000 of a large slice.
    """
    positions = np.arange(0, len(train), 1 + len(train) // _LOOKED_AT)
    features, label = gathered(train.table, train.rows_of(positions)), train.label[positions]
    areas = {name: _area(features[:, i], label) for i, name in enumerate(train.info.names)}
    return {name: round(area, 4) for name, area in areas.items() if area >= SUSPICIOUS_AUC}


def _area(values: np.ndarray, label: np.ndarray) -> float:
    """Return the AUC in the better direction; a missing value counts as the lowest."""
    area = Ranking.of(np.nan_to_num(values, nan=-np.inf), label == 1).auc()
    return max(area, 1 - area)


def _last_time(table: Table) -> int:
    return max(int(payments.event_time.max()) for payments in table.payments(range(len(table))))


def _check_both_classes(table: Table) -> None:
    frauds, is_any_legitimate = 0, False
    for payments in table.payments(range(len(table))):
        frauds += int((payments.label == 1).sum())
        is_any_legitimate |= bool((payments.label == 0).any())
    if frauds and not is_any_legitimate:
        raise ConfigError(
            f"all {frauds:,} labels say fraud, as a feed of chargebacks does: what a legitimate payment is "
            "like, no label says, and silence is not taken for one. Give the label 0 to payments of which "
            "nobody has complained once `schema.label.delay` has passed"
        )


def _check_no_overlap(table: Table) -> None:
    cut, delay = table.info.boundaries, table.info.delay_ms
    for name, until, following in (
        ("training", cut.train_until, cut.validation_from),
        ("validation", cut.validation_until, cut.test_from),
    ):
        if until + delay > following:
            raise ConfigError(
                f"the {name} slice ends {until} ms, the next begins {following} ms: less than the delay "
                f"of {delay} ms apart, and labels would leak; run `fraud features` again"
            )
