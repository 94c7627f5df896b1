"""A state file knows whose it is and whether all of it is there; nothing is taken for a new one."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from fraud_detection.adapters.files.event_sources import Batch
from fraud_detection.adapters.sqlite.commit_marker import SLOT_BYTES, SUFFIX, marker_path
from fraud_detection.adapters.sqlite.state_file import StateFile
from fraud_detection.adapters.sqlite.state_guard import LOOK_EVERY_S
from fraud_detection.adapters.sqlite.state_lock import pages_of_log
from fraud_detection.adapters.sqlite.state_reader import StateReader
from fraud_detection.cli.main import main
from fraud_detection.core.errors import ConfigError, RetryError
from fraud_detection.serving.create_state import new_state
from fraud_detection.serving.embedded import stream_runner as stream
from fraud_detection.serving.embedded.service import EmbeddedService
from fraud_detection.serving.workers.ownership import worker_path
from tests.conftest import SmallSimulation
from tests.functional.http.test_service import TIMEOUT_S, served
from tests.functional.workers.test_workers import TWO, until
from tests.states import made, open_service, short_history

FILES = ("", "-wal", SUFFIX)


@pytest.fixture(scope="module")
def events(small_simulation: SmallSimulation) -> list[bytes]:
    return small_simulation.events(400, labels="none", late_share=0, duplicate_share=0, malformed_share=0)


def service_at(simulation: SmallSimulation, state: Path) -> EmbeddedService:
    return stream.open_service(simulation.bundle, state)[1]


def take(service: EmbeddedService, events: list[bytes]) -> None:
    """Decide payments one by one, as they come over HTTP."""
    for event in events:
        service.take(Batch([event], None, 0), "test")
        service.run_deferred_work()


def seq_of(state: Path) -> int:
    record = StateReader(state)
    record.close()
    return record.checkpoint.seq


def copied(state: Path, to: Path) -> Path:
    """Return what a process leaves that is killed now: its files as they are."""
    to.mkdir()
    for suffix in FILES:
        shutil.copy(f"{state}{suffix}", to / f"state.db{suffix}")
    return to / "state.db"


# One process at a time


def test_a_second_process_is_refused_whatever_it_calls_the_file_and_learns_who_holds_it(
    small_simulation: SmallSimulation, events: list[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = tmp_path / "s.db"
    with served(small_simulation, state) as server:
        assert server.decide(events[0])[0] == 200
        (tmp_path / "alias.db").symlink_to(state)
        (tmp_path / "folder").symlink_to(tmp_path)
        os.link(state, tmp_path / "hard.db")
        (tmp_path / "s.db.lock").unlink(missing_ok=True)
        monkeypatch.chdir(tmp_path)
        names = [state, tmp_path / "alias.db", tmp_path / "hard.db", tmp_path / "folder/s.db", Path("s.db")]
        for name in names:
            with pytest.raises(ConfigError, match=rf"another process \({server.process.pid}\b"):
                service_at(small_simulation, name)
        assert [path.name for path in tmp_path.glob("hard.db*")] == ["hard.db"]
        (tmp_path / "hard.db").unlink()
        assert (
            main(["run", "--plain", "--source=-", f"--bundle={small_simulation.bundle}", "--state=alias.db"])
            == 2
        )
        # Who only reads is not in the way.
        assert main(["audit", "verify", f"--state={state}", "--plain"]) == 0
        assert main(["audit", "verify", "--state=alias.db", "--plain"]) == 0
        assert [server.decide(event)[0] for event in events[1:9]] == [200] * 8
        assert seq_of(state) == 9
    service_at(small_simulation, tmp_path / "alias.db").close()


def test_a_file_under_another_mount_is_the_same_file(
    small_simulation: SmallSimulation, tmp_path: Path
) -> None:
    state, there = tmp_path / "s.db", tmp_path / "there"
    there.mkdir()
    service = open_service(small_simulation.bundle, state)[1]
    script = f"mount --bind {tmp_path} {there} && exec {sys.executable} -m fraud_detection.cli run --plain "
    script += f"--source - --bundle {small_simulation.bundle} --state {there}/s.db"
    command = ["unshare", "--map-root-user", "--mount", "sh", "-c", script]
    if shutil.which("unshare") is None:
        pytest.skip("no `unshare` here")
    second = subprocess.run(command, input=b"", capture_output=True, check=False)  # noqa: S603 - ours
    service.close()
    if b"unshare" in second.stderr or b"mount:" in second.stderr:
        pytest.skip("nobody may mount anything here")
    assert second.returncode == 2
    assert f"another process ({os.getpid()} on".encode() in second.stderr


FORKING = """
import os, sys, time
from pathlib import Path
from fraud_detection.adapters.sqlite.state_file import StateFile
state_file = StateFile(Path(sys.argv[1]))
child = os.fork()
if child == 0:
    time.sleep(60)
print(child, flush=True)
time.sleep(60)
"""


def test_a_forked_child_does_not_hold_the_file_of_a_parent_that_was_killed(tmp_path: Path) -> None:
    state = made(tmp_path / "s.db")
    command = [sys.executable, "-c", FORKING, str(state)]
    parent = subprocess.Popen(command, stdout=subprocess.PIPE)  # noqa: S603 - ours
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    try:
        parent.kill()
        parent.wait()
        # The child lets go when it first runs.
        until(lambda: not is_taken(state))
        os.kill(child, 0)
    finally:
        os.kill(child, signal.SIGKILL)
        parent.stdout.close()


def is_taken(state: Path) -> bool:
    try:
        StateFile(state).close()
    except ConfigError:
        return True
    return False


@pytest.mark.parametrize("at_once", [1, 200], ids=["journal", "tables"])
def test_a_process_that_no_longer_owns_the_file_commits_nothing(
    small_simulation: SmallSimulation, events: list[bytes], tmp_path: Path, at_once: int
) -> None:
    state = tmp_path / "s.db"
    service = open_service(small_simulation.bundle, state)[1]
    take(service, events[:10])
    with closing(sqlite3.connect(state)) as db, db:
        db.execute("UPDATE owner SET epoch = epoch + 1, pid = 4711")
    with pytest.raises(ConfigError, match="belongs to another process now \\(4711"):
        service.take(Batch(events[10 : 10 + at_once], None, 0), "test")
    assert seq_of(state) == 10
    service.state_file.close()


# What was answered and is gone


def test_damage_to_the_log_is_reported_with_what_is_missing_and_needs_a_flag(
    small_simulation: SmallSimulation, events: list[bytes], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    service = open_service(small_simulation.bundle, tmp_path / "s.db")[1]
    take(service, events[:200])
    chance, refused = random.Random(3), 0
    for number in range(12):
        state = copied(tmp_path / "s.db", tmp_path / str(number))
        size = Path(f"{state}-wal").stat().st_size
        with Path(f"{state}-wal").open("r+b") as file:
            file.seek(chance.randrange(size - 64))
            damage = bytes(byte ^ 0xFF for byte in file.read(64))
            file.seek(-64, os.SEEK_CUR)
            file.write(damage)
        before = {suffix: Path(f"{state}{suffix}").read_bytes() for suffix in FILES}
        try:
            again = service_at(small_simulation, state)
        except ConfigError as error:
            refused += 1
            message = str(error)
        else:
            assert again.state_file.seq == 200
            again.state_file.close()
            continue
        match = re.search(r"([\d,]+) answered events are gone, numbers ([\d,]+) to 200:", message)
        assert match is not None, message
        last_seq = seq_of(state)
        assert (int(match[1]), int(match[2])) == (200 - last_seq, last_seq + 1)
        # Nothing was touched: whoever wants to save the log still can.
        assert {suffix: Path(f"{state}{suffix}").read_bytes() for suffix in FILES} == before
        assert main(["audit", "verify", f"--state={state}", "--plain"]) == 1
        assert "answered events are gone" in capsys.readouterr().out
    service.close()
    assert refused >= 6


def test_a_loss_that_is_accepted_stays_written_in_the_file(
    small_simulation: SmallSimulation, events: list[bytes], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    service = open_service(small_simulation.bundle, tmp_path / "s.db")[1]
    take(service, events[:20])
    state = copied(tmp_path / "s.db", tmp_path / "copy")
    service.close()
    Path(f"{state}-wal").unlink()
    source = tmp_path / "events.jsonl"
    source.write_bytes(b"\n".join(events[:5]) + b"\n")
    arguments = [
        "run",
        f"--source={source}",
        "--plain",
        f"--bundle={small_simulation.bundle}",
        f"--state={state}",
    ]
    assert main(arguments) == 2
    assert main([*arguments, "--accept-loss"]) == 0
    assert "20 answered events are gone, numbers 1 to 20" in capsys.readouterr().err
    assert main(arguments) == 0
    assert main(["audit", "verify", f"--state={state}", "--plain"]) == 0
    assert "a loss was accepted at" in capsys.readouterr().out


def test_an_older_copy_another_marker_or_none_is_detected(
    small_simulation: SmallSimulation, events: list[bytes], tmp_path: Path
) -> None:
    state, backup = made(tmp_path / "s.db"), tmp_path / "backup"
    service = service_at(small_simulation, state)
    take(service, events[:10])
    service.close()
    backup.mkdir()
    for suffix in ("", SUFFIX):
        shutil.copy(f"{state}{suffix}", backup / f"s.db{suffix}")
    service = service_at(small_simulation, state)
    take(service, events[10:30])
    service.close()
    # File and marker of one moment are a backup.
    service = service_at(small_simulation, backup / "s.db")
    assert service.state_file.seq == 10
    take(service, events[30:60])
    service.close()
    # The file alone is not: the marker knows more, or of another course of things.
    newer = marker_path(state).read_bytes()
    shutil.copy(backup / "s.db", state)
    with pytest.raises(ConfigError, match="event 30 is not the one that was answered: another copy"):
        service_at(small_simulation, state)
    made(tmp_path / "other.db")
    shutil.copy(marker_path(tmp_path / "other.db"), marker_path(state))
    with pytest.raises(ConfigError, match="is that of another state file"):
        service_at(small_simulation, state)
    marker_path(state).unlink()
    with pytest.raises(ConfigError, match=r"its commit marker \(s.db.marker\) is missing: nobody knows"):
        service_at(small_simulation, state)
    assert newer != marker_path(backup / "s.db").read_bytes()


def test_a_kill_between_commit_and_marker_or_amid_the_marker_costs_nothing(
    small_simulation: SmallSimulation, events: list[bytes], tmp_path: Path
) -> None:
    state = tmp_path / "s.db"
    service = open_service(small_simulation.bundle, state)[1]
    take(service, events[:20])
    older = marker_path(state).read_bytes()
    take(service, events[20:21])
    between = copied(state, tmp_path / "between")
    marker_path(between).write_bytes(older)
    torn = copied(state, tmp_path / "torn")
    service.close()
    slots = [bytearray(older), bytearray(marker_path(torn).read_bytes())]
    (offset,) = (one for one in (0, SLOT_BYTES) if slots[0][one:][:64] != slots[1][one:][:64])
    slots[1][offset + 20] ^= 0xFF
    marker_path(torn).write_bytes(slots[1])
    for copy in (between, torn):
        again = service_at(small_simulation, copy)
        assert again.state_file.seq == 21
        again.close()


def test_decisions_of_a_killed_server_whose_log_is_removed_are_missed(
    small_simulation: SmallSimulation, events: list[bytes], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = tmp_path / "s.db"
    with served(small_simulation, state) as server:
        assert [server.decide(event)[0] for event in events[:30]] == [200] * 30
        server.stop(signal.SIGKILL)
    Path(f"{state}-wal").unlink()
    arguments = ["--plain", f"--bundle={small_simulation.bundle}", f"--state={state}"]
    assert main(["serve", "--port=0", *arguments]) == 2
    assert "30 answered events are gone, numbers 1 to 30" in capsys.readouterr().err
    source, figures = tmp_path / "events.jsonl", tmp_path / "run.json"
    source.write_bytes(events[0] + b"\n")
    assert main(["run", f"--source={source}", f"--json={figures}", "--accept-loss", *arguments]) == 0
    counts = json.loads(figures.read_bytes())
    assert (counts["decided"], counts["duplicates"]) == (1, 0)


# A file that vanishes or shrinks


def test_a_file_that_is_removed_while_serving_is_noticed_and_no_decision_is_returned(
    small_simulation: SmallSimulation, events: list[bytes], tmp_path: Path
) -> None:
    state, moved = tmp_path / "s.db", tmp_path / "moved.db"
    with served(small_simulation, state) as server:
        assert server.decide(events[0])[0] == 200
        state.rename(moved)
        until(lambda: server.request("GET", "/readyz")[0] == 503)
        assert server.decide(events[1])[0] == 503
        moved.rename(state)
        until(lambda: server.request("GET", "/readyz")[0] == 200)
        assert server.decide(events[1])[0] == 200
        state.unlink()
        # Two milliseconds later, long before the look of the background.
        time.sleep(2 * LOOK_EVERY_S)
        status, body, _ = server.decide(events[2])
        assert status == 503
        assert "was removed or moved away while it was in use" in body["detail"]
        assert server.request("GET", "/readyz")[0] == 503
        assert server.decide(events[3])[0] == 503
        output = server.stop()
    assert server.process.returncode != 0
    assert "put back a copy" in output
    assert not state.exists()
    with pytest.raises(ConfigError, match="make a new one"):
        service_at(small_simulation, state)


@pytest.mark.parametrize("what", ["", "-wal"], ids=["file", "log"])
@pytest.mark.parametrize("how", ["removed", "cut"])
def test_a_commit_into_a_file_that_is_gone_returns_no_decision(
    small_simulation: SmallSimulation, events: list[bytes], tmp_path: Path, what: str, how: str
) -> None:
    state = tmp_path / "s.db"
    service = open_service(small_simulation.bundle, state)[1]
    for event in events[:3]:
        time.sleep(2 * LOOK_EVERY_S)
        take(service, [event])
    time.sleep(2 * LOOK_EVERY_S)
    path = Path(f"{state}{what}")
    if how == "removed":
        path.unlink()
    else:
        # Not so short that a page in use is mapped behind its end: that is the death of a process.
        os.truncate(path, path.stat().st_size - 1)
    time.sleep(2 * LOOK_EVERY_S)
    with pytest.raises(RetryError, match=r"was removed or moved away|was cut short"):
        service.take(Batch([events[3]], None, 0), "test")
    assert service.state_file.failed
    with pytest.raises(RetryError):
        service.take(Batch([events[4]], None, 0), "test")
    service.state_file.close()


def test_a_marker_that_is_removed_while_serving_is_made_again(
    small_simulation: SmallSimulation, events: list[bytes], tmp_path: Path
) -> None:
    state = tmp_path / "s.db"
    service = open_service(small_simulation.bundle, state)[1]
    take(service, events[:3])
    marker_path(state).unlink()
    assert not service.state_file.look()
    service.close()
    again = service_at(small_simulation, state)
    assert again.state_file.seq == 3
    again.close()


def test_a_file_that_is_cut_short_or_empty_is_refused_with_why(
    small_simulation: SmallSimulation, events: list[bytes], tmp_path: Path
) -> None:
    state = tmp_path / "s.db"
    service = open_service(small_simulation.bundle, state)[1]
    take(service, events[:50])
    service.close()
    for size in (state.stat().st_size // 2, 60, 0):
        os.truncate(state, size)
        with pytest.raises(
            ConfigError,
            match=r"was cut short, at least [\d,]+ bytes are gone. It and its log \(-wal\) are as",
        ):
            service_at(small_simulation, state)


@pytest.mark.parametrize("kept", [0.0, 0.001, 0.1, 0.5, 0.9])
def test_a_refused_start_leaves_the_log_of_a_file_that_is_cut_short_as_it_was(
    small_simulation: SmallSimulation,
    events: list[bytes],
    tmp_path: Path,
    kept: float,
    capsys: pytest.CaptureFixture[str],
) -> None:
    service = open_service(small_simulation.bundle, tmp_path / "s.db")[1]
    take(service, events[:60])
    whole = copied(tmp_path / "s.db", tmp_path / "whole")
    state = copied(tmp_path / "s.db", tmp_path / "cut")
    service.close()
    size = state.stat().st_size
    os.truncate(state, int(size * kept))
    files = {suffix: Path(f"{state}{suffix}").read_bytes() for suffix in FILES}
    arguments = ["run", "--source=-", "--plain", f"--bundle={small_simulation.bundle}", f"--state={state}"]
    for command in (
        arguments,
        [*arguments, "--accept-loss"],
        ["audit", "verify", f"--state={state}", "--plain"],
    ):
        if kept and command[0] == "audit":
            continue
        assert main(command) == 2
        assert "cut short" in capsys.readouterr().err
        assert {suffix: Path(f"{state}{suffix}").read_bytes() for suffix in FILES} == files
    # With what was cut off put back, nothing is missing.
    shutil.copy(whole, state)
    again = service_at(small_simulation, state)
    assert again.state_file.seq == 60
    again.close()


def test_pages_that_only_the_log_has_are_not_missed(
    small_simulation: SmallSimulation, events: list[bytes], tmp_path: Path
) -> None:
    """A kill amid a checkpoint leaves a file whose header is ahead of its length."""
    service = open_service(small_simulation.bundle, tmp_path / "s.db")[1]
    take(service, events[:60])
    with closing(sqlite3.connect(tmp_path / "s.db")) as db:
        db.execute("PRAGMA wal_checkpoint(PASSIVE)")
    state = copied(tmp_path / "s.db", tmp_path / "copy")
    service.close()
    log = pages_of_log(Path(f"{state}-wal"))
    pages = state.stat().st_size // 4096
    last = pages
    while last in log:
        last -= 1
    assert last < pages
    for page in range(last, pages):
        cut = copied(state, tmp_path / f"cut{page}")
        os.truncate(cut, page * 4096)
        again = service_at(small_simulation, cut)
        assert again.state_file.seq == 60
        again.close()


@pytest.mark.parametrize("content", [b"transaction_id,amount\n1,2\n" * 9, b"SQLite format 2" * 9])
def test_what_is_no_database_is_refused_as_that(
    small_simulation: SmallSimulation, tmp_path: Path, content: bytes
) -> None:
    state = tmp_path / "s.db"
    state.write_bytes(content)
    with pytest.raises(ConfigError, match="is no state file, and no database at all; name another"):
        service_at(small_simulation, state)
    assert state.read_bytes() == content


def test_a_server_whose_file_is_cut_under_it_ends_or_reports_it_and_so_does_the_next_start(
    small_simulation: SmallSimulation, events: list[bytes], tmp_path: Path
) -> None:
    state = tmp_path / "s.db"
    history_path = short_history(small_simulation, tmp_path / "history.parquet")
    with served(small_simulation, state, f"--history={history_path}") as server:
        assert server.decide(events[0])[0] == 200
        os.truncate(state, 8192)
        try:
            until(lambda: server.request("GET", "/readyz")[0] == 503)
        except OSError:
            assert server.process.wait(TIMEOUT_S) == -signal.SIGBUS
        output = server.stop()
    assert "was cut short" in output or "Bus error" in output
    with pytest.raises(ConfigError, match=r"cut short|damaged"):
        service_at(small_simulation, state)


@pytest.mark.parametrize("command", ["run", "serve", "label"])
def test_what_serves_makes_no_state_file(
    small_simulation: SmallSimulation, tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    (tmp_path / "e.jsonl").write_bytes(b"")
    arguments = {
        "run": ["run", f"--source={tmp_path / 'e.jsonl'}"],
        "serve": ["serve", "--port=0"],
        "label": ["label", "import", str(tmp_path / "e.jsonl")],
    }[command]
    state = tmp_path / "none.db"
    assert main([*arguments, f"--bundle={small_simulation.bundle}", f"--state={state}", "--plain"]) == 2
    assert f"make a new one with `fraud state create {state}" in capsys.readouterr().err
    assert not list(tmp_path.glob("none.db*"))


def test_a_state_file_is_made_once_whole_or_not_at_all(
    small_simulation: SmallSimulation,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    capsys: pytest.CaptureFixture[str],
) -> None:
    state = tmp_path / "s.db"
    arguments = ["state", "create", str(state), "--plain", f"--bundle={small_simulation.bundle}"]
    command = [
        sys.executable,
        "-m",
        "fraud_detection.cli",
        *arguments,
        f"--history={small_simulation.history}",
    ]
    making = subprocess.Popen(command, stderr=subprocess.DEVNULL)  # noqa: S603 - ours
    until(lambda: Path(f"{state}.unfinished-wal").exists() or making.poll() is not None)
    assert main(arguments) == 2
    assert "another process is making this state file" in capsys.readouterr().err
    making.kill()
    making.wait()
    assert not state.exists()
    history_path = short_history(small_simulation, tmp_path_factory.mktemp("history") / "history.parquet")
    assert main([*arguments, f"--history={history_path}"]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["s.db", "s.db.marker"]
    service = service_at(small_simulation, state)
    assert service.state_file.meta("history", 0) > 100
    service.close()
    assert main(arguments) == 2
    assert "is there already" in capsys.readouterr().err


def test_the_files_of_all_workers_are_made_together(
    small_simulation: SmallSimulation, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = tmp_path / "s.db"
    arguments = [
        "serve",
        f"--bundle={small_simulation.bundle}",
        f"--state={state}",
        "--port=0",
        TWO,
        "--plain",
    ]
    assert main(arguments) == 2
    assert f"`fraud state create {state} --workers 2" in capsys.readouterr().err
    new_state(state, 2)
    worker_path(state, 1, 2).unlink()
    assert main(arguments) == 2
    assert "worker-1-of-2.db: is missing, and the other workers' files" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="is there already"):
        new_state(state, 2)


# A disk that fills, and a clock that jumps


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Return a folder on a disk of 6 MB; skip where nobody may mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(command, capture_output=True, check=False).returncode:  # noqa: S603 - ours
        pytest.skip("nobody may mount a small disk here; the limit of file sizes stands for it elsewhere")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)  # noqa: S603, S607 - ours


def fill(path: Path) -> None:
    with path.open("wb", buffering=0) as filler, suppress(OSError):
        while filler.write(bytes(4096)):
            pass


def test_a_disk_that_is_full_is_waited_for_and_no_decision_is_returned_meanwhile(
    small_simulation: SmallSimulation, events: list[bytes], small_disk: Path
) -> None:
    state = small_disk / "s.db"
    with served(small_simulation, state) as server:
        assert server.decide(events[0])[0] == 200
        fill(small_disk / "filler")
        responses = [server.decide(event)[0] for event in events[1:300]]
        first_refused = responses.index(503)
        assert set(responses[first_refused:]) == {503}
        assert server.request("GET", "/readyz")[0] == 503
        (small_disk / "filler").unlink()
        until(lambda: server.request("GET", "/readyz")[0] == 200)
        assert [server.decide(event)[0] for event in events[:300]] == [200] * 300
        server.stop()
    with closing(StateReader(state)) as record:
        assert record.rows("SELECT count(*), count(DISTINCT transaction_id) FROM all_decisions") == [
            (300, 300)
        ]


def test_a_clock_that_jumps_moves_nothing(
    small_simulation: SmallSimulation, events: list[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steady, jumping = (open_service(small_simulation.bundle, tmp_path / name)[1] for name in ("a.db", "b.db"))
    take(steady, events[:120])
    clock = time.time
    for start, clock_shift in ((0, 0.0), (40, 10 * 365 * 86_400.0), (80, -10 * 365 * 86_400.0)):
        monkeypatch.setattr(time, "time", lambda clock_shift=clock_shift: clock() + clock_shift)
        take(jumping, events[start : start + 40])
    stored_rows = [
        service.state_file.rows(
            "SELECT seq, transaction_id, action, score, features FROM decisions ORDER BY seq"
        )
        for service in (steady, jumping)
    ]
    assert stored_rows[0] == stored_rows[1]
    assert len(stored_rows[0]) == 120
    for service in (steady, jumping):
        service.close()


# For their owner alone


def modes(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): stat.filemode(path.lstat().st_mode)[1:]
        for path in sorted(folder.rglob("*"))
    }


def test_whatever_holds_payments_or_keys_is_for_its_owner_alone(
    small_simulation: SmallSimulation, events: list[bytes], tmp_path: Path
) -> None:
    (tmp_path / "e.jsonl").write_bytes(b"\n".join([*events[:5], b"{}"]) + b"\n")
    out = tmp_path / "new" / "folder"
    common = ["--plain", f"--bundle={small_simulation.bundle}"]
    before = os.umask(0)
    try:
        assert main(["state", "create", str(out / "s.db"), *common]) == 0
        assert main(["api-key", "till", f"--keys={out / 'keys' / 'keys.yaml'}"]) == 0
        given = [f"--source={tmp_path / 'e.jsonl'}", f"--out={out / 'written' / 'out.jsonl'}"]
        assert main(["run", f"--state={out / 's.db'}", *given, *common]) == 0
        arguments = [
            f"--registry={out / 'registry'}",
            f"--bundle={small_simulation.bundle}",
            "--reason=first",
        ]
        assert main(["release", "start", *arguments, "--plain"]) == 0
        audit = ["audit", "verify", f"--state={out / 's.db'}", f"--anchor={out / 'anchors'}", "--plain"]
        assert main(audit) == 0
        scored = [str(tmp_path / "e.jsonl"), f"--out={out / 'scored' / 'out.jsonl'}"]
        assert main(["score", *scored, *common]) == 0
        service = service_at(small_simulation, out / "s.db")
        found = modes(tmp_path / "new") | {"": stat.filemode((tmp_path / "new").stat().st_mode)[1:]}
        service.close()
    finally:
        os.umask(before)
    folders = {name for name in found if (tmp_path / "new" / name).is_dir()}
    assert {name: mode for name, mode in found.items() if name in folders and mode != "rwx------"} == {}
    assert {name: mode for name, mode in found.items() if name not in folders and mode != "rw-------"} == {}
    assert {f"folder/s.db{suffix}" for suffix in (*FILES, "-shm")} <= found.keys()


def test_a_file_that_is_there_keeps_the_rights_that_somebody_gave_it(
    small_simulation: SmallSimulation, tmp_path: Path
) -> None:
    state = made(tmp_path / "s.db")
    state.chmod(0o640)
    service = service_at(small_simulation, state)
    assert {mode for name, mode in modes(tmp_path).items() if "marker" not in name} == {"rw-r-----"}
    service.close()
