"""The commands as a person types them: real processes, real files."""

from __future__ import annotations

import contextlib
import csv
import datetime as dt
import io
import json
import random
import sqlite3
import subprocess
import sys
from contextlib import closing, redirect_stderr, redirect_stdout
from importlib.resources import files
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from fraud_detection.cli.main import main
from tests.conftest import SmallSimulation
from tests.states import made

PAYMENTS = 2_000


def fraud(*arguments: object, folder: Path, stdin: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
    """Run a command: in a process of its own where it reads standard input, else here."""
    argv = [*map(str, arguments)]
    if stdin is not None:
        command = [sys.executable, "-m", "fraud_detection.cli", *argv]
        return subprocess.run(  # noqa: S603 - our own command
            command, cwd=folder, input=stdin, capture_output=True, check=False, timeout=280
        )
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
    with contextlib.chdir(folder), redirect_stdout(out), redirect_stderr(err):
        code = main(argv)
    outputs = [stream.buffer.getvalue() for stream in (out, err)]
    return subprocess.CompletedProcess(argv, code, *outputs)


def stderr_of(result: subprocess.CompletedProcess[bytes]) -> str:
    return result.stderr.decode()


@pytest.fixture(scope="module")
def latest(small_simulation: SmallSimulation, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the latest 2,000 payments of the history."""
    path, table = (
        tmp_path_factory.mktemp("latest") / "history.parquet",
        pq.read_table(small_simulation.history),
    )
    pq.write_table(table.slice(table.num_rows - 2_000), path)
    return path


@pytest.fixture(scope="module")
def payments_csv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file as somebody might bring: other names, text in numbers, holes, yes and no."""
    chance, path = random.Random(1), tmp_path_factory.mktemp("own") / "payments.csv"
    start = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["ref", "when", "client", "shop", "value", "kind", "age", "fraudulent"])
        for number in range(PAYMENTS):
            bad = chance.random() < 0.05
            when = start + dt.timedelta(minutes=45 * number + chance.random())
            value = chance.gauss(180, 30) if bad else chance.gauss(60, 30)
            age = chance.choice(["n/a", "", "34", "51", "70"])
            row = [f"r{number}", when.isoformat(), f"c{chance.randrange(200)}", f"s{chance.randrange(40)}"]
            kind = chance.choice(["card", "transfer"])
            writer.writerow([*row, f"{abs(value):.2f}", kind, age, "yes" if bad else "no"])
    return path


@pytest.mark.usefixtures("no_pictures")
def test_from_nothing_but_a_file_to_decisions(payments_csv: Path, tmp_path: Path) -> None:
    init = fraud("init", "--data", payments_csv, "--yes", folder=tmp_path)
    assert init.returncode == 0, stderr_of(init)
    train = fraud("train", "--no-tracking", "--json", "train.json", folder=tmp_path)
    assert train.returncode == 0, stderr_of(train)
    assert json.loads((tmp_path / "train.json").read_bytes())["average_precision"] > 0.3
    score = fraud("score", payments_csv, "--json", "score.json", folder=tmp_path)
    assert score.returncode == 0, stderr_of(score)
    lines = [json.loads(line) for line in score.stdout.splitlines()]
    assert [line["transaction_id"] for line in lines] == [f"r{number}" for number in range(PAYMENTS)]
    figures = json.loads((tmp_path / "score.json").read_bytes())
    assert figures["transactions"] == figures["decided"] + figures["quarantined"] == PAYMENTS
    assert figures["approve"] + figures["review"] + figures["decline"] == figures["decided"]
    assert all(line["reasons"] for line in lines if line["action"] != "approve")


def test_a_project_file_is_not_replaced_without_being_asked(payments_csv: Path, tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text("mine")
    again = fraud("init", "--data", payments_csv, "--yes", folder=tmp_path)
    assert (again.returncode, (tmp_path / "params.yaml").read_text()) == (2, "mine")
    assert "--force" in stderr_of(again)


def test_the_same_events_by_file_and_by_pipe_get_the_same_decisions(
    small_simulation: SmallSimulation, tmp_path: Path
) -> None:
    events = b"\n".join(
        small_simulation.events(500, late_share=0, duplicate_share=0, malformed_share=0, labels="none")
    )
    (tmp_path / "events.jsonl").write_bytes(events)
    by_file = fraud("score", "events.jsonl", "--bundle", small_simulation.bundle, folder=tmp_path)
    by_pipe = fraud("score", "-", "--bundle", small_simulation.bundle, folder=tmp_path, stdin=events)
    assert by_file.returncode == by_pipe.returncode == 0, stderr_of(by_pipe)
    assert by_file.stdout == by_pipe.stdout
    assert by_file.stdout.count(b'"action"') == 500


def test_a_file_of_another_kind_on_standard_input_is_refused(
    small_simulation: SmallSimulation, payments_csv: Path, tmp_path: Path
) -> None:
    command = ("score", "-", "--bundle", small_simulation.bundle)
    result = fraud(*command, folder=tmp_path, stdin=payments_csv.read_bytes())
    assert (result.returncode, result.stdout) == (2, b"")
    assert "must be JSON Lines, but begins with b'ref,when" in stderr_of(result)


def test_history_makes_the_features_of_the_next_file_warm(
    small_simulation: SmallSimulation, latest: Path, tmp_path: Path
) -> None:
    events = b"\n".join(
        small_simulation.events(300, late_share=0, duplicate_share=0, malformed_share=0, labels="none")
    )
    (tmp_path / "events.jsonl").write_bytes(events)
    common = ("events.jsonl", "--bundle", small_simulation.bundle)
    cold = fraud("score", *common, folder=tmp_path)
    with_history = fraud("score", *common, "--history", latest, folder=tmp_path)
    assert with_history.returncode == 0, stderr_of(with_history)
    assert cold.stdout != with_history.stdout


def test_rules_that_were_changed_after_training_are_reported(
    small_simulation: SmallSimulation, tmp_path: Path
) -> None:
    (tmp_path / "events.jsonl").write_bytes(
        small_simulation.events(1, labels="none", duplicate_share=0, malformed_share=0)[0]
    )
    own = files("fraud_detection").joinpath("simulated.yaml").read_text()
    command = ("score", "events.jsonl", "--bundle", small_simulation.bundle)
    for text, expected in ((own, False), (own.replace("card_testing", "testing_of_cards"), True)):
        (tmp_path / "params.yaml").write_text(text)
        assert ("other rules" in stderr_of(fraud(*command, folder=tmp_path))) is expected
        assert "other rules" not in stderr_of(fraud(*command, "--config", "params.yaml", folder=tmp_path))


def test_payments_and_labels_that_come_twice_are_counted_apart(
    small_simulation: SmallSimulation, tmp_path: Path
) -> None:
    rows = small_simulation.events(60, late_share=0, duplicate_share=0, malformed_share=0, labels="none")
    label = b'{"type": "label", "transaction_id": "%s", "is_fraud": 1, "label_known_at": "2026-06-01"}'
    news = [label % json.loads(row)["transaction_id"].encode() for row in rows[:7]]
    (tmp_path / "events.jsonl").write_bytes(b"\n".join([*rows, *rows[:20], *news, *news]) + b"\n")
    result = fraud("score", "events.jsonl", "--bundle", small_simulation.bundle, folder=tmp_path)
    assert "60 decided + 0 quarantined (and 20 duplicates, 7 labels, 7 duplicate labels)" in stderr_of(result)


def test_run_stores_everything_in_its_state_file_and_schema_report_shows_the_drift(
    small_simulation: SmallSimulation, tmp_path: Path
) -> None:
    events = small_simulation.events(1_000, drift=("retype:amount=string@0.5", "add:loyalty_tier=gold"))
    made(tmp_path / "s.db")
    result = fraud(
        "run", "--source", "-", "--bundle", small_simulation.bundle, "--state", "s.db", "--json", "run.json",
        folder=tmp_path, stdin=b"\n".join(events),
    )  # fmt: skip
    assert result.returncode == 0, stderr_of(result)
    figures = json.loads((tmp_path / "run.json").read_bytes())
    assert figures["transactions"] == figures["decided"] + figures["quarantined"]
    assert min(figures["seconds"], figures["transactions_per_s"], figures["p50_ms"], figures["p99_ms"]) > 0
    report = fraud("schema-report", "--state", "s.db", "--json", "drift.json", folder=tmp_path)
    assert report.returncode == 0, stderr_of(report)
    drifts = json.loads((tmp_path / "drift.json").read_bytes())["drifts"]
    rows = {(row["kind"], row["field"]): row for row in drifts}
    assert 0.3 < rows["repaired", "amount"]["share"] < 0.7
    assert rows["unknown_field", "loyalty_tier"]["count"] > 900
    assert b"loyalty_tier" in report.stdout


def run_file(folder: Path, simulation: SmallSimulation, *more: object) -> tuple[dict[str, int], str]:
    made(folder / "build/state.db")
    command = ("run", "--source", "events.jsonl", "--bundle", simulation.bundle, "--json", "run.json", *more)
    result = fraud(*command, folder=folder)
    assert result.returncode == 0, stderr_of(result)
    return json.loads((folder / "run.json").read_bytes()), stderr_of(result)


def test_run_reads_on_leaves_a_half_written_line_and_notices_another_file(
    small_simulation: SmallSimulation, tmp_path: Path
) -> None:
    lines = small_simulation.events(120, late_share=0, duplicate_share=0, malformed_share=0, labels="none")
    source = tmp_path / "events.jsonl"
    source.write_bytes(b"\n".join(lines[:50]) + b"\n" + lines[50][:40])
    figures, output = run_file(tmp_path, small_simulation)
    assert (figures["decided"], figures["quarantined"]) == (50, 0)
    assert "has no end yet" in output
    source.write_bytes(b"\n".join(lines[:60]) + b"\n")
    figures, output = run_file(tmp_path, small_simulation)
    assert (figures["decided"], figures["duplicates"], figures["quarantined"]) == (10, 0, 0)
    source.write_bytes(b"\n".join(lines[60:]) + b"\n")
    figures, output = run_file(tmp_path, small_simulation)
    assert (figures["decided"], figures["duplicates"]) == (60, 0)
    assert "not the file that was read before" in output


def test_scoring_rows_that_are_in_the_history_too_is_as_if_they_were_not(
    small_simulation: SmallSimulation, latest: Path, tmp_path: Path
) -> None:
    table = pq.read_table(latest)
    pq.write_table(table.slice(0, table.num_rows - 200), tmp_path / "history.parquet")
    pq.write_table(table.slice(table.num_rows - 200), tmp_path / "new.parquet")
    common = ("score", "new.parquet", "--bundle", small_simulation.bundle, "--history")
    apart = fraud(*common, "history.parquet", folder=tmp_path)
    both = fraud(*common, latest, folder=tmp_path)
    assert apart.returncode == both.returncode == 0, stderr_of(both)
    assert apart.stdout == both.stdout
    assert apart.stdout.count(b'"action"') == 200


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("train",), "params.yaml: no such file"),
        (("train", "--config", "broken.yaml"), "did you mean `event_time`?"),
        (("score", "own.jsonl"), "bundle"),
        (("score", "nothing.csv"), "fraud score: nothing.csv: no such file"),
        (("score", "own.jsonl", "--history", "gone.csv"), "fraud score: --history gone.csv: no such file"),
        (("score", "payments.xlsx", "--bundle", "{bundle}"), ".xlsx"),
        (("run", "--source", "gone.jsonl", "--bundle", "{bundle}"), "no such file"),
        (("schema-report",), "no such state file"),
        (("generate", "stream", "--to", "carrier://x"), "--to carrier://x"),
        (("generate", "stream", "--to", "x", "--drift", "nonsense"), "nonsense"),
        (("prequential", "--start-dates", "soon", "--config", "good.yaml"), "--start-dates"),
        (("parity", "--events", "0"), "--events"),
        (("init", "--dat"), "see `fraud init --help`"),
        (
            ("train", "--config", "good.yaml", "--bundle", "x", "--nonsense"),
            "no such option '--nonsense'",
        ),
        (("train", "--config", "payments.xlsx"), "payments.xlsx: expected named keys"),
        (("train", "--config", "good.yaml", "--json", "/proc/figures.json"), "cannot be written"),
        (("score", "own.jsonl", "--bundle", "{bundle}", "--out", "own.jsonl"), "same file as FILE"),
        (("score", "own.jsonl", "--bundle", "{bundle}", "--json", "./own.jsonl"), "same file as FILE"),
        (
            ("features", "--config", "good.yaml", "--data", "own.jsonl", "--out", "good.yaml"),
            "same file as --config",
        ),
        (
            ("run", "--source", "own.jsonl", "--bundle", "{bundle}", "--out", "own.jsonl"),
            "same file as --source",
        ),
        (("score", "own.jsonl", "--bundle", "{bundle}", "--out", "a", "--json", "a"), "same file as --out"),
        (
            ("score", "own.jsonl", "--bundle", "{bundle}", "--out", "decided"),
            "1 of 1 events (100.0%) were quarantined",
        ),
        (("init", "--data", "gone.csv"), "gone.csv: no such file"),
        (("init", "--data", "."), ".: is a folder"),
        (("init", "--data", "-"), "-: standard input cannot be read here"),
        (("init", "--data", "gone.csv", "--out", ".", "--force"), "--out .: is a folder; name a file in it"),
        (
            ("init", "--data", "gone.csv", "--out", "good.yaml/x.yaml"),
            "--out good.yaml/x.yaml: cannot be written",
        ),
        (("init", "--data", "gone.csv", "--label", "x", "--no-label"), "--label and --no-label"),
        (("init", "--data", "gone.csv", "--entity", "a=b", "--entity", "a=c"), "--entity a: is given twice"),
    ],
)
def test_a_refusal_is_one_sentence_and_exit_code_2(
    small_simulation: SmallSimulation,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken.yaml").write_text("project: x\nschema: {event_tme: {field: t}}\n")
    (tmp_path / "good.yaml").write_text("project: x\nschema: {event_time: {field: t}}\n")
    (tmp_path / "payments.xlsx").write_text("x")
    (tmp_path / "own.jsonl").write_text('{"mine": 1}\n')
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    filled = [str(argument).replace("{bundle}", str(small_simulation.bundle)) for argument in arguments]
    assert main(filled) == 2
    sentence = "".join(
        line for line in capsys.readouterr().err.splitlines(keepends=True) if line.startswith("fraud")
    )
    assert all(path.read_bytes() == content for path, content in before.items())
    assert message in sentence
    assert len(sentence.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "refusal"),
    [
        (("score", "nothing.csv", "--bundle", "{bundle}"), "fraud score: nothing.csv: no such file\n"),
        (("shadow", "--state", "{state}"), "fraud shadow: build/registry: no release yet"),
        (("compare", "--state", "{state}"), "fraud compare: build/registry: no release yet"),
    ],
)
def test_inputs_are_checked_before_anything_is_said(
    small_simulation: SmallSimulation, tmp_path: Path, arguments: tuple[str, ...], refusal: str
) -> None:
    named = {"{bundle}": small_simulation.bundle, "{state}": made(tmp_path / "state.db")}
    result = fraud(*(named.get(argument, argument) for argument in arguments), folder=tmp_path)
    assert result.returncode == 2
    assert stderr_of(result).startswith(refusal)


def test_parity_holds_on_a_short_stream(tmp_path: Path) -> None:
    result = fraud("parity", "--events", "2500", "--json", "parity.json", folder=tmp_path)
    assert result.returncode == 0, stderr_of(result)
    report = json.loads((tmp_path / "parity.json").read_bytes())
    assert report["events"] == 2_500
    assert report["restarts"] >= 3
    assert report["values_compared"] > 100_000
    assert report["values_different"] == 0


def test_training_on_a_file_without_labels_reports_it(payments_csv: Path, tmp_path: Path) -> None:
    assert fraud("init", "--data", payments_csv, "--yes", folder=tmp_path).returncode == 0
    rows = [line.rsplit(",", 1)[0] for line in payments_csv.read_text().splitlines()]
    (tmp_path / "new.csv").write_text("\n".join(rows))
    refused = fraud("train", "--data", "new.csv", "--no-tracking", folder=tmp_path)
    assert refused.returncode == 2
    assert "no payment has a label" in stderr_of(refused)
    assert "in the field `fraudulent`" in stderr_of(refused)


@pytest.mark.parametrize("bad", [0, 2, 40, 160])
def test_the_reason_is_reported_where_more_than_a_few_events_are_quarantined(
    small_simulation: SmallSimulation, tmp_path: Path, bad: int
) -> None:
    events = small_simulation.events(200, late_share=0, duplicate_share=0, malformed_share=0, labels="none")
    events[:bad] = [json.dumps(json.loads(event) | {"amount": "3,50"}).encode() for event in events[:bad]]
    (tmp_path / "events.jsonl").write_bytes(b"\n".join(events) + b"\n")
    scored = fraud("score", "events.jsonl", "--bundle", small_simulation.bundle, folder=tmp_path)
    made(tmp_path / "s.db")
    decided = fraud(
        "run", "--source=events.jsonl", "--bundle", small_simulation.bundle, "--state=s.db", folder=tmp_path
    )
    assert (scored.returncode, decided.returncode) == (2 if bad > 100 else 0, 0)
    for output in (stderr_of(scored), stderr_of(decided)):
        assert (f"{bad} of them for `$.amount` (expected a number, got '3,50')" in output) is (bad > 2)


def test_what_mlflow_cannot_use_is_said_before_the_work(payments_csv: Path, tmp_path: Path) -> None:
    assert fraud("init", "--data", payments_csv, "--yes", folder=tmp_path).returncode == 0
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as db:
        # What MLflow leaves behind where it is killed while it makes its tables.
        db.execute("CREATE TABLE assessments (a)")
    # By itself, since MLflow's libraries warn.
    refused = fraud("train", "--data", payments_csv, folder=tmp_path, stdin=b"")
    assert refused.returncode == 2
    assert "is no database that MLflow can use" in stderr_of(refused)
    assert not (tmp_path / "build" / "features.parquet").exists()
