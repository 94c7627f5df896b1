"""A table on disk, in one file or in many, is read as the same payments in memory are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraud_detection.core.errors import ConfigError
from fraud_detection.training.tables.dataset import COLUMNS, Dataset, write_dataset
from fraud_detection.training.tables.feature_table import FeatureTable
from fraud_detection.training.tables.labelled_rows import LabelledRows, gathered
from tests.unit.training.history import DAY, START, corrected, history, with_late_labels

ROWS = 900
DATASET = replace(
    corrected(with_late_labels(history(ROWS, days=30)), after=3 * DAY),
    weight=np.random.default_rng(1).choice([1.0, 0.0, 7.5], ROWS),
)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> FeatureTable:
    """Return it in three files, each with some row groups; some payments have one time, across them too."""
    folder = tmp_path_factory.mktemp("table")
    write_dataset(folder / "whole.parquet", DATASET)
    whole = pq.read_table(folder / "whole.parquet")
    (folder / "table").mkdir()
    for number, (start, stop) in enumerate([(0, 300), (300, 301), (301, ROWS)]):
        part = whole.slice(start, stop - start)
        pq.write_table(part, folder / "table" / f"part-{number}.parquet", row_group_size=90)
    return FeatureTable(folder / "table")


days = st.integers(-2, 40).map(lambda day: START + day * DAY)
moments = days | st.sampled_from(DATASET.event_time.tolist()) | st.just(2**62)


@given(start=moments, end=moments)
def test_a_stretch_of_time_is_the_same_rows(table: FeatureTable, start: int, end: int) -> None:
    rows = table.row_range(start, end)
    inside = (DATASET.event_time >= start) & (DATASET.event_time < end)
    assert [*rows] == np.flatnonzero(inside).tolist() == [*DATASET.row_range(start, end)]


@given(start=st.integers(0, ROWS), stop=st.integers(0, ROWS))
def test_rows_have_the_same_columns_and_features(table: FeatureTable, start: int, stop: int) -> None:
    rows = range(start, max(start, stop))
    for name in COLUMNS:
        read = [value for part in table.payments(rows) for value in getattr(part, name).tolist()]
        assert read == getattr(DATASET, name)[start:stop].tolist()
    for columns in (None, [3, 0]):
        expected = DATASET.features[rows.start : rows.stop, slice(None) if columns is None else columns]
        parts = [np.empty((0, expected.shape[1]), np.float32), *table.feature_parts(rows, columns)]
        assert np.array_equal(np.concatenate(parts), expected, equal_nan=True)
        assert all(part.dtype == np.float32 for part in parts)


@given(start=days, length=st.integers(0, 30), as_of=days)
def test_labelled_rows_are_those_of_the_payments_in_memory(
    table: FeatureTable, start: int, length: int, as_of: int
) -> None:
    end = start + length * DAY
    known = DATASET.slice(start, end).labelled(as_of)
    for one in (table, DATASET):
        rows = LabelledRows.of(one, one.row_range(start, end), as_of)
        _check_same(rows, known)
        _check_same(rows.with_weight(), known.take(known.weight > 0))
        for part, mask in zip(rows.split(500), (np.less, np.greater_equal), strict=True):
            _check_same(part, known.take(mask(known.event_time, DATASET.event_time[500])))


def _check_same(rows: LabelledRows, known: Dataset) -> None:
    assert len(rows) == len(known)
    assert rows.label.tolist() == known.label.tolist()
    assert rows.weight.tolist() == known.weight.tolist()
    parts = [np.empty((0, known.features.shape[1]), np.float32), *rows.feature_parts()]
    assert np.array_equal(np.concatenate(parts), known.features, equal_nan=True)
    assert np.array_equal(rows.features([2, 1]), known.features[:, [2, 1]], equal_nan=True)
    numbers = rows.rows_of(np.arange(len(rows)))
    assert DATASET.transaction_id[numbers].tolist() == known.transaction_id.tolist()


@given(st.sets(st.integers(0, ROWS - 1)))
def test_a_few_rows_are_gathered_by_their_numbers(table: FeatureTable, numbers: set[int]) -> None:
    wanted = np.array(sorted(numbers), np.int64)
    assert np.array_equal(gathered(table, wanted), DATASET.features[wanted], equal_nan=True)


def test_equal_weights_take_no_memory(table: FeatureTable) -> None:
    alike = replace(DATASET, weight=np.ones(ROWS))
    assert LabelledRows.of(alike, range(ROWS), 2**62).weight.strides == (0,)
    assert LabelledRows.of(table, range(ROWS), 2**62).weight.strides == (8,)


def test_payments_that_are_not_in_order_of_time_are_refused(tmp_path: Path) -> None:
    order = np.arange(ROWS)
    order[[100, 700]] = order[[700, 100]]
    write_dataset(tmp_path / "f.parquet", DATASET.take(order))
    table = FeatureTable(tmp_path / "f.parquet")
    with pytest.raises(ConfigError, match="not in order of time"):
        table.row_range(START + 10 * DAY, START + 20 * DAY)
    with pytest.raises(ConfigError, match="not in order of time"):
        list(table.payments(range(ROWS)))
