"""Verdicts that come too late, planted in each step of training that reads labels: nothing may change."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import numpy as np

from fraud_detection.core.events import Transaction
from fraud_detection.core.features.replay import HistoricalPayment
from fraud_detection.core.project_schema import Model
from fraud_detection.evaluation.time_split import UNKNOWN
from fraud_detection.training.emerging_fraud import Question, Watcher
from fraud_detection.training.fit import Slices, learn, refit
from fraud_detection.training.make_bundle import make_bundle
from fraud_detection.training.prequential import WalkForwardPlan
from fraud_detection.training.tables.dataset import Correction, Dataset
from fraud_detection.training.tune import fold_score, folds
from tests.unit.training.history import DAY, history, project

SETTINGS = Model(rounds=15, early_stopping=5, max_depth=3, threads=1)


def corrected(dataset: Dataset, moment: int) -> Dataset:
    """Return the history with every verdict turned round by a correction that comes at `moment`."""
    corrections = dataset.corrections.copy()
    for row in np.flatnonzero(dataset.label != UNKNOWN):
        if dataset.known_at[row] < moment:
            corrections[row] = Correction.write([Correction(1 - int(dataset.label[row]), moment)])
    assert (corrections != "").sum() > 1_000
    return replace(dataset, corrections=corrections)


def test_cutoffs_calibration_and_figures_know_no_correction_that_comes_when_the_test_begins() -> None:
    dataset = history()
    late, early = (
        corrected(dataset, dataset.info.boundaries.test_from + wait) for wait in (1, -dataset.info.delay_ms)
    )
    requested = project()
    made = [
        make_bundle(requested, slices, learn(slices, requested.model))
        for slices in (Slices.of(first) for first in (dataset, late, early))
    ]
    assert made[0].files() == made[1].files()
    # The same corrections in time are heard.
    assert made[0].name != made[2].name


def test_settings_are_tuned_by_no_correction_that_comes_when_the_test_begins() -> None:
    dataset = history()
    cut = dataset.info.boundaries
    fold = folds(cut, dataset.info.delay_ms)[-1]
    precisions = [
        fold_score(first, fold, SETTINGS)
        for first in (
            dataset,
            corrected(dataset, cut.test_from + 1),
            corrected(dataset, cut.test_from),
        )
    ]
    assert precisions[0] == precisions[1] != precisions[2]


def test_what_is_fitted_again_knows_no_correction_of_later_and_no_payment_that_others_stand_for() -> None:
    dataset = history()
    known_at = int(dataset.event_time[-1]) - 3 * DAY
    dataset = replace(dataset, info=msgspec.structs.replace(dataset.info, known_until=known_at))
    learned = learn(Slices.of(dataset), SETTINGS)
    plain = refit(dataset, learned, SETTINGS)
    assert plain.as_of == known_at
    assert int(dataset.event_time[plain.rows.rows.stop - 1]) <= known_at - dataset.info.delay_ms
    assert refit(corrected(dataset, known_at + 1), learned, SETTINGS).learned.model == plain.learned.model
    assert refit(corrected(dataset, known_at), learned, SETTINGS).learned.model != plain.learned.model
    # What people say of those that others stand for is not learned: weight 0.
    weight = np.where(np.arange(len(dataset)) % 3 == 0, 0.0, 1.0)
    turned = np.where((weight == 0) & (dataset.label != UNKNOWN), 1 - dataset.label, dataset.label)
    first, second = (
        refit(replace(dataset, weight=weight, label=label), learned, SETTINGS).learned.model
        for label in (dataset.label, turned.astype(np.int8))
    )
    assert first == second != plain.learned.model


def test_a_payment_as_it_was_known_at_a_moment_has_no_correction_of_later() -> None:
    historical = HistoricalPayment(
        Transaction("t1", 0, 100), fraud=True, known_at=5, corrections=((False, 9), (True, 20))
    )
    assert historical.known_by(4).fraud is None
    assert historical.known_by(8).corrections == ()
    assert historical.known_by(9).current_label() == (False, 9)
    assert historical.known_by(20) == historical


def test_the_cutoff_of_a_week_is_chosen_without_the_week_itself() -> None:
    dataset = history()
    fold = folds(dataset.info.boundaries, dataset.info.delay_ms)[0]
    question = Question("any", WalkForwardPlan(7, 7, 7, 40, seeds=1), review_rate=0.05)
    garbled = dataset.features.copy()
    garbled[dataset.event_time >= fold.test_from] *= 9
    assert (dataset.event_time >= fold.test_from).sum() > 500
    first = Watcher.of(dataset, fold, SETTINGS, question)
    second = Watcher.of(replace(dataset, features=garbled), fold, SETTINGS, question)
    assert first.cut == second.cut
    earlier = dataset.features.copy()
    earlier[(dataset.event_time >= fold.until) & (dataset.event_time < fold.test_from)] *= 9
    assert Watcher.of(replace(dataset, features=earlier), fold, SETTINGS, question).cut != first.cut
