"""The guides for contributors are true: each is a diff of today's sources, and it does what it says."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.docs.blocks import GUIDES, Block, blocks_of, indented
from tests.docs.clone import environment, fresh_clone
from tests.docs.shell import run_block
from tests.root import ROOT

LANGUAGES = {"diff", "bash", "text"}

each_guide = pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: guide.stem)


def of(guide: Path, language: str) -> list[Block]:
    return [block for block in blocks_of(guide) if block.language == language]


def files_of(block: Block) -> list[str]:
    """Return the files that a diff changes or makes."""
    return re.findall(r"^\+\+\+ b/(\S+)$", block.text, re.MULTILINE)


def of_tests(block: Block) -> bool:
    return all(name.startswith("tests/") for name in files_of(block))


def apply(blocks: Sequence[Block], folder: Path) -> None:
    for block in blocks:
        done = subprocess.run(
            ["git", "apply", "--whitespace=error", "-"],  # noqa: S607
            cwd=folder,
            input=block.text,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, (
            f"the diff at {block.page}:{block.line} does not fit: `python -m tools.refit_guides`\n"
            f"{done.stderr}"
        )


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    return fresh_clone(tmp_path, compiled=False)


def run(block: Block, folder: Path) -> str:
    return run_block(block, folder, environment(folder, FRAUD_PURE="1", JOBS="0"))


@each_guide
def test_every_block_is_a_diff_a_command_or_text(guide: Path) -> None:
    assert indented(guide) == []
    assert {block.language for block in blocks_of(guide)} <= LANGUAGES


@each_guide
def test_the_diff_applies_block_by_block(guide: Path, tmp_path: Path) -> None:
    diffs = of(guide, "diff")
    names = [name for block in diffs for name in files_of(block)]
    assert len(names) == len(set(names)), "each file stands in one block"
    for name in (name for name in names if (ROOT / name).exists()):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    apply(diffs, tmp_path)


@each_guide
def test_the_text_names_what_the_diff_changes_and_files_that_exist(guide: Path) -> None:
    text = re.sub(r"```.*?```", "", guide.read_text(encoding="utf-8"), flags=re.DOTALL)
    changed = [name for block in of(guide, "diff") for name in files_of(block)]
    cells = re.findall(r"^\| \d \| ([^|]+) \|", text, re.MULTILINE)
    assert re.findall(r"`([^`]+)`", " ".join(cells)) == [
        name.removeprefix("src/fraud_detection/") for name in changed
    ]


@each_guide
def test_the_entry_of_the_changelog_is_one_line(guide: Path) -> None:
    (entry,) = of(guide, "text")
    assert re.fullmatch(r"- .*\.\n", entry.text)


@each_guide
def test_the_new_tests_pass_with_the_rest_of_the_diff_and_fail_without(guide: Path, clone: Path) -> None:
    first, *rest = of(guide, "diff")
    assert of_tests(first)
    assert not any(of_tests(block) for block in rest)
    shown = of(guide, "bash")[0]
    command = Block(shown.page, shown.line, "bash", shown.text.splitlines()[0])
    apply([first], clone)
    with pytest.raises(AssertionError, match=r"ended with 2") as failed:
        run(command, clone)
    assert re.search(r"^=+ .*\b(failed|error)", str(failed.value), re.MULTILINE)
    apply(rest, clone)
    run(command, clone)


@pytest.mark.long
@each_guide
def test_every_command_works_with_the_diff(guide: Path, clone: Path) -> None:
    apply(of(guide, "diff"), clone)
    for block in of(guide, "bash"):
        run(block, clone)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_all_guides_together_pass_every_check_of_the_sources(clone: Path) -> None:
    for guide in GUIDES:
        apply(of(guide, "diff"), clone)
    programs = ROOT / ".venv/bin"
    lines = [
        f"{programs}/ruff check .",
        f"{programs}/ruff format --check .",
        f"MYPYPATH=src {programs}/mypy --cache-dir=mypy-cache",
        ".venv/bin/lint-imports",
        ".venv/bin/pytest tests/docs/test_packages.py tests/docs/test_reference.py tests/docs/test_words.py",
        ".venv/bin/pytest tests/unit/benchmarks/test_module_map.py tests/functional/cli/test_command_line.py",
    ]
    run(Block("all guides", 0, "bash", "\n".join(lines)), clone)
