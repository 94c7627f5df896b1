"""Labels are mature by what a file records, not by what its schema computes."""

from __future__ import annotations

import csv
import datetime as dt
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fraud_detection.adapters.files.tables import read_columns, write_columns
from fraud_detection.cli.main import main
from fraud_detection.core.decoding import to_plain
from fraud_detection.training.tables.dataset import METADATA_KEY, read_info
from tests.conftest import SmallSimulation

pytestmark = pytest.mark.usefixtures("no_pictures")

DAY = dt.timedelta(days=1)
DELAY = 14 * DAY
Row = dict[str, Any]


def rows_of(simulation: SmallSimulation) -> list[Row]:
    """Return the payments of every third card, until noon of the last day: all is a matter of time."""
    rows = all_rows_of(simulation)
    cards = set(sorted({row["card_id"] for row in rows})[::3])
    noon = max(row["event_time"] for row in rows).replace(hour=12)
    return [row for row in rows if row["card_id"] in cards and row["event_time"] < noon]


def all_rows_of(simulation: SmallSimulation) -> list[Row]:
    columns, _ = read_columns(simulation.history)
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def exported(rows: list[Row], moment: dt.datetime) -> list[Row]:
    """Return the rows as a bank's system tells them at a moment: a fraud that nobody reported is none yet."""
    return [row | {"is_fraud": row["is_fraud"] * (row["label_known_at"] <= moment)} for row in rows]


class Bench:
    """A file of history and its project file, for the command."""

    def __init__(
        self,
        simulation: SmallSimulation,
        folder: Path,
        rows: list[Row],
        *,
        dates: Callable[[Row], bool] | None,
    ) -> None:
        """Write both; dates: which rows say when their label became known, None where there is no column."""
        self.simulation, self.folder, self.data, self.config = (
            simulation,
            folder,
            folder / "h.csv",
            folder / "p.yaml",
        )
        self.last: dt.datetime = max(row["event_time"] for row in rows)
        names = [name for name in rows[0] if dates is not None or name != "label_known_at"]
        with self.data.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, names, extrasaction="ignore")
            writer.writeheader()
            for row in rows:
                known_at = row["label_known_at"].isoformat() if dates is not None and dates(row) else ""
                writer.writerow(
                    row | {"event_time": row["event_time"].isoformat(), "label_known_at": known_at}
                )
        plain: dict[str, Any] = to_plain(simulation.project)
        if dates is None:
            plain["schema"]["label"]["known_at"] = None
        self.config.write_bytes(msgspec.yaml.encode(plain))
        (folder / "change.yaml").write_text("name: stricter\npolicy: {review_at: 0.05, decline_at: 0.4}\n")

    def run(self, command: str, *more: str) -> Any:  # noqa: ANN401 - JSON
        figures = self.folder / "figures.json"
        options = [f"--config={self.config}", f"--data={self.data}", f"--json={figures}", "--plain"]
        assert main([command, *options, *more]) == 0
        return json.loads(figures.read_bytes())

    def backtest(self, *more: str) -> Any:  # noqa: ANN401 - JSON
        table, change = self.folder / "f.parquet", self.folder / "change.yaml"
        bundle, out = self.simulation.bundle, self.folder / "out"
        options = [f"--change={change}", f"--bundle={bundle}", f"--features={table}", f"--out={out}"]
        return self.run("backtest", *options, "--from=2026-01-05", *more)


def moment_of(report: Mapping[str, Any]) -> dt.datetime:
    return dt.datetime.fromisoformat(report["variants"][0]["comparison"]["as_of"])


def assert_weeks(report: Mapping[str, Any], rows: list[Row], moment: dt.datetime) -> None:
    """Require that weeks with a payment younger than the delay are immature, and not evaluated."""
    comparison = report["variants"][0]["comparison"]
    times = [row["event_time"] for row in rows]
    for week in comparison["weeks"]:
        since, until = (dt.datetime.fromisoformat(week[name]) for name in ("since", "until"))
        is_in = max(time for time in times if since <= time < until) + DELAY <= moment
        assert week["mature"] is is_in, week["name"]
        for arm in (week["baseline"], week["variant"]):
            assert (arm["outcomes"] is not None) is is_in
        assert (week["frauds"] is not None) is is_in
    assert {week["mature"] for week in comparison["weeks"]} == {True, False}
    assert dt.datetime.fromisoformat(comparison["total"]["until"]) + DELAY <= moment


def seconds(moment: dt.datetime) -> dt.datetime:
    return moment.replace(microsecond=0)


def test_a_file_without_dates_of_labels_is_evaluated_as_of_its_last_payment(
    small_simulation: SmallSimulation, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exported the day after the last payment: most frauds of the last weeks were not reported yet."""
    rows = rows_of(small_simulation)
    last = max(row["event_time"] for row in rows)
    bench = Bench(small_simulation, tmp_path, exported(rows, last + DAY), dates=None)
    report = bench.backtest()
    assert moment_of(report) == seconds(last)
    assert_weeks(report, rows, last)
    out = capsys.readouterr().out
    assert f"note: Evaluated as of {seconds(last):%Y-%m-%dT%H:%M:%SZ}, the last payment" in out
    assert "name it with --as-of" in out
    # Somebody who waited, and says so, has all labels.
    later = bench.backtest(f"--as-of={(last + DELAY).isoformat()}")
    assert all(week["mature"] for week in later["variants"][0]["comparison"]["weeks"])
    assert later["notes"] == [note for note in report["notes"] if "Evaluated as of" not in note]


def test_a_file_that_states_when_labels_became_known_is_evaluated_as_of_the_latest(
    small_simulation: SmallSimulation, tmp_path: Path
) -> None:
    rows = rows_of(small_simulation)
    bench = Bench(small_simulation, tmp_path, rows, dates=lambda _: True)
    report = bench.backtest()
    assert moment_of(report) == seconds(max(row["label_known_at"] for row in rows)) > bench.last + DELAY
    assert all(week["mature"] for week in report["variants"][0]["comparison"]["weeks"])
    assert "then the latest label became known that says when it did" in report["notes"][0]


def test_of_a_mixed_file_only_labels_that_carry_when_they_became_known_are_news(
    small_simulation: SmallSimulation, tmp_path: Path
) -> None:
    """Frauds bear the date of their report, the others none: theirs is reckoned, and tells nothing."""
    rows = rows_of(small_simulation)
    last = max(row["event_time"] for row in rows)
    moment = last + 3 * DAY
    dated = exported(rows, moment)
    bench = Bench(small_simulation, tmp_path, dated, dates=lambda row: bool(row["is_fraud"]))
    report = bench.backtest()
    latest = max(row["label_known_at"] for row in dated if row["is_fraud"])
    assert last < latest <= moment
    assert moment_of(report) == seconds(latest)
    assert_weeks(report, rows, latest)


def test_labels_that_stand_apart_carry_when_they_became_known(
    small_simulation: SmallSimulation, tmp_path: Path
) -> None:
    rows = rows_of(small_simulation)
    bench = Bench(small_simulation, tmp_path, rows, dates=None)
    apart, known = tmp_path / "labels.csv", seconds(bench.last + 5 * DAY)
    transaction_id = next(row for row in rows if not row["is_fraud"])["transaction_id"]
    text = "transaction_id,is_fraud,label_known_at\n{},1,{}\n"
    apart.write_text(text.format(transaction_id, known.isoformat()))
    assert moment_of(bench.backtest(f"--labels={apart}")) == known
    # A label of a payment that is not there says nothing of those that are.
    apart.write_text(text.format("nobody", known.isoformat()))
    assert moment_of(bench.backtest(f"--labels={apart}")) == seconds(bench.last)


def test_no_slice_of_training_reaches_into_weeks_whose_labels_are_not_in(
    small_simulation: SmallSimulation, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = rows_of(small_simulation)
    last = max(row["event_time"] for row in rows)
    plain: dict[str, Any] = to_plain(small_simulation.project)
    bench = Bench(small_simulation, tmp_path, exported(rows, last + DAY), dates=None)
    plain["schema"]["label"] |= {"known_at": None, "delay": "5d"}
    bench.config.write_bytes(msgspec.yaml.encode(plain))
    bundle = f"--bundle={tmp_path / 'bundle'}"
    young = sum(row["event_time"] > last - 5 * DAY for row in rows)
    outcomes = bench.run("train", bundle, "--no-tracking")
    assert outcomes["immature_count"] == young > 0
    err = capsys.readouterr().err
    assert f"the labels of {young:,} payments are immature at {seconds(last):%Y-%m-%dT%H:%M:%SZ}" in err
    assert "If the labels are from a later time, name that time with --as-of." in err
    waited = bench.run("train", bundle, "--no-tracking", f"--as-of={(last + 5 * DAY).isoformat()}")
    assert waited["immature_count"] == 0
    assert "are immature at" not in capsys.readouterr().err


def test_a_table_that_was_made_for_a_backtest_is_evaluated_as_far_as_labels_are_in(
    small_simulation: SmallSimulation, tmp_path: Path
) -> None:
    """Too short for slices with mature labels: they reach into immature weeks."""
    rows = rows_of(small_simulation)
    bench = Bench(small_simulation, tmp_path, rows, dates=None)
    bench.backtest()
    table = tmp_path / "f.parquet"
    options = [f"--config={bench.config}", f"--features={table}", "--no-tracking", "--plain"]
    bundle = f"--bundle={tmp_path / 'bundle'}"
    assert main(["train", *options, bundle]) == 0
    assert main(["evaluate", *options, bundle, f"--out={tmp_path / 'evaluation'}"]) == 2
    short = [f"--config={bench.config}", f"--data={bench.data}", "--no-tracking", "--plain"]
    assert main(["train", *short, bundle]) == 2


def test_a_table_of_an_older_version_is_evaluated_as_of_its_last_payment_and_made_anew_where_it_can_be(
    small_simulation: SmallSimulation, tmp_path: Path
) -> None:
    rows = all_rows_of(small_simulation)
    bench = Bench(small_simulation, tmp_path, rows, dates=lambda _: True)
    columns, metadata = read_columns(small_simulation.features)
    info = json.loads(metadata[METADATA_KEY])
    del info["known_until"]
    old = tmp_path / "f.parquet"
    write_columns(old, columns, {METADATA_KEY: json.dumps(info)})
    bench.data.unlink()
    figures, out = tmp_path / "figures.json", tmp_path / "out"
    inputs = [f"--config={bench.config}", f"--change={tmp_path / 'change.yaml'}", f"--features={old}"]
    outputs = [f"--bundle={small_simulation.bundle}", f"--out={out}", f"--json={figures}", "--plain"]
    assert main(["backtest", *inputs, *outputs, "--from=2026-01-05"]) == 0
    report = json.loads(figures.read_bytes())
    assert moment_of(report) == seconds(bench.last)
    assert "Make it anew with `fraud features`" in report["notes"][0]
    again = Bench(small_simulation, tmp_path, rows, dates=lambda _: True)
    assert moment_of(again.backtest()) > bench.last + DELAY
    assert read_info(old).known_until is not None
