"""A file is known by its content: renamed, copied, grown or rewritten, each row is decided exactly once."""

from __future__ import annotations

import csv
import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fraud_detection.cli.main import main
from fraud_detection.history.load import read_history
from fraud_detection.project.checks import open_project
from tests.conftest import SmallSimulation
from tests.functional.serving.test_identity import PAID, config
from tests.functional.workers.test_workers import until
from tests.states import made, opened

__all__ = ["config"]


def kinds(short: str, *others: str) -> pytest.MarkDecorator:
    """Run a test for one kind of file, and for the others where time is no matter."""
    return pytest.mark.parametrize(
        "kind", [short, *(pytest.param(other_file, marks=pytest.mark.long) for other_file in others)]
    )


def write(path: Path, amounts: Sequence[float]) -> Path:
    """Write a payment for each amount; equal amounts are equal payments."""
    rows = [PAID | {"amount": float(amount)} for amount in amounts]
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".csv":
        with path.open("w", newline="") as file:
            table = csv.DictWriter(file, list(PAID))
            table.writeheader()
            table.writerows(rows)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


class Runs:
    """`fraud run` over one state, and how many decisions each run adds to it."""

    def __init__(self, simulation: SmallSimulation, config: Path, folder: Path) -> None:
        self.state = folder / "s.db"
        self.arguments = [f"--bundle={simulation.bundle}", f"--config={config}", "--plain"]
        self.figures: dict[str, Any] = {}

    def __call__(self, source: Path) -> int:
        before, figures = len(self.amounts()), self.state.with_name("run.json")
        arguments = [f"--source={source}", f"--state={made(self.state)}", f"--json={figures}"]
        assert main(["run", *arguments, *self.arguments]) == 0
        self.figures = json.loads(figures.read_text())
        assert self.figures["quarantined"] == self.figures["conflicts"] == 0
        return len(self.amounts()) - before

    def amounts(self) -> list[float]:
        """Return the amount of each decided payment."""
        with closing(opened(self.state)) as state_file:
            events = state_file.rows("SELECT event FROM decisions ORDER BY seq")
        return [float(json.loads(event)["amount"]) for (event,) in events]


@kinds("jsonl", "csv", "parquet")
def test_each_row_of_each_file_is_decided_once_whatever_the_file_is_called(
    small_simulation: SmallSimulation,
    config: Path,
    tmp_path: Path,
    kind: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = Runs(small_simulation, config, tmp_path)
    one, other, copy, renamed = (tmp_path / f"{name}.{kind}" for name in ("one", "other", "copy", "renamed"))
    assert run(write(one, [1, 1, 1, 2])) == 4
    assert run(one) == 0
    # Rows that are equal to those at the same offsets of another file are payments of their own.
    assert run(write(other, [1, 1, 1, 3])) == 4
    shutil.copy(one, copy)
    assert (run(copy), run(other), run(one.rename(renamed))) == (0, 0, 0)
    # A copy that goes on is the same source; one that differs in what was read is another.
    assert run(write(copy, [1, 1, 1, 2, 1, 1])) == 2
    assert run(write(tmp_path / f"otherwise.{kind}", [1, 1, 1, 2, 1, 4])) == 6
    # It is as the source was at first sight: all of it was read.
    assert run(renamed) == 0
    capsys.readouterr()
    assert run(write(other, [3, 1, 1, 1, 1])) == 5
    assert "not the file that was read before" in capsys.readouterr().err
    assert run.figures["duplicates"] == 0
    of_each = ([1, 1, 1, 2, 1, 1], [1, 1, 1, 3], [1, 1, 1, 2, 1, 4], [3, 1, 1, 1, 1])
    assert sorted(run.amounts()) == sorted(amount for file in of_each for amount in file)


@kinds("jsonl", "csv")
def test_a_file_that_is_renamed_after_a_kill_is_read_on(
    small_simulation: SmallSimulation, config: Path, tmp_path: Path, kind: str
) -> None:
    run = Runs(small_simulation, config, tmp_path)
    source = write(tmp_path / f"payments.{kind}", [1, 1, 1, 2] * 1_000)
    arguments = [f"--source={source}", f"--state={made(run.state)}", f"--out={tmp_path / 'out.jsonl'}"]
    command = [sys.executable, "-m", "fraud_detection.cli", "run", *arguments, *run.arguments]
    with subprocess.Popen(command) as process:  # noqa: S603 - ours
        until(lambda: (tmp_path / "out.jsonl").exists() and (tmp_path / "out.jsonl").stat().st_size > 0)
        process.send_signal(signal.SIGKILL)
    decided = len(run.amounts())
    assert 0 < decided < 4_000
    assert run(source.rename(tmp_path / f"renamed.{kind}")) == 4_000 - decided
    assert run.figures["duplicates"] == 0
    assert run.amounts() == [1.0, 1.0, 1.0, 2.0] * 1_000


@kinds("csv", "jsonl", "parquet")
def test_the_rows_of_history_are_known_in_a_file_that_has_grown_since(
    small_simulation: SmallSimulation, config: Path, tmp_path: Path, kind: str
) -> None:
    run = Runs(small_simulation, config, tmp_path)
    history_path = write(tmp_path / f"history.{kind}", [1, 1, 2])
    grown = write(tmp_path / f"grown.{kind}", [1, 1, 2, 2, 2])
    main(["state", "create", str(run.state), f"--history={history_path}", *run.arguments])
    assert (run(grown), run.figures["duplicates"]) == (2, 3)
    # What was decided of it is the payment of its row in training too.
    assert len(read_history(open_project(config), grown, lambda *_: None, states=[run.state]).payments) == 5
    out = tmp_path / "scores.jsonl"
    assert main(["score", str(grown), f"--history={history_path}", f"--out={out}", *run.arguments]) == 0
    assert main(["score", str(grown), f"--out={out}.alone", *run.arguments]) == 0
    scores = [
        [json.loads(line)["score"] for line in Path(one).read_text().splitlines()]
        for one in (out, f"{out}.alone")
    ]
    assert scores[0] == scores[1]
