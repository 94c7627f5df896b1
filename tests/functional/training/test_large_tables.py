"""`fraud train` and `fraud prequential` on a table that is larger than the memory they may take."""

from __future__ import annotations

import datetime as dt
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fraud_detection.adapters.files.tables import read_columns
from fraud_detection.adapters.host.scratch import PREFIX
from fraud_detection.cli.main import main
from fraud_detection.core.decoding import to_plain
from fraud_detection.evaluation.measures import DAY_MS
from fraud_detection.training import workspace as sizes
from fraud_detection.training.tables.feature_table import FeatureTable
from tests.conftest import SmallSimulation

pytestmark = pytest.mark.usefixtures("no_pictures")

SMALL = {"BASE_BYTES": 0, "FEATURE_BYTES": 0, "MIN_PAGE_ROWS": 100}
"""What a process takes without rows and the least page, so small that a small table is a large one."""
MEMORY = "3MB"
IN_DISGUISE = f"""
import sys
from fraud_detection.cli.main import main
from fraud_detection.training import workspace
for name, value in {SMALL!r}.items():
    setattr(workspace, name, value)
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture
def folder(small_simulation: SmallSimulation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with a project file, in which commands are called."""
    (tmp_path / "params.yaml").write_bytes(msgspec.yaml.encode(to_plain(small_simulation.project)))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def in_parts(table: Path, folder: Path) -> str:
    """Write a table as a folder of files; return its path."""
    whole, target = pq.read_table(table), folder / "parts"
    target.mkdir()
    for number, start in enumerate(range(0, whole.num_rows, 4_000)):
        pq.write_table(whole.slice(start, 4_000), target / f"part-{number:03d}.parquet", row_group_size=700)
    return str(target)


def train(features: str | Path, bundle: str, *more: str) -> list[str]:
    return ["train", "--refit", "--no-tracking", "--features", str(features), "--bundle", bundle, *more]


def test_a_bundle_has_the_same_bytes_with_any_memory_from_one_file_or_many(
    small_simulation: SmallSimulation,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(train(small_simulation.features, "one/bundle")) == 0
    assert "pages of" not in capsys.readouterr().err
    for name, value in SMALL.items():
        monkeypatch.setattr(sizes, name, value)
    parts = in_parts(small_simulation.features, folder)
    assert main(train(parts, "other/bundle", "--memory", MEMORY)) == 0
    said = capsys.readouterr().err
    assert said.count(f"rows are kept in other/{PREFIX}") == 2
    assert "and the limit is 0.0 GB" in said
    for name in ("bundle.tar.gz", "evaluation/metrics.json"):
        assert (folder / "one" / name).read_bytes() == (folder / "other" / name).read_bytes()
    assert not list(folder.glob("other/.*"))


def test_a_training_that_was_killed_leaves_pages_and_the_next_removes_them(
    small_simulation: SmallSimulation, folder: Path
) -> None:
    arguments = train(small_simulation.features, "bundle", "--memory", MEMORY)
    with subprocess.Popen([sys.executable, "-c", IN_DISGUISE, *arguments]) as killed:  # noqa: S603 - ours
        deadline = time.monotonic() + 60
        while not list(folder.glob(f"{PREFIX}*/*.page")):
            assert time.monotonic() < deadline
            assert killed.poll() is None
            time.sleep(0.001)
        killed.kill()
    assert list(folder.glob(f"{PREFIX}*/*"))
    assert main(train(small_simulation.features, "bundle")) == 0
    assert not list(folder.glob(".*"))


def test_a_memory_that_is_too_small_is_refused_with_one_that_is_not(
    small_simulation: SmallSimulation, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert folder.is_dir()
    assert main(train(small_simulation.features, "bundle", "--memory", "100MB")) == 2
    assert (
        "of memory, and the limit is 0.1 GB; give more with --memory, or fewer rows"
        in capsys.readouterr().err
    )
    assert main(train(small_simulation.features, "bundle", "--memory", "much")) == 2
    assert "expected a size such as 800MB or 4GB, got 'much'" in capsys.readouterr().err


def test_prequential_reads_a_table_and_scores_as_with_all_in_memory(
    small_simulation: SmallSimulation, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = FeatureTable(small_simulation.features)
    learned_until = table.info.boundaries.train_until
    start = dt.date(1970, 1, 1) + dt.timedelta(days=learned_until // DAY_MS)
    common = ["prequential", "--features", str(small_simulation.features), "--history-days", "30"]
    days = ["--start-dates", start.isoformat(), "--delay-days", "7", "--test-days", "5"]
    assert main([*common, *days, "--out", "one.parquet"]) == 0
    for name, value in SMALL.items():
        monkeypatch.setattr(sizes, name, value)
    assert main([*common, *days, "--out", "other.parquet", "--memory", MEMORY]) == 0
    assert (folder / "one.parquet").read_bytes() == (folder / "other.parquet").read_bytes()
    scores, _ = read_columns(folder / "one.parquet")
    first = (start - dt.date(1970, 1, 1)).days + 14
    rows = table.row_range(first * DAY_MS, (first + 5) * DAY_MS)
    ids = [name for payments in table.payments(rows) for name in payments.transaction_id]
    assert len(ids) > 100
    assert [*scores["transaction_id"]] == ids


def test_a_table_whose_categories_know_too_much_is_refused(
    small_simulation: SmallSimulation, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert folder.is_dir()
    learned_until = FeatureTable(small_simulation.features).info.boundaries.train_until
    early = dt.date(1970, 1, 1) + dt.timedelta(days=learned_until // DAY_MS - 8)
    arguments = ["prequential", "--features", str(small_simulation.features), "--history-days", "20"]
    assert main([*arguments, "--start-dates", early.isoformat()]) == 2
    assert "its categories were learned from payments until" in capsys.readouterr().err


def test_a_table_out_of_order_is_refused(
    small_simulation: SmallSimulation, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = pq.read_table(small_simulation.features)
    turned = table.take(pa.array(range(table.num_rows - 1, -1, -1)))
    pq.write_table(turned, folder / "turned.parquet")
    assert main(train("turned.parquet", "bundle")) == 2
    assert "turned.parquet: its payments are not in order of time" in capsys.readouterr().err
