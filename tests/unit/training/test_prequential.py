from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pytest

from fraud_detection.core.errors import ConfigError
from fraud_detection.training.prequential import Fold, Scores, WalkForwardPlan, learn_fold, prequential
from fraud_detection.training.tables.dataset import Dataset
from tests.unit.training.history import DAY, START, history, project, spoilt_after, with_late_labels

PLAN = WalkForwardPlan(train_days=7, delay_days=7, test_days=7, history_days=28)
FIRST = dt.date(2026, 2, 5)
SETTINGS = project().model


def columns_of(batches: Iterable[Scores], id_name: str = "transaction_id") -> dict[str, np.ndarray]:
    columns = [batch.columns(id_name) for batch in batches]
    return {name: np.concatenate([each[name] for each in columns]) for name in columns[0]}


def scores(dataset: Dataset) -> np.ndarray:
    return columns_of(prequential(dataset, [FIRST], PLAN, SETTINGS))["score"]


def test_every_payment_of_the_test_days_is_scored_once_in_each_fold() -> None:
    dataset = history(4000)
    start_dates = [FIRST, FIRST + dt.timedelta(days=7)]
    columns = columns_of(prequential(dataset, start_dates, PLAN, SETTINGS), "TRANSACTION_ID")
    first = START + (FIRST - dt.date(2026, 1, 1)).days * DAY
    for number, start in enumerate(start_dates):
        test = dataset.slice(first + (14 + 7 * number) * DAY, first + (21 + 7 * number) * DAY)
        mine = columns["fold"] == start.isoformat()
        assert columns["TRANSACTION_ID"][mine].tolist() == [
            int(transaction_id) for transaction_id in test.transaction_id
        ]
    assert ((columns["score"] > 0) & (columns["score"] < 1)).all()
    assert len(columns["score"]) == len(columns["fold"])


def test_nothing_after_the_train_days_and_no_later_label_is_learned_from() -> None:
    dataset = history(4000)
    until = START + ((FIRST - dt.date(2026, 1, 1)).days + 7) * DAY
    later = dataset.event_time >= until
    changed = spoilt_after(dataset, until + 7 * DAY)
    spoilt_labels = np.where(later, 1 - dataset.label, changed.label).astype(np.int8)
    spoilt = replace(dataset, label=spoilt_labels)
    one, other = (scores(data) for data in (dataset, spoilt))
    assert np.array_equal(one, other)


def test_what_was_known_in_the_train_days_is_learned_from() -> None:
    dataset = history(4000)
    until = START + ((FIRST - dt.date(2026, 1, 1)).days + 7) * DAY
    spoilt = spoilt_after(dataset, until + 5 * DAY)
    untouched = spoilt_after(dataset, until + 7 * DAY)
    one, other = (scores(data) for data in (spoilt, untouched))
    assert not np.array_equal(one, other)


def test_ids_that_are_no_plain_numbers_stay_text() -> None:
    dataset = history(4000)
    dataset.transaction_id[:] = [f"0{transaction_id}" for transaction_id in dataset.transaction_id]
    columns = columns_of(prequential(dataset, [FIRST], PLAN, SETTINGS))
    assert all(isinstance(transaction_id, str) for transaction_id in columns["transaction_id"])


def test_a_plan_without_history_before_the_train_days_is_refused() -> None:
    with pytest.raises(ConfigError, match="need history_days > train_days"):
        WalkForwardPlan(train_days=7, history_days=7)


def test_models_of_different_seeds_are_averaged_in_log_odds() -> None:
    dataset = history(4000)
    one, three = (learn_fold(dataset, Fold.of(FIRST, PLAN), SETTINGS, seeds) for seeds in (1, 3))
    rows = dataset.features[:300]
    each = np.stack([scorer.margins(rows) for scorer in three.scorers]).astype(float)
    assert np.array_equal(each[0], one.scorers[0].margins(rows))
    assert (each.min(axis=0) < each.max(axis=0)).any()
    assert three.score(rows) == pytest.approx(1 / (1 + np.exp(-each.mean(axis=0))))


def test_a_fold_without_a_model_is_refused() -> None:
    with pytest.raises(ConfigError, match="days and seeds must be positive"):
        WalkForwardPlan(seeds=0)


def test_a_start_outside_history_is_refused() -> None:
    with pytest.raises(ConfigError, match="fold 2030-01-01: 0 payments to learn from and 0 to score"):
        list(prequential(history(500), [dt.date(2030, 1, 1)], PLAN, SETTINGS))


def test_a_fraud_that_was_not_labelled_by_then_is_learned_as_legitimate() -> None:
    dataset = with_late_labels(history(4000))
    test_from = START + ((FIRST - dt.date(2026, 1, 1)).days + 14) * DAY
    silent = replace(dataset, label=np.where(dataset.known_at > test_from, 0, dataset.label).astype(np.int8))
    assert (silent.label != dataset.label).sum() > 20
    one, other = (scores(data) for data in (dataset, silent))
    assert np.array_equal(one, other)
