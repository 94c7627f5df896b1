"""The page of each reader works from its first block to its last, in one folder, in the order of the page."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml

from tests.docs.blocks import BLOCKS, READER_PAGES, Block
from tests.docs.clone import environment, fresh_clone
from tests.docs.samples import write_own_data, write_page_files
from tests.docs.shell import on_a_free_port, run_block, run_lines

MADE = (
    "build/registry",
    "anchors.jsonl",
    *(f"build/state.db{suffix}" for suffix in ("", "-shm", "-wal", ".marker")),
)
"""What the page for platform engineers makes, and the page for analysts finds."""


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fresh_clone(tmp_path_factory.mktemp("reader"))


@pytest.fixture(scope="module")
def path(clone: Path) -> dict[str, str]:
    variables = environment(clone, JOBS="0")
    return variables | {"PATH": f"{clone / '.venv' / 'bin'}:{variables['PATH']}"}


@pytest.fixture(scope="module")
def served(clone: Path, path: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder in which a service has decided payments."""
    folder = tmp_path_factory.mktemp("served") / "fraud"
    shutil.copytree(clone, folder, symlinks=True)
    write_page_files(folder, lambda *lines: run_lines(lines, folder, path))
    return folder


def blocks(page: str, *languages: str) -> list[Block]:
    return [block for block in BLOCKS if block.page == page and block.language in languages]


def change_sets(page: str) -> list[tuple[Block, str]]:
    """Return the blocks of YAML that are a change set, and their file names."""
    parsed = [(block, yaml.safe_load(block.text)) for block in blocks(page, "yaml")]
    return [(block, f"{content['name']}.yaml") for block, content in parsed if "name" in content]


@pytest.mark.parametrize("page", READER_PAGES)
def test_a_file_that_the_page_shows_is_named_before_it_and_used_after_it(page: str) -> None:
    text = (Path(__file__).parents[2] / page).read_text(encoding="utf-8")
    for block, name in change_sets(page):
        before, _, after = text.partition(block.text)
        assert f"`{name}`" in before
        assert any(name in block.text for block in blocks(page, "bash") if block.text in after)


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("page", READER_PAGES)
def test_every_block_runs_after_the_one_before(
    request: pytest.FixtureRequest, page: str, clone: Path, path: dict[str, str], tmp_path: Path
) -> None:
    folder = tmp_path / "fraud"
    own = page == "docs/ml-engineer.md"
    shutil.copytree(clone if own else request.getfixturevalue("served"), folder, symlinks=True)
    if own:
        write_own_data(folder)
    if page == "docs/platform-engineer.md":
        shutil.rmtree(folder / MADE[0])
        for name in MADE[1:]:
            (folder / name).unlink(missing_ok=True)
    for block, name in change_sets(page):
        (folder / name).write_text(block.text, encoding="utf-8")
    for block in blocks(page, "bash"):
        run_block(on_a_free_port(block), folder, path)
