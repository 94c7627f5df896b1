"""The embedded service: exactly once, through restarts, kills, repeats and rubbish."""

from __future__ import annotations

import json
import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fraud_detection.adapters.files.event_sources import Batch
from fraud_detection.cli.main import main
from fraud_detection.core.decision_settings import RuleSettings
from fraud_detection.core.errors import ConfigError
from fraud_detection.core.outcomes import Decided
from fraud_detection.history.load import read_history
from fraud_detection.serving.embedded.service import EmbeddedService, has_history
from fraud_detection.serving.http.batcher import RequestBatcher
from fraud_detection.serving.http.prometheus import exposition
from tests.conftest import SmallSimulation
from tests.states import made, open_service, opened

DECISIONS = "SELECT transaction_id, action, score, reasons, features FROM decisions ORDER BY transaction_id"


def service_at(simulation: SmallSimulation, state: Path) -> EmbeddedService:
    return open_service(simulation.bundle, state)[1]


def decisions(state: Path) -> list[tuple[Any, ...]]:
    """Return the decisions of a file that no process is at work on."""
    opened(state).close()  # as any process does at its start, it moves the journal into the tables
    with sqlite3.connect(state) as db:
        return db.execute(DECISIONS).fetchall()


def serve(service: EmbeddedService, events: list[bytes], size: int = 64) -> None:
    for start in range(0, len(events), size):
        service.take(Batch(events[start : start + size], None, start + size), "test")


@pytest.fixture(scope="module")
def events(small_simulation: SmallSimulation) -> list[bytes]:
    return small_simulation.events(3_000, late_share=0.05, duplicate_share=0.03, malformed_share=0.02)


def test_every_event_is_decided_quarantined_duplicate_or_a_label(
    small_simulation: SmallSimulation, events: list[bytes], tmp_path: Path
) -> None:
    service = service_at(small_simulation, tmp_path / "state.db")
    serve(service, events)
    tally = service.tally
    assert tally.decided + tally.quarantined == tally.transactions
    assert tally.transactions + tally.duplicates + tally.labels == len(events)
    assert sum(tally.actions) == tally.decided
    assert min(tally.decided, tally.quarantined, tally.duplicates, tally.labels) > 0
    service.close()
    with sqlite3.connect(tmp_path / "state.db") as db:
        assert db.execute("SELECT count(*), count(DISTINCT transaction_id) FROM decisions").fetchone() == (
            tally.decided,
            tally.decided,
        )
        stored_rows = db.execute("SELECT event, reason, path FROM quarantine").fetchall()
        assert db.execute("SELECT sum(count) FROM quarantine").fetchone() == (tally.quarantined,)
    assert all(event in events and reason and path.startswith("$") for event, reason, path in stored_rows)


def test_every_review_and_decline_has_reasons_with_messages(
    small_simulation: SmallSimulation, events: list[bytes], tmp_path: Path
) -> None:
    service = service_at(small_simulation, tmp_path / "state.db")
    serve(service, events)
    service.close()
    doubtful = [json.loads(row[3]) for row in decisions(tmp_path / "state.db") if row[1] != 0]
    assert doubtful
    assert all(len(reasons) >= 2 and all(message for _, _, message in reasons) for reasons in doubtful)
    assert {"score"} < {code for reasons in doubtful for _, code, _ in reasons}


def test_declared_rules_decide_and_are_among_the_reasons(
    small_simulation: SmallSimulation, events: list[bytes], tmp_path: Path
) -> None:
    rules = (
        RuleSettings(name="large", when="amount >= 100", action="review", message="a large amount"),
        RuleSettings(name="huge", when="amount >= 200", action="decline"),
    )
    project = msgspec.structs.replace(small_simulation.project, rules=rules)
    service = open_service(small_simulation.bundle, tmp_path / "state.db", project=project)[1]
    serve(service, events[:1_500])
    service.close()
    seen = set()
    with sqlite3.connect(tmp_path / "state.db") as db:
        stored_rows = db.execute("SELECT action, reasons, event FROM decisions").fetchall()
    for action, reasons, event in stored_rows:
        amount, codes = float(json.loads(event)["amount"]), [code for _, code, _ in json.loads(reasons)]
        assert ("large" in codes) == (amount >= 100)
        assert ("huge" in codes) == (amount >= 200)
        assert action >= (amount >= 100) + (amount >= 200)
        seen.add((amount >= 100) + (amount >= 200))
    assert seen == {0, 1, 2}


@pytest.mark.parametrize("size", [1, 7, 500])
def test_the_size_of_batches_changes_nothing(
    small_simulation: SmallSimulation, events: list[bytes], tmp_path: Path, size: int
) -> None:
    for name, each in (("a", size), ("b", 64)):
        service = service_at(small_simulation, tmp_path / name)
        serve(service, events[:600], each)
        service.close()
    left, right = decisions(tmp_path / "a"), decisions(tmp_path / "b")
    assert [(row[0], row[1], row[4]) for row in left] == [(row[0], row[1], row[4]) for row in right]


def test_a_process_that_saves_nothing_at_its_end_loses_nothing(
    small_simulation: SmallSimulation, events: list[bytes], tmp_path: Path
) -> None:
    steady = service_at(small_simulation, tmp_path / "steady")
    serve(steady, events[:1_500])
    steady.close()
    recovered = 0
    for start in range(0, 1_500, 300):
        service = service_at(small_simulation, tmp_path / "dying")
        recovered += service.recovered
        service.save_after_events = 400
        serve(service, events[start : start + 300])
        service.state_file.close()
    assert recovered > 0
    assert decisions(tmp_path / "dying") == decisions(tmp_path / "steady")


def test_a_payment_sent_twice_is_decided_once(
    small_simulation: SmallSimulation, events: list[bytes], tmp_path: Path
) -> None:
    service = service_at(small_simulation, tmp_path / "state.db")
    serve(service, events[:300])
    before, decided = service.state_file.rows(DECISIONS), service.tally.decided
    serve(service, events[:300])
    assert service.tally.decided == decided
    assert service.state_file.rows(DECISIONS) == before
    service.close()


def test_a_label_before_its_payment_is_learned_when_the_payment_comes(
    small_simulation: SmallSimulation, tmp_path: Path
) -> None:
    payments = [
        json.loads(event)
        for event in small_simulation.events(60, late_share=0, duplicate_share=0, malformed_share=0)
    ]
    payments = [payment for payment in payments if "amount" in payment]
    for payment in payments:
        payment["terminal_id"] = "same"
    label = {"type": "label", "transaction_id": payments[0]["transaction_id"], "is_fraud": 1}
    label["label_known_at"] = payments[0]["event_time"]
    service = service_at(small_simulation, tmp_path / "state.db")
    serve(service, [json.dumps(payment).encode() for payment in (label, label, payments[0], payments[1])], 1)
    names = [feature.name for feature in service.pipeline.profile_cache.extractor.definitions]
    third = service.pipeline.process([json.dumps(payments[2]).encode()]).outcomes[0]
    assert isinstance(third, Decided)
    assert third.values[names.index("terminal_fraud_count_30d")] == 1
    assert (service.tally.labels, service.tally.duplicates) == (1, 1)
    service.state_file.close()


def test_history_is_loaded_once(small_simulation: SmallSimulation, tmp_path: Path) -> None:
    service, history = service_at(small_simulation, tmp_path / "state.db"), small_simulation.history
    loaded = read_history(small_simulation.project, history, lambda *_: None).payments[:500]
    service.preload_history(loaded, lambda: None)
    service.state_file.close()
    again = service_at(small_simulation, tmp_path / "state.db")
    assert has_history(again.state_file)
    with pytest.raises(ConfigError, match="in use"):
        again.preload_history(loaded, lambda: None)
    again.state_file.close()


def test_a_state_file_of_other_features_is_refused(small_simulation: SmallSimulation, tmp_path: Path) -> None:
    service = service_at(small_simulation, tmp_path / "state.db")
    with service.state_file.transaction():
        service.state_file.put_meta("shape", ["other"])
    service.close()
    with pytest.raises(ConfigError, match="other features"):
        service_at(small_simulation, tmp_path / "state.db")


def test_a_second_process_on_one_state_file_is_refused_and_changes_nothing(
    small_simulation: SmallSimulation, events: list[bytes], tmp_path: Path
) -> None:
    service = service_at(small_simulation, tmp_path / "state.db")
    serve(service, events[:64])
    with pytest.raises(ConfigError, match="another process"):
        service_at(small_simulation, tmp_path / "state.db")
    arguments = [sys.executable, "-m", "fraud_detection.cli", "run", "--plain", "--source", "-"]
    arguments += ["--bundle", str(small_simulation.bundle), "--state", str(tmp_path / "state.db")]
    second = subprocess.run(arguments, input=b"\n".join(events), capture_output=True, check=False)  # noqa: S603 - ours
    assert second.returncode == 2
    assert b"another process" in second.stderr
    serve(service, events[64:128])
    decided = service.tally.decided
    service.close()
    assert len(decisions(tmp_path / "state.db")) == decided
    service_at(small_simulation, tmp_path / "state.db").close()


def test_a_file_that_is_no_state_file_is_refused(small_simulation: SmallSimulation, tmp_path: Path) -> None:
    (tmp_path / "state.db").write_text("hello, I am not a database" * 100)
    with pytest.raises(ConfigError, match=r"state\.db"):
        service_at(small_simulation, tmp_path / "state.db")


def command(simulation: SmallSimulation, source: Path, state: Path) -> list[str]:
    arguments = ["run", "--plain", "--source", str(source)]
    return [*arguments, "--bundle", str(simulation.bundle), "--state", str(state), "--out", f"{state}.jsonl"]


def start(simulation: SmallSimulation, source: Path, state: Path) -> subprocess.Popen[bytes]:
    made(state)
    arguments = [sys.executable, "-m", "fraud_detection.cli", *command(simulation, source, state)]
    return subprocess.Popen(arguments, stderr=subprocess.DEVNULL)  # noqa: S603 - our own command


@pytest.mark.parametrize(("payments", "most"), [(8_000, 2), pytest.param(30_000, 4, marks=pytest.mark.long)])
def test_a_process_killed_at_any_moment_loses_nothing_and_decides_nothing_twice(
    small_simulation: SmallSimulation, tmp_path: Path, payments: int, most: int
) -> None:
    source, state = tmp_path / "events.jsonl", tmp_path / "killed.db"
    events = small_simulation.events(payments, duplicate_share=0.03, malformed_share=0.02)
    source.write_bytes(b"\n".join(events) + b"\n")
    made(tmp_path / "steady.db")
    assert main(command(small_simulation, source, tmp_path / "steady.db")) == 0
    chance, kills = random.Random(5), 0
    while True:
        before = progress_of(state)
        process = start(small_simulation, source, state)
        wait_for_progress(process, state, before)
        time.sleep(chance.uniform(0, 0.15))
        if process.poll() is not None or kills == most:
            assert process.wait(120) == 0
            break
        process.send_signal(signal.SIGKILL)
        process.wait()
        kills += 1
    assert kills >= 2
    assert decisions(state) == decisions(tmp_path / "steady.db")
    assert quarantine(state) == quarantine(tmp_path / "steady.db")
    assert max(count for *_, count in quarantine(state)) > 1
    # What is repeated leaves no trace in the tables, so its line may be missing after a kill.
    whole, lines = (first_records(tmp_path / f"{name}.db.jsonl") for name in ("steady", "killed"))
    assert lines == whole


def quarantine(state: Path) -> list[tuple[int, bytes, int]]:
    with sqlite3.connect(state) as db:
        return db.execute("SELECT seq, event, count FROM quarantine ORDER BY seq").fetchall()


def first_records(path: Path) -> list[bytes]:
    return [line for line in path.read_bytes().splitlines() if b'"duplicate":true' not in line]


def progress_of(state: Path) -> int:
    if not state.exists():
        return 0
    try:
        with sqlite3.connect(f"file:{state}?mode=ro", uri=True) as db:
            return int(db.execute("SELECT count(*) FROM decisions").fetchone()[0])
    except sqlite3.OperationalError:
        return 0


def wait_for_progress(process: subprocess.Popen[bytes], state: Path, before: int) -> None:
    deadline = time.monotonic() + 60
    while process.poll() is None and progress_of(state) <= before:
        assert time.monotonic() < deadline, "the process decided nothing for a minute"
        time.sleep(0.01)


@pytest.mark.parametrize("max_bytes", [0, 100_000])
def test_decisions_do_not_depend_on_the_memory_for_profiles(
    small_simulation: SmallSimulation, events: list[bytes], tmp_path: Path, max_bytes: int
) -> None:
    roomy = service_at(small_simulation, tmp_path / "roomy.db")
    serve(roomy, events)
    roomy.close()
    state = tmp_path / "cramped.db"
    for start in range(0, len(events), 1_000):
        service = service_at(small_simulation, state)
        service.save_after_events = 200
        service.limit_profile_memory(max_bytes)
        for at in range(start, min(start + 1_000, len(events)), 16):
            service.take(Batch(events[at : min(at + 16, start + 1_000)], None, at), "test")
            service.run_deferred_work()
            resident = service.pipeline.profile_cache.resident
            # What is not saved yet stays.
            unsaved = sum(len(profiles.unsaved) for profiles in resident.entities)
            assert service.pipeline.profile_cache.size() <= unsaved or resident.total_bytes() <= max_bytes
        service.state_file.close()
    assert decisions(state) == decisions(tmp_path / "roomy.db")


def test_the_memory_for_profiles_is_an_option_and_a_metric(
    small_simulation: SmallSimulation, events: list[bytes], tmp_path: Path
) -> None:
    source = tmp_path / "events.jsonl"
    source.write_bytes(b"\n".join(events[:200]) + b"\n")
    state = made(tmp_path / "state.db")
    arguments = [
        "run",
        f"--bundle={small_simulation.bundle}",
        f"--state={state}",
        f"--source={source}",
        "--plain",
    ]
    assert main([*arguments, "--profile-memory=0"]) == 2
    assert main([*arguments, "--profile-memory=1"]) == 0
    service = service_at(small_simulation, state)
    service.pipeline.profile_cache.prefetch([("no-such-card",) * 8])
    text = exposition(RequestBatcher(service), {})
    assert f"fraud_profile_memory_bytes {service.pipeline.profile_cache.resident.total_bytes()}\n" in text
    assert service.pipeline.profile_cache.resident.total_bytes() > 0
    service.close()
