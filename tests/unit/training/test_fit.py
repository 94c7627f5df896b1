"""Training and early stopping see the labels that were known when the next slice began, and no later ones."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fraud_detection.core.errors import ConfigError
from fraud_detection.evaluation.time_split import UNKNOWN
from fraud_detection.training.fit import Slices
from fraud_detection.training.tables.dataset import Dataset
from tests.unit.training.history import history, with_late_labels


def expected(dataset: Dataset, start: int, end: int, as_of: int) -> dict[str, int]:
    """Recount by hand: a fraud that nobody had told by then passes for legitimate."""
    found = {}
    for transaction_id, time, label, known_at in zip(
        dataset.transaction_id, dataset.event_time, dataset.label, dataset.known_at, strict=True
    ):
        if start <= time < end and label != UNKNOWN:
            found[transaction_id] = int(label) if known_at <= as_of else 0
    return found


def test_no_slice_holds_a_label_from_after_the_next_one_began() -> None:
    dataset = with_late_labels(history())
    cut = dataset.info.boundaries
    slices = Slices.of(dataset)
    for rows, start, end, as_of in (
        (slices.train, cut.train_from, cut.train_until, cut.validation_from),
        (slices.validation, cut.validation_from, cut.validation_until, cut.test_from),
    ):
        numbers = rows.rows_of(np.arange(len(rows)))
        held = dict(zip(dataset.transaction_id[numbers], rows.label.tolist(), strict=True))
        assert held == expected(dataset, start, end, as_of)
        at_the_end = dataset.label[numbers]
        assert (at_the_end != rows.label).sum() > 5


def test_labels_that_are_all_fraud_are_refused_since_nothing_shows_what_is_legitimate() -> None:
    dataset = with_late_labels(history())
    frauds = int((dataset.label == 1).sum())
    all_fraud = replace(dataset, label=np.where(dataset.label == 1, 1, UNKNOWN).astype(np.int8))
    with pytest.raises(ConfigError, match=f"all {frauds:,} labels say fraud.*`schema.label.delay`"):
        Slices.of(all_fraud)
