"""What the README and the pages show is true: every block of code is run, decoded or parsed as it stands."""

from __future__ import annotations

import json
import os
import re
import shlex
import sqlite3
import sys
from pathlib import Path

import pytest
import yaml

from fraud_detection.adapters.sqlite.tables import TABLES
from fraud_detection.core.decision_settings import RuleSettings
from fraud_detection.core.decoding import decode
from fraud_detection.core.project_schema import Project
from fraud_detection.project.change_set import Change
from tests.command_line import parsed
from tests.docs.blocks import BLOCKS, PAGES, Block, indented
from tests.docs.clone import environment, fresh_clone
from tests.docs.samples import write_own_data
from tests.docs.shell import on_a_free_port, run_block, run_lines
from tests.root import ROOT

INFERRED = ("schema.", "ignored ", "split.")
"""How a line of `fraud init` begins that says what it inferred."""
LANGUAGES = {"bash", "cron", "json", "python", "sql", "text", "yaml"}
NOT_RUN: dict[str, str] = yaml.safe_load((ROOT / "tests/docs/not_run.yaml").read_text(encoding="utf-8"))
"""Page and first line of a block that needs Docker, a network or an account -> why."""


def name_of(block: Block) -> str:
    return f"{block.page}: {block.text.splitlines()[0]}"


def of(language: str, *pages: str) -> list[Block]:
    blocks = [block for block in BLOCKS if block.language == language]
    return [block for block in blocks if not pages or block.page in pages]


def named(block: Block) -> str:
    return f"{block.page}:{block.line}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_block_is_fenced_and_describes_itself(page: Path) -> None:
    assert indented(page) == []
    own = [block for block in BLOCKS if block.page == str(page.relative_to(ROOT))]
    assert {block.language for block in own} <= LANGUAGES


def test_few_blocks_are_not_run_and_each_reports_why() -> None:
    assert len(NOT_RUN) <= 10
    assert set(NOT_RUN) <= {name_of(block) for block in BLOCKS}
    assert all(len(reason) > 20 for reason in NOT_RUN.values())


def fraud_calls(text: str) -> list[list[str]]:
    lines = text.replace("\\\n", " ").splitlines()
    commands = [shlex.split(line, comments=True) for line in lines]
    calls = []
    for line in commands:
        for start in [at for at, word in enumerate(line) if word == "fraud" and at + 1 < len(line)]:
            ends = [at for at, word in enumerate(line) if at > start and re.fullmatch(r"[|&<>;]+", word)]
            calls.append(line[start + 1 : min(ends, default=len(line))])
    return calls


@pytest.mark.parametrize("block", [*of("bash"), *of("cron")], ids=named)
def test_every_call_of_fraud_is_one_that_it_takes(block: Block) -> None:
    for arguments in fraud_calls(block.text):
        parsed(arguments)


@pytest.mark.parametrize("block", of("cron"), ids=named)
def test_every_line_of_a_crontab_has_its_five_times(block: Block) -> None:
    for line in block.text.splitlines():
        assert re.fullmatch(r"(?:[\d*/,-]+ +){5}fraud .+", line)


@pytest.mark.parametrize("block", of("json"), ids=named)
def test_all_json_can_be_read(block: Block) -> None:
    decoder, rest = json.JSONDecoder(), block.text.strip()
    while rest:
        _, end = decoder.raw_decode(rest)
        rest = rest[end:].strip()


@pytest.mark.parametrize("block", [block for block in of("yaml") if block.page != "docs/rules.md"], ids=named)
def test_all_yaml_is_what_the_project_reads(block: Block) -> None:
    """Those of docs/rules.md are compiled against its own schema, by the tests of the rules."""
    content = yaml.safe_load(block.text)
    if isinstance(content, list):
        decode(content, tuple[RuleSettings, ...], block.page)
    elif "name" in content:
        decode(content, Change, block.page)
    else:
        project = {"project": "page", "schema": {"event_time": {"field": "time"}}}
        decode(project | content, Project, block.page)


@pytest.mark.parametrize("block", of("sql"), ids=named)
def test_all_sql_can_be_parsed(block: Block) -> None:
    """Queries are of the tables of a state file, or of an offline store, whose names are quoted."""
    tables = set(re.findall(r'(?:FROM|JOIN) ("[^"]+")', block.text))
    with sqlite3.connect(":memory:") as db:
        db.executescript(TABLES)
        for table in tables:
            db.execute(f"CREATE TABLE {table} (entity_id, version, profile)")
        db.execute(block.text)


@pytest.mark.timeout(300)
def test_the_quick_start_of_the_readme_works_in_a_fresh_clone(tmp_path: Path) -> None:
    clone = fresh_clone(tmp_path)
    write_own_data(clone)
    small = "--seconds=2 --cards=100 --days=75 --rate=100 --plain"
    arguments = {"make demo": small, "make test": "tests/unit/ci/test_metrics_table.py"}
    output, activated = "", dict[str, str]()
    for block in of("bash", "README.md"):
        variables = environment(clone, ARGS=arguments.get(block.text.strip(), ""), JOBS="0") | activated
        output += run_block(on_a_free_port(block), clone, variables)
        if "source .venv/bin/activate" in block.text:
            activated = {"PATH": f"{clone / '.venv' / 'bin'}:{variables['PATH']}"}
    assert len((clone / "decisions.jsonl").read_text().splitlines()) == 200
    with sqlite3.connect(clone / "build" / "state.db") as db:
        assert db.execute("SELECT count(*) FROM decisions").fetchone() == (201,)
    assert [line for line in printed_lines() if without_figures(line) not in without_figures(output)] == []
    (shown,) = (json.loads(block.text) for block in of("json", "README.md"))
    answer, _ = json.JSONDecoder().raw_decode(output[output.index('{"type":"decision"') :])
    assert answer.keys() == shown.keys()
    assert answer["action"] == shown["action"]
    assert [reason["code"] for reason in answer["reasons"]] == [reason["code"] for reason in shown["reasons"]]


def printed_lines() -> list[str]:
    """Return what the README says is printed, line by line, but for what is inferred of one file."""
    lines = [line.strip() for block in of("text", "README.md") for line in block.text.splitlines()]
    return [line for line in lines if line and not line.startswith(INFERRED)]


def without_figures(text: str) -> str:
    """Return a text in which a mark stands for each figure, and for the dash of one that does not exist."""
    return re.sub(r"(?<![\w`])(?:[-\d][\d.,:]*\d|\d|-(?!\S))", "#", text)


@pytest.mark.shared
def test_what_the_readme_shows_of_the_handbook_is_what_init_infers(tmp_path: Path) -> None:
    data = ROOT.parent / "shared/data/handbook.parquet"
    if not data.exists():
        pytest.skip(f"needs ../shared/data/{data.name}")
    (tmp_path / data.name).symlink_to(data)
    output = run_lines(
        [f"{sys.executable} -m fraud_detection.cli init --data {data.name}"], tmp_path, dict(os.environ)
    )
    lines = [line for block in of("text", "README.md") for line in block.text.splitlines()]
    inferred = [line for line in lines if line.startswith(INFERRED)]
    assert len(inferred) > 3
    assert [line for line in inferred if line not in output.splitlines()] == []
