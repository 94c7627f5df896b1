"""The table of figures that a training run shows."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.root import ROOT

SCRIPT = ROOT / ".ci/metrics_table.py"


def printed(*files: Path) -> str:
    command = [sys.executable, str(SCRIPT), *map(str, files)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout  # noqa: S603 - our own


def test_the_committed_figures_have_a_row_each() -> None:
    metrics = ROOT / "evaluation/metrics.json"
    assert len(printed(metrics).splitlines()) == len(json.loads(metrics.read_text())) + 2


def test_only_what_changed_is_bold_and_has_a_difference(tmp_path: Path) -> None:
    now, base = tmp_path / "now.json", tmp_path / "base.json"
    now.write_text('{"money_saved": 24346.5, "days": 13, "new": 1}')
    base.write_text('{"money_saved": 24000, "days": 13, "old": 0.5}')
    assert printed(now, base).splitlines()[2:] == [
        "| money saved | **24,346.5** | 24,000 | +346.5 |",
        "| days | 13 | 13 | |",
        "| new | **1** | - | |",
        "| old | - | 0.5 | |",
    ]


def test_its_example_is_true() -> None:
    subprocess.run([sys.executable, "-m", "doctest", str(SCRIPT)], check=True)  # noqa: S603 - our own
