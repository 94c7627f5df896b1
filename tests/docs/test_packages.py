"""The house keeps its shape: no folder is crowded, and each package says what it is and where to begin."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.root import ROOT

PACKAGE = ROOT / "src" / "fraud_detection"
MAX_MODULES = 20
MAX_LINES = 300
LONGER = {"src/fraud_detection/core/features/windows.py": 301}
"""Modules that may be longer, and how long."""
FOLDERS = sorted(
    {path.parent for top in (PACKAGE, ROOT / "benchmarks", ROOT / "tools") for path in top.rglob("*.py")}
)
PACKAGES = sorted(path.parent for path in PACKAGE.rglob("__init__.py"))


def name_of(folder: Path) -> str:
    return str(folder.relative_to(ROOT))


def docstring(folder: Path) -> str:
    return ast.get_docstring(ast.parse((folder / "__init__.py").read_text())) or ""


@pytest.mark.parametrize("folder", FOLDERS, ids=name_of)
def test_no_folder_has_more_modules_than_a_reader_takes_in(folder: Path) -> None:
    assert len(list(folder.glob("*.py"))) <= MAX_MODULES


def test_no_module_is_longer_than_a_reader_takes_in() -> None:
    lengths = {name_of(path): len(path.read_text().splitlines()) for path in PACKAGE.rglob("*.py")}
    assert {name: lines for name, lines in lengths.items() if lines > LONGER.get(name, MAX_LINES)} == {}


@pytest.mark.parametrize("folder", PACKAGES, ids=name_of)
def test_each_package_describes_itself_and_what_it_is_not_and_where_to_begin(folder: Path) -> None:
    text = docstring(folder)
    if folder.parent.name == "cli":
        assert text.startswith("Commands"), "a folder of commands names them"
        return
    assert folder == PACKAGE or re.search(r"Not\s+here:", text)
    begin = re.search(r"Begin(?:\s+reading)?\s+at", text)
    assert begin, "name the file where a reader begins"
    assert re.search(r"\.py`|the system that you look for", text[begin.start() :])


@pytest.mark.parametrize("folder", PACKAGES, ids=name_of)
def test_each_module_that_the_text_of_a_package_names_exists(folder: Path) -> None:
    for name in re.findall(r"`([a-z_/]+(?:\.py|/[a-z_]+))`", docstring(folder)):
        wanted = [start / f"{name}{end}" for start in (folder, PACKAGE) for end in ("", ".py")]
        assert any(path.exists() for path in wanted), name
