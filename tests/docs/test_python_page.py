"""The page on the Python API and the notebook run from the first line to the last, on a file of payments."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.conftest import SmallSimulation
from tests.docs.blocks import BLOCKS
from tests.root import ROOT

NOTEBOOK = ROOT / "examples/notebooks/from-a-file-to-money-saved.ipynb"
PAGE = [block.text for block in BLOCKS if block.page == "docs/python.md" and block.language == "python"]
CELLS = [
    "".join(cell["source"])
    for cell in json.loads(NOTEBOOK.read_text())["cells"]
    if cell["cell_type"] == "code"
]


@pytest.mark.filterwarnings("ignore:Series.values returning")  # pyarrow's use of pandas
@pytest.mark.usefixtures("no_pictures")
@pytest.mark.parametrize("parts", [PAGE, CELLS], ids=["page", "notebook"])
def test_every_part_runs_after_the_one_before(
    parts: list[str], small_simulation: SmallSimulation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pandas")
    shutil.copy(small_simulation.history, tmp_path / "payments.parquet")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    assert len(parts) >= 3
    for part in parts:
        exec(compile(part, "<page>", "exec"), names)  # noqa: S102 - what stands in our own page
    assert (tmp_path / "build/bundle/manifest.json").exists()


def test_the_notebook_keeps_no_output_of_another_version() -> None:
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    assert all(not cell["outputs"] for cell in cells if cell["cell_type"] == "code")
