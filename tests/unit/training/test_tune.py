"""Settings are found as they could have been found at the time."""

from __future__ import annotations

import itertools
import subprocess
import sys
from dataclasses import replace

import msgspec
import numpy as np
import pytest

from fraud_detection.adapters.optuna_tuner import OptunaTuner
from fraud_detection.core.errors import ConfigError
from fraud_detection.core.project_schema import Model
from fraud_detection.evaluation.time_split import UNKNOWN
from fraud_detection.training.tables.dataset import Dataset
from fraud_detection.training.tune import SEARCH_SPACE, Budget, Tuned, fold_score, folds, tune
from tests.unit.training.history import DAY, history, project, spoilt_after, with_late_labels

CURRENT: Model = msgspec.structs.replace(project().model, rounds=15, early_stopping=5)


def tuned(dataset: Dataset, trials: int, *more: Model, minutes: float | None = None) -> Tuned:
    return tune(dataset, CURRENT, more, Budget(trials, minutes), lambda *_: None)


def test_nothing_of_the_test_slice_is_known_while_tuning() -> None:
    dataset = history(3000)
    cut = dataset.info.boundaries
    assert tuned(spoilt_after(dataset, cut.test_from), 2) == tuned(dataset, 2)
    # What the last fold is evaluated on does matter.
    assert tuned(spoilt_after(dataset, cut.test_from - 8 * DAY), 1) != tuned(dataset, 1)


def test_a_label_that_was_not_known_by_a_fold_is_not_learned_and_a_planted_one_shows() -> None:
    dataset = with_late_labels(history())
    fold = folds(dataset.info.boundaries, dataset.info.delay_ms)[-1]
    learned = dataset.event_time < fold.until
    late = learned & (dataset.label == 1) & (dataset.known_at > fold.test_from)
    assert late.sum() > 20
    silent = replace(dataset, label=np.where(late, 0, dataset.label).astype(np.int8))
    planted = replace(dataset, known_at=np.where(late, dataset.event_time, dataset.known_at))
    honest = fold_score(dataset, fold, CURRENT)
    assert fold_score(silent, fold, CURRENT) == honest
    assert fold_score(planted, fold, CURRENT) != honest


def test_folds_keep_the_delay_and_do_not_overlap_and_end_before_the_test_slice() -> None:
    info = history().info
    laid = folds(info.boundaries, info.delay_ms)
    assert laid[-1].test_until + info.delay_ms <= info.boundaries.test_from
    for fold in laid:
        assert fold.history_from < fold.stop_from < fold.until
        assert fold.test_from - fold.until == info.delay_ms
    for before, after in itertools.pairwise(laid):
        assert before.test_until == after.test_from


@pytest.mark.parametrize("trials", [3, pytest.param(11, marks=pytest.mark.long)])
def test_the_same_seed_and_trials_find_the_same_settings(trials: int) -> None:
    dataset = history(3000)
    one = tuned(dataset, trials)
    assert one == tuned(dataset, trials)
    assert one.trials == trials
    assert one.score >= one.baseline_score
    for parameter in SEARCH_SPACE:
        value = getattr(one.settings, parameter.name)
        assert parameter.low <= value <= parameter.high or one.settings == CURRENT


def test_the_settings_of_today_and_of_the_champion_are_tried_first_and_stand_when_nothing_is_better() -> None:
    dataset = history(3000)
    assert tuned(dataset, 1).settings == CURRENT
    champion = msgspec.structs.replace(CURRENT, max_depth=7, rounds=999, seed=1)
    both = tuned(dataset, 2, champion)
    assert both.trials == 2
    # Of the champion only what is tuned is taken: rounds and seed are the project's.
    assert both.settings in [CURRENT, msgspec.structs.replace(CURRENT, max_depth=7)]


def test_a_budget_of_no_time_tries_what_is_there_and_one_of_no_trials_nothing() -> None:
    dataset = history(3000)
    assert tuned(dataset, 50, minutes=0.0).trials == 1
    none = tuned(dataset, 0)
    assert (none.settings, none.trials) == (CURRENT, 0)


def test_a_history_without_frauds_to_find_is_refused() -> None:
    dataset = history(3000)
    with pytest.raises(ConfigError, match="too few frauds are known to tune on"):
        tuned(replace(dataset, label=np.where(dataset.label == 1, UNKNOWN, dataset.label).astype(np.int8)), 2)


def test_proposals_stay_in_range_and_move_to_what_was_good() -> None:
    tuner = OptunaTuner(SEARCH_SPACE, seed=3)
    tuner.know({parameter.name: parameter.high * 10 for parameter in SEARCH_SPACE}, score=-5.0)
    depths = []
    for _ in range(40):
        values = tuner.propose()
        assert all(parameter.low <= values[parameter.name] <= parameter.high for parameter in SEARCH_SPACE)
        assert isinstance(values["max_depth"], int)
        depths.append(values["max_depth"])
        tuner.report(-abs(values["max_depth"] - 6.0) - abs(values["subsample"] - 0.9))
    early, late = depths[:10], depths[-15:]
    assert np.mean(np.abs(np.array(late) - 6)) < np.mean(np.abs(np.array(early) - 6))


def test_whoever_does_not_tune_needs_no_optuna() -> None:
    # XGBoost imports scikit-learn where there is some, which takes longer than all the rest.
    hidden = "import sys; sys.modules['sklearn'] = None"
    code = f"{hidden}; import fraud_detection.challengers.retrain; sys.exit('optuna' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0  # noqa: S603 - ours
