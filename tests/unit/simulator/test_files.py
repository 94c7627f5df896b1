from __future__ import annotations

import datetime as dt
import hashlib
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from pyarrow import csv

from fraud_detection.core.errors import ConfigError
from fraud_detection.simulator.drift import parse_drift
from fraud_detection.simulator.history_file import write_history
from fraud_detection.simulator.population.naming import FIELDS, GROUND_TRUTH_FIELDS
from fraud_detection.simulator.rate_control import FakeClock
from fraud_detection.simulator.run import generate_history, generate_stream
from fraud_detection.simulator.settings import SimulatorSettings
from fraud_detection.simulator.stream import StreamOptions

TOWN = SimulatorSettings(cards=300, merchants=90, days=12, fraud_rate=0.02)


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_two_runs_write_the_same_bytes(tmp_path: Path, suffix: str) -> None:
    paths = [tmp_path / f"{number}{suffix}" for number in (1, 2)]
    for path in paths:
        generate_history(TOWN, path, path.with_name(f"ground-truth-{path.name}"))
    assert sha256(paths[0]) == sha256(paths[1])
    assert len({sha256(path) for path in tmp_path.iterdir()}) == 2


def test_more_days_begin_with_the_same_rows(tmp_path: Path) -> None:
    generate_history(TOWN, tmp_path / "short.parquet")
    generate_history(msgspec.structs.replace(TOWN, days=20), tmp_path / "long.parquet")
    short, long = (pq.read_table(tmp_path / f"{name}.parquet") for name in ("short", "long"))
    assert long.slice(0, len(short)).equals(short)
    assert len(long) > len(short)


def test_a_history_has_its_columns_with_nulls_where_nothing_is_known(tmp_path: Path) -> None:
    summary = generate_history(TOWN, tmp_path / "h.parquet", tmp_path / "t.parquet")
    table = pq.read_table(tmp_path / "h.parquet")
    assert tuple(table.column_names) == FIELDS
    assert table["device_id"].null_count + table["terminal_id"].null_count >= len(table)
    assert table["transaction_id"].null_count == table["card_id"].null_count == 0
    assert len(pc.unique(table["transaction_id"])) == len(table) == summary.payments
    assert {str(table.schema.field(name).type) for name in ("event_time", "label_known_at")} == {
        "timestamp[ms, tz=UTC]"
    }
    assert pc.sum(table["is_fraud"]).as_py() == summary.labelled_frauds


def test_the_ground_truth_is_in_a_file_of_its_own(tmp_path: Path) -> None:
    summary = generate_history(TOWN, tmp_path / "h.parquet", tmp_path / "t.parquet")
    table, ground_truth = pq.read_table(tmp_path / "h.parquet"), pq.read_table(tmp_path / "t.parquet")
    assert tuple(ground_truth.column_names) == GROUND_TRUTH_FIELDS
    assert ground_truth["transaction_id"].equals(table["transaction_id"])
    assert (
        pc.sum(ground_truth["fraud"]).as_py()
        == summary.frauds
        == summary.payments - summary.scenarios["none"]
    )
    assert not {"fraud", "scenario", "report"} & set(table.column_names)
    assert set(pc.unique(ground_truth["scenario"]).to_pylist()) == set(summary.scenarios)


def test_csv_and_parquet_agree(tmp_path: Path) -> None:
    generate_history(TOWN, tmp_path / "h.parquet")
    generate_history(TOWN, tmp_path / "h.csv")
    table, text = pq.read_table(tmp_path / "h.parquet"), csv.read_csv(tmp_path / "h.csv")
    for name in ("amount", "latitude", "is_fraud", "merchant_category"):
        assert text[name].to_pylist() == table[name].to_pylist()
    first = (tmp_path / "h.csv").read_text().splitlines()[1].split(",")[1]
    assert first.startswith('"2026-01-01T0')
    assert first.endswith('Z"')


def test_behaviour_drifts_in_a_history_from_its_moment_on_and_not_before(tmp_path: Path) -> None:
    drift = parse_drift("behaviour:amount_scale=3:from=2026-01-08")
    write_history(TOWN, tmp_path / "plain.parquet")
    write_history(TOWN, tmp_path / "changed.parquet", drifts=[drift])
    plain, changed = (pq.read_table(tmp_path / f"{name}.parquet") for name in ("plain", "changed"))
    begun = pc.greater_equal(plain["event_time"], pa.scalar(dt.datetime(2026, 1, 8, tzinfo=dt.UTC)))
    assert changed.filter(pc.invert(begun)).equals(plain.filter(pc.invert(begun)))
    before, after = (table.filter(begun)["amount"].to_numpy() for table in (plain, changed))
    assert len(before) > 500
    assert after == pytest.approx(3 * before, abs=0.02)


def test_progress_is_reported_day_by_day(tmp_path: Path) -> None:
    reports: list[tuple[int, int]] = []
    summary = generate_history(TOWN, tmp_path / "h.parquet", on_progress=lambda *now: reports.append(now))
    assert [day for day, _ in reports] == list(range(1, 13))
    assert reports[-1][1] == summary.payments


def test_a_history_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    def stop(day: int, _: int) -> None:
        if day == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        generate_history(TOWN, tmp_path / "h.parquet", tmp_path / "t.csv", on_progress=stop)
    assert list(tmp_path.iterdir()) == []


def test_a_name_without_a_known_ending_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"ends in \.parquet or \.csv"):
        generate_history(TOWN, tmp_path / "h.xlsx")


def test_a_path_that_cannot_be_written_is_a_config_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="cannot be written"):
        generate_history(TOWN, tmp_path / "file" / "h.parquet")
    with pytest.raises(ConfigError, match="cannot be written"):
        generate_stream(TOWN, str(tmp_path / "none" / "stream.jsonl"))


def test_a_stream_goes_to_a_file_one_event_a_line(tmp_path: Path) -> None:
    path = tmp_path / "stream.jsonl"
    summary = generate_stream(TOWN, str(path), StreamOptions(rate=100, seconds=20), FakeClock(1_000_000.0))
    lines = path.read_bytes().splitlines()
    assert summary.ended_by == "limit"
    assert summary.payments + summary.duplicate_payments + summary.malformed_payments == 2_000
    assert len(lines) == 2_000 + summary.labels
    assert json.loads(lines[0])["sent_at"] in range(1_000_000_000, 1_000_001_000)
    assert summary.seconds == pytest.approx(20, abs=0.1)
    assert summary.payments_per_second == pytest.approx(100, rel=0.01)


def test_an_unknown_stream_is_refused_in_one_sentence() -> None:
    with pytest.raises(ConfigError, match="carrier://payments: expected a file, '-'"):
        generate_stream(TOWN, "carrier://payments")


def test_a_pipe_that_nobody_reads_any_more_ends_the_stream(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)

    def read_a_little() -> None:
        with path.open("rb") as pipe:
            pipe.readline()

    reader = threading.Thread(target=read_a_little)
    reader.start()
    summary = generate_stream(TOWN, str(path), StreamOptions(rate=5_000))
    reader.join()
    assert summary.ended_by == "receiver"


def test_an_interrupt_ends_the_stream_and_the_summary_is_printed(tmp_path: Path) -> None:
    class Interrupted(FakeClock):
        def sleep(self, seconds: float) -> None:
            super().sleep(seconds)
            if self.now() > 5:
                raise KeyboardInterrupt

    path = tmp_path / "stream.jsonl"
    summary = generate_stream(TOWN, str(path), StreamOptions(rate=100), Interrupted())
    assert summary.ended_by == "interrupt"
    sent = (summary.payments, summary.labels, summary.duplicate_payments, summary.malformed_payments)
    assert len(path.read_bytes().splitlines()) == sum(sent) > 400


def test_standard_output_holds_events_and_nothing_else() -> None:
    program = (
        "from fraud_detection.simulator.stream import StreamOptions\n"
        "from fraud_detection.simulator.settings import SimulatorSettings\n"
        "from fraud_detection.simulator.run import generate_stream\n"
        "settings = SimulatorSettings(cards=50, merchants=60, days=1)\n"
        "options = StreamOptions(rate=1000, payments=20, labels='none', malformed_share=0)\n"
        "generate_stream(settings, '-', options)\n"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)  # noqa: S603 - ours
    assert [list(json.loads(line))[:2] for line in run.stdout.splitlines()] == [
        ["transaction_id", "event_time"]
    ] * 20
