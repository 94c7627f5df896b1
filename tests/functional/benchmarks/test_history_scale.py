"""The benchmark of larger histories runs in small, and its figures have a place on the page."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.history_scale import __main__ as history_scale
from benchmarks.history_scale.messy_history import messy_history
from benchmarks.suite import page
from tests.root import ROOT


def test_every_marker_stands_on_the_page_once() -> None:
    text = (ROOT / page.PAGE).read_text(encoding="utf-8")
    for markers in (page.BENCH, page.SOAK, history_scale.MARKERS):
        assert [text.count(marker) for marker in markers] == [1, 1]


@pytest.mark.long
def test_a_messy_history_makes_the_table_that_one_process_would_serve(tmp_path: Path) -> None:
    point = history_scale.measure(
        messy_history(60_000, tmp_path), ["--engine", "local", "--jobs", "2"], reference=True
    )
    assert point.alone is not None
    assert point.rows > 60_000
    assert point.compared > 60_000 * 40
    assert point.different == 0
    assert min(point.partitioned.cpu_s, point.partitioned.peak_mb, point.partitioned.scratch_mb) > 0
    assert len(list(history_scale.lines([point]))) == 3
    assert "100,000,000" in "\n".join(history_scale.extrapolated(point))
