"""Features that raise an error for one payment, in real processes: served, killed, replayed, tried again."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fraud_detection.core.decoding import to_plain
from fraud_detection.simulator.stream import simulated_events
from fraud_detection.training.tables.historical_rows import HistoricalTable
from tests.conftest import SmallSimulation
from tests.functional.http.test_service import Served
from tests.functional.serving.test_failing_payments import FAILING, MANY, decide, events

__all__ = ["events"]
ERROR = ["internal_error"]


class Broken(Served):
    program = ("-m", "tests.broken_features", FAILING)
    timeout_s = 60.0


def fraud(transaction_id: str, *arguments: str) -> str:
    """Run a command in a process whose features raise an error for a payment; return what it said."""
    command = [sys.executable, "-m", "tests.broken_features", transaction_id, *arguments, "--plain"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - ours
    assert done.returncode == 0, done.stderr
    assert f"payment {transaction_id}" in done.stderr
    assert "UnforeseenError" in done.stderr
    return done.stdout


def test_a_server_reviews_it_decides_all_others_and_knows_it_after_a_kill(
    small_simulation: SmallSimulation, events: list[bytes], tmp_path: Path
) -> None:
    healthy, service = decide(small_simulation, events, tmp_path / "healthy.db", lambda _: None)
    service.close()
    state = tmp_path / "state.db"

    def responses() -> Iterator[dict[str, Any]]:
        for event in events:
            status, response, _ = server.decide(event)
            assert status == 200
            yield response

    server = Broken(small_simulation, state)
    try:
        server.wait()
        found = {reply["transaction_id"]: reply for reply in responses()}
        assert "fraud_internal_errors_total 1" in server.request("GET", "/metrics")[1]
    finally:
        server.stop(signal.SIGKILL)
    assert (found[FAILING]["action"], found[FAILING]["score"]) == ("review", None)
    assert [reason["code"] for reason in found[FAILING]["reasons"]] == ERROR
    others = {
        transaction_id: (decision.action.label, decision.score)
        for transaction_id, decision in healthy.items()
        if transaction_id != FAILING
    }
    assert {
        transaction_id: (decision["action"], decision["score"])
        for transaction_id, decision in found.items()
        if transaction_id != FAILING
    } == others
    server = Broken(small_simulation, state)
    try:
        server.wait()
        again = list(responses())
        assert all(one["duplicate"] for one in again)
        assert [reason["code"] for reason in again[MANY // 2]["reasons"]] == ERROR
        later = json.loads(events[-1]) | {"transaction_id": "later"}
        assert server.decide(json.dumps(later).encode())[1]["score"] is not None
    finally:
        server.stop(signal.SIGKILL)
    arguments = [f"--bundle={small_simulation.bundle}", f"--state={state}"]
    explained = fraud(FAILING, "explain", FAILING, *arguments, "--replay")
    assert re.search(r"recomputed .* (\d+) of \1 bit-identical", explained)


def test_what_is_served_and_what_is_replayed_are_the_same(tmp_path: Path) -> None:
    one = next(json.loads(event)["transaction_id"] for event in simulated_events(11, 50))
    figures = tmp_path / "parity.json"
    fraud(one, "parity", "--events=500", "--seed=11", f"--json={figures}")
    report = json.loads(figures.read_bytes())
    assert (report["values_different"], report["rows_compared"]) == (0, report["transactions"])


@pytest.mark.long
def test_a_change_is_tried_on_all_others(small_simulation: SmallSimulation, tmp_path: Path) -> None:
    table = HistoricalTable(small_simulation.features, small_simulation.project.schema)
    rows = next(iter(table.batches(0, 50, table.latest_known_at())))
    transaction_id = rows.payments[20].transaction_id
    change = tmp_path / "change.yaml"
    change.write_text("name: more\nrules: [{name: dear, when: amount > 100, action: review}]\n")
    config = tmp_path / "params.yaml"
    config.write_text(json.dumps(to_plain(small_simulation.project)))
    arguments = [
        f"--change={change}",
        f"--features={small_simulation.features}",
        f"--bundle={small_simulation.bundle}",
    ]
    fraud(
        transaction_id,
        "backtest",
        *arguments,
        f"--config={config}",
        "--from=2020-01-01",
        f"--out={tmp_path / 'out'}",
    )
    fraud(
        transaction_id,
        "state",
        "create",
        str(tmp_path / "s.db"),
        f"--history={small_simulation.history}",
        arguments[2],
    )
