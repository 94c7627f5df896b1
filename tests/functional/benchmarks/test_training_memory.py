"""What measures the memory of trainings: large tables of a small one, and a process for each training."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import msgspec
import numpy as np
import pytest

from benchmarks.training_memory.__main__ import count, measured
from benchmarks.training_memory.tables import enlarged
from benchmarks.training_memory.trained import Run
from fraud_detection.training.tables.dataset import COLUMNS, Dataset, write_dataset
from fraud_detection.training.tables.feature_table import FeatureTable
from tests.unit.training.history import history

PROJECT = str(files("fraud_detection") / "simulated.yaml")


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return history(8_000)


def test_a_training_on_disk_is_that_in_memory(dataset: Dataset, tmp_path: Path) -> None:
    write_dataset(tmp_path / "small.parquet", dataset)
    run = Run("prequential", PROJECT, str(tmp_path / "small.parquet"), str(tmp_path), 3, memory=10**12)
    in_memory, on_disk = measured(run), measured(msgspec.structs.replace(run, page_rows=1_000))
    assert (in_memory.on_disk, on_disk.on_disk) == (False, True)
    assert in_memory.models == on_disk.models
    assert 50 < in_memory.peak_mb < 2_000


def test_a_table_is_enlarged_in_order_of_time(dataset: Dataset, tmp_path: Path) -> None:
    write_dataset(tmp_path / "small.parquet", dataset)
    table = FeatureTable(enlarged(tmp_path / "small.parquet", tmp_path / "large.parquet", 20_000))
    assert len(table) == 20_000
    assert table.info == dataset.info
    (payments,) = table.payments(range(20_000))
    copies = np.bincount([int(name.partition("-")[0]) for name in payments.transaction_id])
    assert copies.min() == 2
    assert copies.max() == 3
    for name in set(COLUMNS) - {"transaction_id", "card"}:
        assert np.array_equal(getattr(payments, name), np.repeat(getattr(dataset, name), copies)), name


def test_rows_are_counted_in_thousands_and_millions() -> None:
    assert [count(text) for text in ("300", "300K", "1.5M")] == [300, 300_000, 1_500_000]
