"""What the pages and forms for contributors name exists; the hooks refuse what `make check` refuses."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.root import ROOT

GITHUB = ROOT / ".github"
FORMS = sorted(set((GITHUB / "ISSUE_TEMPLATE").glob("*.yml")) - {GITHUB / "ISSUE_TEMPLATE/config.yml"})
PAGES = [ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", GITHUB / "pull_request_template.md"]
TEXTS = [*PAGES, *sorted((GITHUB / "ISSUE_TEMPLATE").glob("*.yml"))]
HOOKS = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
TABLE = (ROOT / "CONTRIBUTING.md").read_text().partition("## Kinds of tests")[2].partition("\n## ")[0]
IN_TEXT = re.compile(
    r"\b((?:\.github|src|tests|benchmarks|tools|docs|requirements|examples|\.ci)/[\w./-]*\w)"
)

each_text = pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.name)


@each_text
def test_every_target_of_make_exists(path: Path) -> None:
    targets = set(re.findall(r"^([\w-]+):(?!=)", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"(?:`|^)make ([\w-]+)", path.read_text(), re.MULTILINE)) <= targets


@each_text
def test_every_file_and_folder_exists(path: Path) -> None:
    assert [name for name in IN_TEXT.findall(path.read_text()) if not (ROOT / name).exists()] == []


@each_text
def test_every_command_is_one_of_the_reference(path: Path) -> None:
    named = re.compile(r"`fraud ([a-z][a-z-]+)")
    reference = set(named.findall((ROOT / "docs/commands.md").read_text()))
    assert set(named.findall(path.read_text())) <= reference


def test_the_table_has_each_kind_of_test_once() -> None:
    first = re.findall(r"^\| (\w+) \|", TABLE, re.MULTILINE)[1:]
    folders = {
        path.name for path in (ROOT / "tests").iterdir() if path.is_dir() and list(path.rglob("test_*.py"))
    }
    markers = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]["markers"]
    named = {marker.partition(":")[0] for marker in markers} - {"slow"}
    assert sorted(first) == sorted(folders | named | {"hypothesis"})


def test_each_way_to_run_one_names_tests() -> None:
    for name in re.findall(r"ARGS=([\w/.]+)", TABLE):
        path = ROOT / name
        assert list(path.rglob("test_*.py")) if path.is_dir() else path.name.startswith("test_"), name


def test_each_owner_names_files_that_are_there() -> None:
    lines = [line.split() for line in (GITHUB / "CODEOWNERS").read_text().splitlines() if line[:1] in "/*"]
    patterns = [fields[0] for fields in lines if fields]
    assert patterns[0] == "*"
    assert [pattern for pattern in patterns[1:] if not (ROOT / pattern.strip("/")).exists()] == []


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
def test_each_form_has_a_place_for_every_answer_and_warns_of_what_is_public(path: Path) -> None:
    body: list[dict[str, Any]] = yaml.safe_load(path.read_text())["body"]
    fields = [field for field in body if field["type"] != "markdown"]
    assert len({field["id"] for field in fields}) == len(fields)
    assert any(field.get("validations", {}).get("required") for field in fields)
    if "`fraud --version`" in path.read_text():
        assert "An issue is public" in body[0]["attributes"]["value"]


def test_hooks_need_no_other_repository() -> None:
    assert [repo["repo"] for repo in HOOKS] == ["local"]
    assert {hook["language"] for hook in HOOKS[0]["hooks"]} == {"system"}


def test_hooks_refuse_a_file_that_make_check_would_refuse(tmp_path: Path) -> None:
    programs = Path(sys.executable).parent
    (tmp_path / ".venv").symlink_to(programs.parent)
    for name in (".pre-commit-config.yaml", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "good.py").write_text('"""A module."""\n')
    (tmp_path / "bad.py").write_text('"""A module."""\nimport os\nx = {  }\n')
    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)  # noqa: S607

    def passes(hook: str, file: str) -> bool:
        return not subprocess.run(  # noqa: S603 - our own hooks
            [programs / "pre-commit", "run", hook, "--files", file],
            cwd=tmp_path,
            env={**os.environ, "PRE_COMMIT_HOME": str(tmp_path / "home")},
            stdout=subprocess.DEVNULL,
            check=False,
        ).returncode

    assert [passes(hook, file) for hook in ("ruff", "ruff-format") for file in ("good.py", "bad.py")] == [
        True,
        False,
    ] * 2
