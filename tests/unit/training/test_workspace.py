"""Where a model is fitted depends on the rows and the limit; what comes out does not."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from fraud_detection.adapters.host.scratch import PREFIX
from fraud_detection.core.errors import ConfigError
from fraud_detection.training import reference
from fraud_detection.training import workspace as sizes
from fraud_detection.training.fit import Slices, learn, refit
from fraud_detection.training.make_bundle import make_bundle, make_refitted
from fraud_detection.training.tables.dataset import write_dataset
from fraud_detection.training.tables.feature_table import FeatureTable
from fraud_detection.training.workspace import Workspace, page_rows
from tests.unit.training.history import FEATURES, history, project

GB = 10**9


@pytest.fixture
def tight(monkeypatch: pytest.MonkeyPatch) -> int:
    """Let pages have few rows; return a limit that leaves no room for a small history."""
    monkeypatch.setattr(sizes, "MIN_PAGE_ROWS", 100)
    features = len(FEATURES)
    return sizes.BASE_BYTES + features * sizes.FEATURE_BYTES + 450_000


def test_few_rows_are_fitted_in_memory_and_nothing_is_said(tmp_path: Path) -> None:
    said: list[str] = []
    with Workspace.next_to(tmp_path / "bundle", 4 * GB, said.append).cache(1_000_000, 57) as cache:
        assert cache is None
    assert said == []
    assert list(tmp_path.iterdir()) == []


def test_many_rows_get_pages_on_disk_which_go_at_the_end(tmp_path: Path) -> None:
    said: list[str] = []
    with Workspace.next_to(tmp_path / "bundle", GB, said.append).cache(2_000_000, 57) as cache:
        assert cache is not None
        assert [cache.folder] == list(tmp_path.iterdir())
        assert cache.page_rows < 2_000_000
    (sentence,) = said
    assert sentence.startswith(
        "2,000,000 rows of 57 features may take 2.6 GB in memory, and the limit is 1.0 GB: "
    )
    assert sentence.endswith(f"pages of {cache.page_rows:,} rows are kept in {cache.folder} meanwhile")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("limit", [2 * GB, 16 * GB])
@pytest.mark.parametrize("rows", [10**6, 10**7])
def test_a_page_fits_with_what_each_row_takes(rows: int, limit: int) -> None:
    size = page_rows(rows, 57, limit)
    assert sizes.MIN_PAGE_ROWS <= size <= rows
    base = sizes.BASE_BYTES + 57 * sizes.FEATURE_BYTES
    assert base + rows * sizes.ROW_BYTES + size * 57 * sizes.BUILT_VALUE_BYTES <= limit


def test_a_limit_that_is_too_low_is_refused_with_one_that_is_not(tmp_path: Path) -> None:
    refused = r"100,000,000 rows of 57 features need at least 7\.0 GB of memory, and the limit is 2\.0 GB"
    with pytest.raises(ConfigError, match=refused), Workspace(tmp_path, 2 * GB).cache(100_000_000, 57):
        pass
    assert page_rows(100_000_000, 57, 7 * GB) >= sizes.MIN_PAGE_ROWS


def test_a_disk_without_room_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    with (
        pytest.raises(ConfigError, match=r"the disk has .* left; give more memory with --memory"),
        Workspace(tmp_path / "cache", 10**14).cache(10**12, 57),
    ):
        pass
    assert list((tmp_path / "cache").iterdir()) == []


def test_without_a_limit_half_of_the_memory_that_is_available_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sizes, "available_memory", lambda: 2 * GB)
    with Workspace(tmp_path / "cache").cache(400_000, 57) as cache:
        assert cache is None
    with Workspace(tmp_path / "cache").cache(600_000, 57) as cache:
        assert cache is not None


def test_what_a_killed_process_left_next_to_the_output_goes_at_the_next_start(tmp_path: Path) -> None:
    left = tmp_path / f"{PREFIX}killed"
    left.mkdir()
    for name in ("lock", "train-0x7f.gradient_index.page"):
        (left / name).write_text("x")
    Workspace.next_to(tmp_path / "bundle")
    assert list(tmp_path.iterdir()) == []


def test_a_fit_that_fails_leaves_nothing_behind(tmp_path: Path, tight: int) -> None:
    dataset = history()
    slices = Slices.of(dataset)

    def stop(share: float) -> None:
        if share > 0.5:
            assert len(list(tmp_path.glob(f"{PREFIX}*/*.page"))) == 2
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        learn(slices, project().model, stop, Workspace.next_to(tmp_path / "bundle", tight))
    assert list(tmp_path.iterdir()) == []


def test_a_bundle_has_the_same_bytes_from_memory_and_from_disk(tmp_path: Path, tight: int) -> None:
    dataset, requested, said = history(), project(), list[str]()
    write_dataset(tmp_path / "f.parquet", dataset)
    workspace = Workspace.next_to(tmp_path / "bundle", tight, said.append)
    made = []
    for table, where in ((dataset, None), (FeatureTable(tmp_path / "f.parquet"), workspace)):
        slices = Slices.of(table)
        learned = learn(slices, requested.model, workspace=where)
        bundle = make_bundle(requested, slices, learned)
        refitted = make_refitted(bundle, slices, refit(table, learned, requested.model, workspace=where))
        made.append((bundle.files(), refitted.files()))
    assert made[0] == made[1]
    assert len(said) == 2


def wide(payments: int, path: Path) -> FeatureTable:
    """Return a table of sixty features, of which few rows are read at a time."""
    narrow = history(payments)
    names = [
        msgspec.structs.replace(one, name=f"{one.name}_{copy}") for copy in range(10) for one in FEATURES
    ]
    info = msgspec.structs.replace(narrow.info, features=names)
    write_dataset(path, replace(narrow, features=np.tile(narrow.features, 10), info=info))
    return FeatureTable(path, batch_rows=500)


def most_allocated(table: FeatureTable, workspace: Workspace | None) -> int:
    """Return how many bytes of arrays and objects a training, its bundle and its refit have at most."""
    settings = project(model={"rounds": 3, "threads": 1})
    tracemalloc.start()
    try:
        slices = Slices.of(table)
        learned = learn(slices, settings.model, workspace=workspace)
        bundle = make_bundle(settings, slices, learned)
        make_refitted(bundle, slices, refit(table, learned, settings.model, workspace=workspace))
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_payment_more_takes_few_bytes_and_not_its_features(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reference, "VALUES_AT_ONCE", 1)
    few, many = (wide(rows, tmp_path / f"{rows}.parquet") for rows in (4_000, 12_000))
    on_disk = Workspace(tmp_path / "cache", page_rows=500)
    most_allocated(few, on_disk)  # what is made once
    a_payment = [
        (most_allocated(many, where) - most_allocated(few, where)) / (len(many) - len(few))
        for where in (on_disk, None)
    ]
    features = len(few.info.features) * 4
    assert a_payment[0] < features / 4
    assert a_payment[1] > features / 2
