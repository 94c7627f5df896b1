from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from fraud_detection.adapters.files.tables import read_columns, write_columns
from fraud_detection.core.errors import ConfigError
from fraud_detection.core.project_schema import Split
from fraud_detection.evaluation.time_split import UNKNOWN, boundaries
from fraud_detection.training.tables.dataset import COLUMNS, METADATA_KEY, PREFIX, read_dataset, write_dataset
from tests.unit.training.history import DAY, START, corrected, history

if TYPE_CHECKING:
    from pathlib import Path


def test_what_was_written_is_read(tmp_path: Path) -> None:
    dataset = history(500)
    write_dataset(tmp_path / "f.parquet", dataset)
    again = read_dataset(tmp_path / "f.parquet")
    assert again.info == dataset.info
    for column in COLUMNS:
        assert np.array_equal(getattr(again, column), getattr(dataset, column)), column
    assert np.array_equal(again.features, dataset.features, equal_nan=True)
    assert again.features.dtype == np.float32


def test_a_slice_takes_its_start_and_leaves_its_end() -> None:
    dataset = history(500)
    start, end = int(dataset.event_time[100]), int(dataset.event_time[200])
    part = dataset.slice(start, end)
    assert part.event_time[0] == start
    assert part.event_time[-1] < end
    assert len(part) == 100
    assert np.array_equal(part.features, dataset.features[100:200], equal_nan=True)


def test_a_label_is_not_there_before_it_was_known_and_never_guessed() -> None:
    dataset = history(3000)
    as_of = START + 30 * DAY
    known = dataset.labelled(as_of)
    assert (known.known_at <= as_of).all()
    assert set(known.label.tolist()) == {0, 1}
    is_known = (dataset.known_at <= as_of) & (dataset.label != UNKNOWN)
    assert known.transaction_id.tolist() == dataset.transaction_id[is_known].tolist()


def test_a_fraud_reported_late_counts_as_good_until_then() -> None:
    dataset = history(3000)
    late = replace(dataset, known_at=np.where(dataset.label == 1, START + 60 * DAY, dataset.known_at))
    assert not late.labelled(START + 59 * DAY).label.any()
    assert late.labelled(START + 60 * DAY).label.any()


def test_a_label_is_current_until_the_moment_it_was_superseded(tmp_path: Path) -> None:
    dataset = corrected(history(3000), after=10 * DAY)
    write_dataset(tmp_path / "f.parquet", dataset)
    dataset = read_dataset(tmp_path / "f.parquet")
    back = dataset.corrections != ""
    assert back.sum() > 20
    for row in np.flatnonzero(back):
        at = int(dataset.known_at[row])
        labels = [dataset.labels(moment)[row] for moment in (at, at + 10 * DAY - 1, at + 10 * DAY)]
        assert labels == [1, 1, 0]
    end = int(dataset.known_at.max()) + 11 * DAY
    assert dataset.labelled(end).label.sum() == (dataset.label == 1).sum() - back.sum()


def test_a_table_without_its_description_or_a_column_is_refused(tmp_path: Path) -> None:
    write_dataset(tmp_path / "f.parquet", history(100))
    columns, metadata = read_columns(tmp_path / "f.parquet")
    write_columns(tmp_path / "bare.parquet", columns, {})
    with pytest.raises(ConfigError, match="is no feature table"):
        read_dataset(tmp_path / "bare.parquet")
    write_columns(tmp_path / "other.parquet", columns, {METADATA_KEY: '{"fingerprint": 1}'})
    with pytest.raises(ConfigError, match="is no feature table"):
        read_dataset(tmp_path / "other.parquet")
    del columns[PREFIX + "noise"], columns["label"]
    write_columns(tmp_path / "short.parquet", columns, metadata)
    with pytest.raises(ConfigError, match=r"no column label, feature\.noise"):
        read_dataset(tmp_path / "short.parquet")


@pytest.mark.parametrize("day", ["2020-01-01", "2099-01-01"])
def test_a_test_slice_outside_the_history_is_refused_by_its_name(day: str) -> None:
    times = np.arange(100) * DAY + START
    with pytest.raises(ConfigError, match=r"`split.test_from` is .* with mature labels go from"):
        boundaries(times, Split(test_from=dt.date.fromisoformat(day)), 7 * DAY)
