"""The page of versions has the numbers that the code writes, and other numbers are refused as it says."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from fraud_detection.adapters.sqlite import shadow_log, tables
from fraud_detection.adapters.sqlite.state_file import StateFile
from fraud_detection.cli.main import main
from fraud_detection.core import decision_record
from fraud_detection.core.decoding import decode
from fraud_detection.core.errors import ConfigError
from fraud_detection.core.project_schema import Project
from fraud_detection.core.score import bundle
from fraud_detection.serving.http.openapi import openapi
from tests.root import ROOT
from tests.states import made

PROJECT = decode({"project": "page", "schema": {"event_time": {"field": "time"}}}, Project, "test")
PATHS = openapi(PROJECT, "0", with_keys=False)["paths"]
WRITTEN = {
    "state file": str(tables.FORMAT),
    "shadow file (`state.db.shadows`)": str(shadow_log.FORMAT),
    "bundle": str(bundle.FORMAT),
    "decision record": str(decision_record.SCHEMA_VERSION),
    "HTTP API": "+".join({path.split("/")[1] for path in PATHS if path.count("/") > 1}),
}


def of_another_format(path: Path, number: int) -> bytes:
    with closing(sqlite3.connect(path)) as db:
        db.execute(f"PRAGMA user_version = {number}")
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return path.read_bytes()


def test_the_page_has_the_numbers_that_are_written() -> None:
    page = (ROOT / "docs/versions.md").read_text(encoding="utf-8")
    table = page.partition("## The formats")[2].partition("\n## ")[0]
    assert dict(re.findall(r"^\| (.+?) \| (v?\d+) \|", table, re.MULTILINE)) == WRITTEN


@pytest.mark.parametrize("number", [1, tables.FORMAT + 1])
def test_a_state_file_of_another_format_stays_as_it_is_and_its_refusal_names_the_command(
    tmp_path: Path, number: int, capsys: pytest.CaptureFixture[str]
) -> None:
    state = made(tmp_path / "state.db")
    before = of_another_format(state, number)
    with pytest.raises(ConfigError, match="`fraud state create FILE --history PAYMENTS`"):
        StateFile(state)
    assert main(["audit", "verify", "--state", str(state)]) == 2
    assert "`fraud state create FILE --history PAYMENTS`" in capsys.readouterr().err
    assert state.read_bytes() == before


def test_a_shadow_file_of_another_format_is_refused_with_the_command_that_makes_a_new_one(
    tmp_path: Path,
) -> None:
    path = tmp_path / "state.db.shadows"
    shadow_log.ShadowLog(path).close()
    of_another_format(path, shadow_log.FORMAT + 1)
    with pytest.raises(ConfigError, match="move it away, and `fraud shadow` makes a new one"):
        shadow_log.ShadowLog(path)
    path.unlink()
    shadow_log.ShadowLog(path).close()
