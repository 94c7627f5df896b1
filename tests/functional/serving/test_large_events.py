"""An event that is too large is refused with size and digest by every service; its beginning is stored."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from fraud_detection.adapters.files.event_sources import Batch
from fraud_detection.cli.main import main
from fraud_detection.demo.demo import demo_project
from fraud_detection.serving.aws_lambda.batch import ShardEvent
from tests.conftest import SmallSimulation
from tests.functional.aws_lambda.test_handler import FIRST, Cloud
from tests.functional.serving.test_conflicts import SMALL, raw, responses_to
from tests.states import made, open_service

TRUNCATED_BYTES = 65_536
NAMES = {f"{n}-" + "n" * 2_500: 1 for n in range(400)}
WIDE = raw(SMALL | NAMES)
"""400 unknown fields with long names: more than an event may have, and less than a request."""
LINE = b'{"transaction_id":"long","text":"' + b"x" * 3_000_000 + b'"}'


def reason(event: bytes, where: str = "") -> str:
    return (
        f"an event has at most 262,144 bytes, got {len(event):,}{where}; its first 65,536 are stored, "
        f"SHA-256 of all: {hashlib.sha256(event).hexdigest()}"
    )


def quarantined(state: Path) -> list[tuple[str, str, bytes]]:
    with closing(sqlite3.connect(state)) as db:
        return db.execute("SELECT reason, path, event FROM quarantine ORDER BY seq").fetchall()


def test_a_long_line_of_a_file_is_counted_and_what_comes_after_it_is_decided(
    small_simulation: SmallSimulation, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    source, state = tmp_path / "events.jsonl", made(tmp_path / "state.db")
    source.write_bytes(b"\n".join([WIDE, LINE, raw(SMALL), b""]))
    arguments = [
        "run",
        "--plain",
        f"--bundle={small_simulation.bundle}",
        f"--state={state}",
        f"--source={source}",
    ]
    assert main([*arguments, "--out=-"]) == 0
    record = [json.loads(line) for line in capfd.readouterr().out.splitlines() if line.startswith("{")]
    wide = reason(WIDE, " from byte 0 of the file on")
    long = reason(LINE, f" from byte {len(WIDE) + 1:,} of the file on")
    assert quarantined(state) == [(wide, "$", WIDE[:TRUNCATED_BYTES]), (long, "$", LINE[:TRUNCATED_BYTES])]
    assert [item["reason"] for item in record if item["type"] == "quarantined"] == [wide, long]
    assert [item["transaction_id"] for item in record if item["type"] == "decision"] == ["A1"]
    size = state.stat().st_size
    assert size < 2_000_000
    # It goes on behind them.
    with source.open("ab") as file:
        file.write(raw(SMALL | {"transaction_id": "A2"}) + b"\n")
    assert main([*arguments, "--out=-"]) == 0
    assert '"A2"' in capfd.readouterr().out
    assert len(quarantined(state)) == 2


def test_over_http_it_gets_422_and_kept_in_part(small_simulation: SmallSimulation, tmp_path: Path) -> None:
    body, _ = responses_to(small_simulation, tmp_path, WIDE, raw(SMALL))
    assert [status for status, _ in body] == [422, 200]
    assert body[0][1]["record"]["reason"] == reason(WIDE)
    assert quarantined(tmp_path / "state.db") == [(reason(WIDE), "$", WIDE[:TRUNCATED_BYTES])]


def test_on_a_stream_the_bucket_holds_its_beginning(small_simulation: SmallSimulation) -> None:
    cloud = Cloud(small_simulation)
    assert (
        cloud.processor().handle(
            "s", [ShardEvent.at(str(FIRST), WIDE), ShardEvent.at(str(FIRST + 1), raw(SMALL))]
        )
        == []
    )
    (aside,) = cloud.aside()
    assert (aside.reason, aside.event) == (reason(WIDE), WIDE[:TRUNCATED_BYTES])
    assert list(cloud.decisions()) == ["A1"]


@pytest.mark.parametrize(("field", "is_stored"), [("text", False), ("channel", True)])
def test_the_largest_event_is_decided_and_explained_and_what_nobody_reads_of_it_is_not_kept(
    field: str,
    is_stored: bool,  # noqa: FBT001 - a parameter of the test
    small_simulation: SmallSimulation,
    tmp_path: Path,
) -> None:
    declared = demo_project().schema.categories
    assert (field in declared) is is_stored
    event = raw(SMALL | {field: ""})
    largest = raw(SMALL | {field: "x" * (256 * 1024 - len(event))})
    assert len(largest) == 256 * 1024
    _, service = open_service(small_simulation.bundle, tmp_path / "state.db")
    service.take(Batch([largest, largest], None, 0), "test")
    assert (service.tally.decided, service.tally.duplicates) == (1, 1)
    service.close()
    with closing(sqlite3.connect(tmp_path / "state.db")) as db:
        assert db.execute("SELECT event FROM decisions").fetchall() == [
            (largest if is_stored else raw(SMALL),)
        ]
    assert (
        main(["explain", "A1", f"--state={tmp_path / 'state.db'}", f"--bundle={small_simulation.bundle}"])
        == 0
    )
