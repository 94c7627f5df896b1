"""What can be set, typed or used is documented, or the build fails."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import get_args

import msgspec
import pytest

import fraud_detection
from fraud_detection.cli.main import COMMANDS
from fraud_detection.core import decision_settings, project_schema
from fraud_detection.core.decoding import Duration, Settings
from fraud_detection.core.features.names import window_feature
from fraud_detection.core.project_schema import Statistic
from fraud_detection.project.checks import open_project
from tests.command_line import commands
from tests.root import ROOT

FIGURES = 5
SETTINGS = [
    kind
    for kind in (vars(project_schema) | vars(decision_settings)).values()
    if isinstance(kind, type) and issubclass(kind, Settings) and kind is not Settings
]


@pytest.mark.parametrize("kind", SETTINGS, ids=lambda kind: kind.__name__)
def test_every_key_of_the_project_file_is_in_its_reference(kind: type[msgspec.Struct]) -> None:
    text = (ROOT / "docs/params.md").read_text()
    missing = [f.encode_name for f in msgspec.structs.fields(kind) if f"`{f.encode_name}`" not in text]
    assert not missing


def test_every_statistic_is_in_the_reference_with_the_name_of_its_feature() -> None:
    text = (ROOT / "docs/params.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| `(card_\w+_1d)` \|", text, re.MULTILINE)
    window = Duration.parse("1d")
    assert rows == [
        (statistic, window_feature("card", statistic, window).name) for statistic in get_args(Statistic)
    ]


def commands_of(title: str) -> list[tuple[list[str], str]]:
    """Return the commands of each line of a group's table, and what the line says of them."""
    section = (ROOT / "docs/commands.md").read_text().split(f"\n## {title}\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (`fraud .+?`) \| (.+?) \|", section, re.MULTILINE)
    return [(re.findall(r"`fraud (.+?)`", names), first_line) for names, first_line in rows]


@pytest.mark.parametrize("title", COMMANDS)
def test_every_command_is_in_its_reference_as_the_help_has_it(title: str) -> None:
    every = [name for name, _ in commands()]
    own = [
        ({command_line for command_line in every if command_line.split()[0] == name}, first_line)
        for name, (_, first_line) in COMMANDS[title].items()
    ]
    assert [(set(names), first_line) for names, first_line in commands_of(title)] == own


def test_the_reference_of_the_python_api_is_what_is_public() -> None:
    page = (ROOT / "docs/reference/python-api.md").read_text()
    named = re.findall(r"^::: fraud_detection\.(\w+)$", page, re.MULTILINE)
    assert sorted(named) == sorted(fraud_detection.__all__)


def test_every_figure_of_the_readme_stands_on_the_page_that_it_names() -> None:
    section = (ROOT / "README.md").read_text().split("\n## Measured\n")[1].split("\n## ")[0]
    rows = [line.split(" | ") for line in section.splitlines() if line.startswith("| ")][1:]
    assert len(rows) == FIGURES
    for _, measured, by in rows:
        page = re.findall(r"\]\(docs/([\w-]+\.md)", by)[0]
        text = (ROOT / "docs" / page).read_text()
        figures = re.findall(r"\.?\d(?:[\d,.]*\d)?", measured)
        assert figures
        assert [figure for figure in figures if figure not in text] == []


@pytest.mark.parametrize("page", sorted(ROOT.glob("*.md")) + sorted((ROOT / "docs").rglob("*.md")), ids=str)
def test_every_link_leads_somewhere(page: Path) -> None:
    # A diff of a guide has lines of another page, where they are tested as soon as it is applied.
    text = re.sub(r"^```diff\n.*?^```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    links = re.findall(r"\]\(([^)#:]+?)(?:#[^)]*)?\)", text)
    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("path", sorted((ROOT / "examples").rglob("params.yaml")), ids=str)
def test_every_project_file_among_the_examples_can_be_worked_with(path: Path) -> None:
    assert open_project(path).model.rounds > 0


def test_no_file_of_the_project_is_a_link_to_another() -> None:
    listed = subprocess.run(["git", "ls-files", "-s"], cwd=ROOT, capture_output=True, text=True, check=True)  # noqa: S607
    assert [line for line in listed.stdout.splitlines() if line.startswith("120000")] == []
