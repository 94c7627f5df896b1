"""Several workers decline together what one may: side by side, killed and started again."""

from __future__ import annotations

import os
import signal
from functools import partial
from http.client import HTTPException
from pathlib import Path
from random import Random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraud_detection.adapters.files.event_sources import Batch
from fraud_detection.adapters.ipc.shared_counters import SharedCounters
from fraud_detection.adapters.sqlite.state_file import StateFile
from fraud_detection.core.decide.decline_cap import BUCKETS, NOTHING, DeclineCap, merged
from fraud_detection.core.decision_settings import DeclineCapSettings
from fraud_detection.core.decoding import to_plain
from fraud_detection.core.outcomes import Decided
from fraud_detection.engine.engine import Engine
from fraud_detection.serving.create_state import new_state
from fraud_detection.serving.load_engine import load_engine
from fraud_detection.serving.workers.decline_cap import WorkerDeclineCap
from fraud_detection.serving.workers.ownership import Ownership, worker_path
from fraud_detection.serving.workers.replica import WorkerService
from tests.conftest import SmallSimulation
from tests.functional.aws_lambda.test_decline_cap import MAX_DECLINES, PAYMENTS, project_of, stream_of
from tests.functional.http.test_service import Served, served
from tests.functional.workers.test_workers import children, http_clients, until
from tests.states import opened

WORKERS = 3
MINUTE = 60_000
HOUR = DeclineCapSettings(share=0.1, count=15, min_payments=50)


@pytest.fixture(scope="module")
def engine(small_simulation: SmallSimulation) -> Engine:
    return load_engine(small_simulation.bundle, project_of(small_simulation))


@pytest.fixture(scope="module")
def events(small_simulation: SmallSimulation) -> list[bytes]:
    return stream_of(small_simulation, PAYMENTS)


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 600), st.booleans(), st.booleans()), max_size=150)
)
def test_workers_admit_what_a_recount_of_all_their_payments_would(
    tmp_path_factory: pytest.TempPathFactory, payments: list[tuple[int, int, bool, bool]]
) -> None:
    folder = tmp_path_factory.mktemp("counters")
    counters_of_all = [SharedCounters(folder, worker, WORKERS) for worker in range(WORKERS)]
    workers = [WorkerDeclineCap(HOUR, counters, NOTHING) for counters in counters_of_all]
    earlier_minutes: list[tuple[int, bool]] = []
    for worker, minute, wanted, restarted in payments:
        if restarted:
            workers[worker] = WorkerDeclineCap(
                HOUR, SharedCounters(folder, worker, WORKERS), workers[worker].counts()
            )
        recent = [declined for at, declined in earlier_minutes if minute - BUCKETS < at <= minute]
        expected = sum(recent) + 1 <= 0.1 * max(len(recent) + 1, 50) and sum(recent) < 15
        assert workers[worker].allows(minute * MINUTE) == expected
        workers[worker].add(minute * MINUTE, declined=wanted and expected)
        earlier_minutes.append((minute, wanted and expected))


@given(st.lists(st.tuples(st.integers(0, 10**6), st.booleans()), max_size=1_500))
def test_the_shared_counters_hold_what_a_worker_has_counted(
    tmp_path_factory: pytest.TempPathFactory, payments: list[tuple[int, bool]]
) -> None:
    """Whatever the times are: buckets come, and take the places of others."""
    folder = tmp_path_factory.mktemp("counters")
    mine, reader = SharedCounters(folder, 0, 2), SharedCounters(folder, 1, 2)
    worker, alone = WorkerDeclineCap(HOUR, mine, NOTHING), DeclineCap(HOUR)
    for minute, declined in payments:
        worker.add(minute * MINUTE, declined=declined)
        alone.add(minute * MINUTE, declined=declined)
    assert merged(reader.others(), worker.bucket_ms) == alone.counts().buckets


def services_of(engine: Engine, folder: Path) -> list[WorkerService]:
    return [service_of(engine, folder, worker) for worker in range(WORKERS)]


def service_of(engine: Engine, folder: Path, worker: int) -> WorkerService:
    paths = [worker_path(folder / "state.db", one, WORKERS) for one in range(WORKERS)]
    others = {one: StateFile(paths[one], reading=True) for one in range(WORKERS) if one != worker}
    counters = SharedCounters(folder, worker, WORKERS)
    return WorkerService(engine, worker, opened(paths[worker]), others, counters=counters)


@pytest.mark.parametrize("size", [1, 20])
def test_workers_that_take_turns_decline_no_more_than_one_through_restarts_of_one_and_of_all(
    engine: Engine, events: list[bytes], tmp_path: Path, size: int
) -> None:
    new_state(tmp_path / "state.db", WORKERS)
    services, ownership, chance = (
        services_of(engine, tmp_path),
        Ownership(engine.project.schema, WORKERS),
        Random(size),
    )
    declined = 0
    for at in range(0, PAYMENTS, size):
        if chance.random() < 10 * size / PAYMENTS:
            worker = chance.randrange(WORKERS)
            services[worker].close()
            services[worker] = service_of(engine, tmp_path, worker)
        if at == PAYMENTS // 2:
            for service in services:
                service.close()
            for left in tmp_path.glob("declines-*"):
                left.unlink()
            services = services_of(engine, tmp_path)
        batch = events[at : at + size]
        for worker, service in enumerate(services):
            own = [event for event in batch if ownership.route(event).owner == worker]
            outcomes = service.take(Batch(own, None, 0), "test")
            declined += sum(
                isinstance(outcome, Decided) and outcome.decision.action.label == "decline"
                for outcome in outcomes
            )
    assert declined == MAX_DECLINES
    for service in services:
        service.close()


@pytest.mark.long
def test_real_workers_decline_together_what_one_may_and_a_killed_one_forgets_nothing(
    small_simulation: SmallSimulation, events: list[bytes], tmp_path: Path
) -> None:
    project = tmp_path / "params.yaml"
    project.write_bytes(msgspec.json.encode(to_plain(project_of(small_simulation))))
    declined = 0
    with served(small_simulation, tmp_path / "state.db", "--workers=2", f"--config={project}") as server:
        for first in (0, 150):
            with http_clients(server.port, 6) as clients:
                for index, event in enumerate(events[first : first + 150]):
                    status, body, _ = clients[index % 6].decide(event)
                    assert status == 200
                    declined += body["action"] == "decline"
            killed = children(server.process.pid)[first > 0]
            os.kill(killed, signal.SIGKILL)
            until(partial(_ready_without, killed, server))
        assert declined == round(0.05 * 300)


def _ready_without(killed: int, server: Served) -> bool:
    """Return whether another process has taken the place of one, and all answer."""
    running = children(server.process.pid)
    if killed in running or len(running) < 2:
        return False
    try:
        with http_clients(server.port, 6) as clients:
            return all(client.request("GET", "/readyz")[0] == 200 for client in clients)
    except (OSError, HTTPException):
        return False
