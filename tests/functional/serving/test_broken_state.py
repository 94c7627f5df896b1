"""A state file that is damaged or cannot be written: everybody is told, nobody waits, nothing gets worse."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from fraud_detection.adapters.files.event_sources import Batch
from fraud_detection.adapters.sqlite.state_guard import copy_state
from fraud_detection.cli.main import main
from fraud_detection.core.errors import RetryError
from fraud_detection.serving.create_state import new_state
from fraud_detection.serving.http.batcher import RequestBatcher
from fraud_detection.serving.http.health import TRY_EVERY_S, BrokenError
from fraud_detection.serving.load_engine import load_engine
from fraud_detection.serving.workers.ownership import Ownership, worker_path
from tests.busy_clock import BusyClock
from tests.conftest import SmallSimulation
from tests.functional.http.test_connection import responses
from tests.functional.http.test_service import TIMEOUT_S, Served, served
from tests.functional.workers.test_workers import TWO, WORKERS, children, http_clients, until
from tests.states import made, open_service, opened, short_history

CALLERS = 8
PROFILES = "sqlite_autoindex_profiles_1"
"""The index in which a payment's profiles are looked up, and nothing before the first payment."""


@pytest.fixture(scope="module")
def events(small_simulation: SmallSimulation) -> list[bytes]:
    return small_simulation.events(200, labels="none", late_share=0, duplicate_share=0, malformed_share=0)


@pytest.fixture(scope="module")
def with_history(small_simulation: SmallSimulation, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a state file, well closed, that has taken history in and decided nothing."""
    folder = tmp_path_factory.mktemp("with-history")
    history_path = short_history(small_simulation, folder / "history.parquet")
    new_state(folder / "state.db", 1, load_engine(small_simulation.bundle), history_path)
    return folder / "state.db"


def damage(state: Path, table: str) -> None:
    """Overwrite the page at which a table or an index begins, as a broken disk might."""
    with closing(sqlite3.connect(state)) as db:
        size = db.execute("PRAGMA page_size").fetchone()[0]
        root = db.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (table,)).fetchone()[0]
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with state.open("r+b") as file:
        file.seek((root - 1) * size)
        file.write(b"\xff" * size)


def profiles(state: Path) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(state)) as db:
        return db.execute("SELECT entity, id, content FROM profiles NOT INDEXED ORDER BY number").fetchall()


def ended(server: Served) -> int:
    return server.process.wait(TIMEOUT_S)


def request_at_once(server: Served, events: list[bytes]) -> Iterator[tuple[int, dict[str, str], bytes]]:
    """Yield the answers to payments that are all on their way before the first is answered."""
    with ExitStack() as stack:
        address = ("127.0.0.1", server.port)
        connections = [
            stack.enter_context(closing(socket.create_connection(address, TIMEOUT_S))) for _ in events
        ]
        for connection in connections:
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            assert responses(connection.recv(1 << 16))[0][0] == 200
        for connection, event in zip(connections, events, strict=True):
            head = b"POST /v1/decisions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(event)
            connection.sendall(head + event)
        for connection in connections:
            yield responses(connection.recv(1 << 16))[0]


def test_a_damaged_file_fails_every_waiting_request_and_ends_the_process(
    small_simulation: SmallSimulation, events: list[bytes], with_history: Path, tmp_path: Path
) -> None:
    state = copy_state(with_history, tmp_path / "state.db")
    damage(state, PROFILES)
    stored_profiles = profiles(state)
    with served(small_simulation, state) as server:
        with BusyClock() as clock:
            for status, headers, body in request_at_once(server, events[:CALLERS]):
                assert (status, headers["retry-after"]) == (503, "1")
                assert "met an error and ends" in json.loads(body)["detail"]
            assert clock.seconds() < 3
        assert ended(server) != 0
        wait_for_message = server.stop()
    assert wait_for_message.count("is damaged (database disk image is malformed)") == 1
    assert ".recover" in wait_for_message
    assert "ended by an error; it stands above" in wait_for_message
    assert profiles(state) == stored_profiles
    # What is said to do is enough.
    copy_state(with_history, state)
    _, service = open_service(small_simulation.bundle, state)
    service.take(Batch(events[:CALLERS], None, 0), "test")
    assert service.tally.decided == CALLERS
    service.close()


@pytest.mark.parametrize("table", ["history", "decisions", "meta", "journal"])
def test_a_file_that_is_damaged_where_a_start_reads_it_is_refused_with_what_to_do(
    small_simulation: SmallSimulation,
    with_history: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    table: str,
) -> None:
    state = copy_state(with_history, tmp_path / "state.db")
    damage(state, table)
    arguments = ["serve", f"--bundle={small_simulation.bundle}", f"--state={state}", "--port=0", "--plain"]
    assert main(arguments) == 2
    wait_for_message = capsys.readouterr().err
    assert f"{state}: is damaged (database disk image is malformed). Put a copy back" in wait_for_message
    assert "Traceback" not in wait_for_message


def test_a_background_stream_that_meets_a_damaged_file_ends_the_process(
    small_simulation: SmallSimulation, events: list[bytes], with_history: Path, tmp_path: Path
) -> None:
    state, source = copy_state(with_history, tmp_path / "state.db"), tmp_path / "events.jsonl"
    damage(state, PROFILES)
    source.write_bytes(b"\n".join(events) + b"\n")
    server = Served(small_simulation, state, f"--source={source}")
    assert ended(server) != 0
    assert server.stop().count("is damaged (database disk image is malformed)") == 1


def limit_files(pid: int, most: int) -> None:
    """Let a process and its workers write no file beyond a size: to SQLite what a read-only disk is, too."""
    for one in (pid, *children(pid)):
        hard = resource.prlimit(one, resource.RLIMIT_FSIZE)[1]
        resource.prlimit(one, resource.RLIMIT_FSIZE, (most, hard))


@pytest.mark.parametrize(
    ("more", "lasts_s"),
    [
        pytest.param((), 2 * TRY_EVERY_S, id="one"),
        # Longer than anything here waits before it ends or starts something again.
        pytest.param((), 11, id="one, for long", marks=pytest.mark.long),
        pytest.param((TWO,), 11, id="workers", marks=pytest.mark.long),
    ],
)
def test_a_disk_that_cannot_be_written_is_waited_for_however_long_it_lasts(
    small_simulation: SmallSimulation,
    events: list[bytes],
    tmp_path: Path,
    more: tuple[str, ...],
    lasts_s: float,
) -> None:
    with served(small_simulation, tmp_path / "state.db", *more) as server:
        decided = [server.decide(event)[1] for event in events[:20]]
        serving = children(server.process.pid)
        limit_files(server.process.pid, 1)
        for event in events[20:40]:
            status, problem, headers = server.decide(event)
            assert (status, headers["retry-after"]) == (503, "1")
            assert "disk I/O error" in problem["detail"]
        until(lambda: not ready(server))
        time.sleep(lasts_s)
        assert (server.process.poll(), children(server.process.pid)) == (None, serving)
        assert not ready(server)
        # Each connection may lead to another worker; who decided it can tell, whoever is clients.
        with http_clients(server.port, 8) as clients:
            path = f"/v1/decisions/{decided[0]['transaction_id']}"
            assert [client.request("GET", path)[0] for client in clients] == [200] * 8
        limit_files(server.process.pid, resource.RLIM_INFINITY)
        # A balancer that looks at this sends nothing meanwhile.
        until(lambda: ready(server))
        assert [server.decide(event)[1] for event in events[:20]] == [
            body | {"duplicate": True} for body in decided
        ]
        assert {server.decide(event)[0] for event in events[20:60]} == {200}
        wait_for_message = server.stop()
    assert server.process.returncode == 0
    writers = len(serving) or 1
    assert wait_for_message.count("cannot be read or written (disk I/O error, SQLITE_IOERR_WRITE)") == writers
    assert wait_for_message.count("can be written again") == writers


def ready(server: Served) -> bool:
    """Return whether all say ready; a connection is of one worker, so several are made."""
    for _ in range(12):
        server._connection.close()
        if server.request("GET", "/readyz")[0] != 200:
            return False
    return True


@pytest.fixture
def failing_disk(tmp_path: Path) -> Iterator[Path]:
    """Return a folder on a disk that can be made to fail; skip where nobody may mount one."""
    image, folder = tmp_path / "image", tmp_path / "disk"
    folder.mkdir()
    with image.open("wb") as file:
        file.truncate(1 << 26)
    if os.geteuid() or shutil.which("mkfs.ext4") is None or not mounted(image, folder, made=True):
        pytest.skip("nobody may mount a disk here; the limit of file sizes stands for it elsewhere")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)  # noqa: S603, S607 - ours


def mounted(image: Path, folder: Path, *, made: bool = False) -> bool:
    commands = [["mkfs.ext4", "-q", "-F", str(image)]] if made else []
    commands.append(["mount", "-o", "loop,errors=remount-ro", str(image), str(folder)])
    runs = (subprocess.run(command, capture_output=True, check=False) for command in commands)  # noqa: S603
    return not any(run.returncode for run in runs)


def make_read_only(folder: Path) -> None:
    """Let the system find an error on the disk: it is read-only from then on, for open files too."""
    device = folder.stat().st_dev
    name = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}").resolve().name
    Path(f"/sys/fs/ext4/{name}/trigger_fs_error").write_text("a test")


@pytest.mark.parametrize("more", [(), pytest.param((TWO,), marks=pytest.mark.long)], ids=["one", "workers"])
def test_a_disk_that_becomes_read_only_loses_no_decision(
    small_simulation: SmallSimulation, events: list[bytes], failing_disk: Path, more: tuple[str, ...]
) -> None:
    state = failing_disk / "state.db"
    # What the system had not written yet is gone then, as with a loss of power.
    arguments = ("--synchronous=full", *more)
    with served(small_simulation, state, *arguments) as server:
        decided = [server.decide(event)[1] for event in events[:20]]
        make_read_only(failing_disk)
        assert {server.decide(event)[0] for event in events[20:40]} == {503}
        until(lambda: not ready(server))
        assert server.process.poll() is None
        assert "Look at its disk (read-only" in server.stop()
    subprocess.run(["umount", str(failing_disk)], check=True)  # noqa: S603, S607 - ours
    assert mounted(failing_disk.with_name("image"), failing_disk)
    with served(small_simulation, state, *arguments) as again:
        assert [again.decide(event)[1] for event in events[:20]] == [
            body | {"duplicate": True} for body in decided
        ]
        again.stop()


def test_a_run_waits_for_its_disk_and_ends_when_it_is_stopped(
    small_simulation: SmallSimulation, events: list[bytes], tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "fraud_detection.cli", "run", "--source=-", "--out=-", "--plain"]
    command += [f"--bundle={small_simulation.bundle}", f"--state={made(tmp_path / 'state.db')}"]
    with subprocess.Popen(  # noqa: S603 - ours
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as run:
        assert run.stdin is not None
        assert run.stdout is not None
        assert run.stderr is not None

        def send(some: list[bytes]) -> None:
            run.stdin.write(b"\n".join(some) + b"\n")  # type: ignore[union-attr]
            run.stdin.flush()  # type: ignore[union-attr]

        def shown(count: int) -> list[str]:
            return [json.loads(run.stdout.readline())["transaction_id"] for _ in range(count)]  # type: ignore[union-attr]

        def wait_for_message(message: bytes) -> None:
            while message not in run.stderr.readline():  # type: ignore[union-attr]
                assert run.poll() is None

        send(events[:20])
        ids = shown(20)
        limit_files(run.pid, 1)
        send(events[20:40])
        wait_for_message(b"nothing more is decided until it can be written")
        send(events[40:60])
        limit_files(run.pid, resource.RLIM_INFINITY)
        wait_for_message(b"can be written again")
        ids += shown(40)
        assert ids == [json.loads(event)["transaction_id"] for event in events[:60]]
        limit_files(run.pid, 1)
        send(events[60:80])
        wait_for_message(b"nothing more is decided until it can be written")
        run.send_signal(signal.SIGTERM)
        assert run.wait(TIMEOUT_S) == 2
        assert run.stdout.read() == b""
        last_output = run.stderr.read()
    assert b"Traceback" not in last_output
    with closing(opened(tmp_path / "state.db")) as state_file:
        assert state_file.rows("SELECT count(*), count(DISTINCT transaction_id) FROM decisions") == [(60, 60)]


def test_a_worker_whose_file_is_damaged_reports_it_and_the_others_go_on(
    small_simulation: SmallSimulation, events: list[bytes], tmp_path: Path
) -> None:
    state = tmp_path / "state.db"
    ownership = Ownership(load_engine(small_simulation.bundle).project.schema, WORKERS)
    made(state, WORKERS)
    # Read for a label, and not at the start, which would end the worker again and again.
    damage(worker_path(state, 0, WORKERS), "labels_payment")
    theirs = next(json.loads(event) for event in events if ownership.route(event).owner == 0)
    own = [event for event in events if ownership.route(event).owner == 1]
    label = {one: theirs[one] for one in ("transaction_id", "card_id")}
    label |= {"is_fraud": 1, "label_known_at": theirs["event_time"]}
    with served(small_simulation, state, TWO) as server:
        before = set(children(server.process.pid))
        with BusyClock() as clock:
            status, body, _ = server.request("POST", "/v1/labels", json.dumps(label).encode())
            assert (status, clock.seconds() < 3) == (503, True)
        assert "met an error and ends" in body["detail"] or "does not respond" in body["detail"]
        until(lambda: len(set(children(server.process.pid)) - before) == 1)
        server.wait()
        assert [server.decide(event)[0] for event in own[:10]] == [200] * 10
        wait_for_message = server.stop()
    assert (
        f"{worker_path(state, 0, WORKERS)}: is damaged (database disk image is malformed)" in wait_for_message
    )
    assert f"{worker_path(state, 1, WORKERS)}: is damaged" not in wait_for_message
    assert "worker 0: ended by an error; it stands above" in wait_for_message
    assert "worker 0 ended with code" in wait_for_message


def test_a_program_error_fails_every_request_and_nothing_of_the_batch_is_saved(
    small_simulation: SmallSimulation, events: list[bytes], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _, embedded = open_service(small_simulation.bundle, tmp_path / "state.db")
    requests = RequestBatcher(embedded)

    def broken(*_: object) -> None:
        raise ZeroDivisionError

    async def request() -> None:
        await requests.submit(events[:3])
        embedded.take = broken  # type: ignore[method-assign, assignment]
        waiting = [requests.submit([event]) for event in events[3:300]]
        for one in waiting:
            with pytest.raises(RetryError, match="met an error and ends"):
                await asyncio.wait_for(one, TIMEOUT_S)
        with pytest.raises(RetryError, match="met an error and ends"):
            requests.submit(events[:1])

    asyncio.run(request())
    with pytest.raises(BrokenError, match="ended by an error"):
        requests.close()
    (record,) = [one for one in caplog.records if one.levelname == "CRITICAL"]
    assert record.exc_info is not None
    assert record.exc_info[0] is ZeroDivisionError
    assert profiles(tmp_path / "state.db") == []
