"""A worker that hangs: stopped by a signal, it holds its port, its lines and its file, and answers nobody."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import NamedTuple

import pytest

from fraud_detection.adapters.ipc.rpc import SILENT_AFTER_S
from fraud_detection.serving.http.api_keys import add_key
from fraud_detection.serving.load_engine import load_engine
from fraud_detection.serving.workers.ownership import Ownership
from fraud_detection.serving.workers.supervisor import HANGS_AFTER_S
from tests.busy_clock import BusyClock
from tests.conftest import SmallSimulation
from tests.functional.http.test_service import Served, served
from tests.functional.workers.test_workers import (
    TWO,
    WORKERS,
    HttpClient,
    alive,
    bearer,
    children,
    metrics,
    total,
    until,
)

RATE = 40.0
SLACK_S = 3.0
"""For a machine that has other things to do."""


def number_of(pid: int) -> int:
    """Return which worker a process is, as it was configured."""
    return int(json.loads(Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[-2])["worker"])


@contextmanager
def clients_by_worker(server: Served, **headers: str) -> Iterator[list[HttpClient]]:
    """Open a line to each worker; the metrics tell whom a new one has reached."""
    by_name: dict[int, HttpClient] = {}
    with ExitStack() as stack:
        while len(by_name) < WORKERS:
            client = stack.enter_context(closing(HttpClient(server.port)))
            before = _not_found(server, **headers)
            assert client.request("GET", "/no-such-path")[0] == 404
            after = _not_found(server, **headers)
            (reached,) = [worker for worker in range(WORKERS) if after[worker] > before[worker]]
            by_name.setdefault(reached, client)
        yield [by_name[worker] for worker in range(WORKERS)]


def _not_found(server: Served, **headers: str) -> list[float]:
    counted, name = metrics(server, **headers), 'fraud_requests_total{{worker="{}",status="404"}}'
    return [counted.get(name.format(worker), 0.0) for worker in range(WORKERS)]


@pytest.fixture(scope="module")
def events(small_simulation: SmallSimulation) -> list[bytes]:
    return small_simulation.events(300, labels="none", late_share=0, duplicate_share=0, malformed_share=0)


def test_a_worker_that_hangs_is_logged_ended_and_restarted(
    small_simulation: SmallSimulation, events: list[bytes], tmp_path: Path
) -> None:
    ownership = Ownership(load_engine(small_simulation.bundle).project.schema, WORKERS)
    with served(small_simulation, tmp_path / "state.db", TWO) as server, clients_by_worker(server) as clients:
        victim = children(server.process.pid)[0]
        hangs = number_of(victim)
        theirs = [event for event in events if ownership.route(event).owner == hangs]
        own = [event for event in events if ownership.route(event).owner != hangs]
        responses = [clients[1 - hangs].decide(event) for event in theirs[:20]]
        assert {status for status, _, _ in responses} == {200}
        ended: list[float] = []

        def wait_in_vain() -> None:
            with pytest.raises((OSError, HTTPException)):
                clients[hangs].decide(own[0])
            ended.append(time.monotonic())

        stopped_at = time.monotonic()
        os.kill(victim, signal.SIGSTOP)
        waiting = threading.Thread(target=wait_in_vain)
        waiting.start()
        while (reply := clients[1 - hangs].request("GET", "/readyz"))[0] == 200:
            assert time.monotonic() - stopped_at < SILENT_AFTER_S + SLACK_S
            time.sleep(0.05)
        # It is said while the process still hangs, and nobody else waits for it.
        assert alive(victim)
        assert reply[:2] == (503, {"status": "not ready", "workers_unavailable": [hangs]})
        with BusyClock() as clock:
            status, body, headers = clients[1 - hangs].decide(theirs[20])
            assert (status, headers["retry-after"]) == (503, "1")
            assert f"worker {hangs} does not respond" in body["detail"]
            assert clients[1 - hangs].decide(own[1])[0] == 200
            assert clock.seconds() < 1
        until(lambda: not alive(victim))
        waiting.join()
        assert ended[0] - stopped_at < HANGS_AFTER_S + SLACK_S
        until(lambda: clients[1 - hangs].request("GET", "/readyz")[0] == 200)
        again = [clients[1 - hangs].decide(event)[:2] for event in theirs[:20]]
        assert again == [(200, body | {"duplicate": True}) for _, body, _ in responses]
        assert clients[1 - hangs].decide(theirs[20])[0] == 200
        output = server.stop()
    assert server.process.returncode == 0
    assert f"worker {hangs} has sent no heartbeat for 5 s: it is killed" in output


class Keyed(NamedTuple):
    """Workers, and the headers of a caller with a rate and of one who may look."""

    one: Served
    headers: dict[str, str]
    free: dict[str, str]


@pytest.fixture(scope="module")
def keyed(small_simulation: SmallSimulation, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keyed]:
    folder = tmp_path_factory.mktemp("keyed")
    keys = folder / "keys.yaml"
    headers = bearer(add_key(keys, "till", ("decide",), RATE))
    free = bearer(add_key(keys, "office", ("operate",), None))
    with served(small_simulation, folder / "state.db", TWO, f"--keys={keys}") as server:
        yield Keyed(server, headers, free)
        server.stop()
    assert server.process.returncode == 0


def test_a_pause_of_the_process_that_starts_workers_costs_none_of_them_its_life(
    keyed: Keyed, events: list[bytes]
) -> None:
    workers = children(keyed.one.process.pid)
    keyed.one.process.send_signal(signal.SIGSTOP)
    time.sleep(HANGS_AFTER_S + 1)
    assert keyed.one.request("POST", "/v1/decisions", events[0], **keyed.headers)[0] == 200
    keyed.one.process.send_signal(signal.SIGCONT)
    time.sleep(1)
    assert children(keyed.one.process.pid) == workers


def test_a_rate_whose_keeper_is_unavailable_is_counted_by_shares(
    small_simulation: SmallSimulation, events: list[bytes], keyed: Keyed
) -> None:
    one, headers, free = keyed.one, keyed.headers, keyed.free
    ownership = Ownership(load_engine(small_simulation.bundle).project.schema, WORKERS)
    home = ownership.worker_of("till")
    own = [event for event in events if ownership.route(event).owner != home]
    (keeper,) = [pid for pid in children(one.process.pid) if number_of(pid) == home]
    with clients_by_worker(one, **free) as clients:
        client = clients[1 - home]
        os.kill(keeper, signal.SIGSTOP)
        until(lambda: client.request("GET", "/readyz")[0] == 503)
        start = time.monotonic()
        reply = [client.request("POST", "/v1/decisions", event, **headers) for event in own[:60]]
        share = RATE / WORKERS * (1 + time.monotonic() - start)
        assert client.request("GET", "/readyz")[1] == {"status": "not ready", "workers_unavailable": [home]}
        statuses = [status for status, _, _ in reply]
        assert set(statuses) == {200, 429}
        assert RATE / WORKERS <= statuses.count(200) <= share + 1
        until(lambda: client.request("GET", "/readyz")[0] == 200)
        # The whole rate holds again, and what was counted meanwhile is merged.
        one._connection.close()
        assert total(one, "fraud_rate_shared_events_total", **free) == 60
        time.sleep(1)
        again = [client.request("POST", "/v1/decisions", event, **headers)[0] for event in own[60 : 60 + 30]]
        assert again == [200] * 30
