"""The test file that docs/testing.md shows passes as it stands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.conftest import SmallSimulation
from tests.docs.blocks import BLOCKS
from tests.root import ROOT


def test_the_tests_of_the_page_pass(
    small_simulation: SmallSimulation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (block,) = [block for block in BLOCKS if block.page == "docs/testing.md"]
    (tmp_path / "build").mkdir()
    (tmp_path / "build" / "bundle").symlink_to(small_simulation.bundle)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    page: dict[str, Any] = {}
    exec(compile(block.text, block.page, "exec"), page)  # noqa: S102 - our own documentation
    tests = [block for name, block in page.items() if name.startswith("test_")]
    assert len(tests) == 2
    for test in tests:
        test()
