"""One id, cards of two workers: however the payments come, one is decided and the other is a conflict."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fraud_detection.adapters.files.event_sources import Batch
from fraud_detection.adapters.sqlite import state_file as state_file_module
from fraud_detection.adapters.sqlite.dedup.shared_ids import SharedIds, shared_memory
from fraud_detection.adapters.sqlite.state_file import StateFile
from fraud_detection.serving.create_state import new_state
from fraud_detection.serving.load_engine import load_engine
from fraud_detection.serving.workers.claims import Claims
from fraud_detection.serving.workers.ownership import Ownership, worker_path
from fraud_detection.serving.workers.replica import WorkerService
from tests.conftest import SmallSimulation
from tests.functional.http.test_service import Served, served
from tests.functional.workers.test_workers import (
    TWO,
    WORKERS,
    HttpClient,
    alive,
    children,
    http_clients,
    stored_decisions,
    total,
    until,
)

DIFFERENT = "conflict: transaction_id already decided with other content: card_id differs"
RACES = 60


@pytest.fixture(scope="module")
def cards(small_simulation: SmallSimulation) -> list[str]:
    """Return a card of each worker."""
    ownership = Ownership(load_engine(small_simulation.bundle).project.schema, WORKERS)
    of = {ownership.worker_of(f"c{number}"): f"c{number}" for number in range(20)}
    return [of[worker] for worker in range(WORKERS)]


@pytest.fixture(scope="module")
def server(small_simulation: SmallSimulation, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(small_simulation, tmp_path_factory.mktemp("claims") / "state.db", TWO) as one:
        yield one


def payment(payment_id: str, card: str, **more: Any) -> bytes:  # noqa: ANN401
    event = {
        "transaction_id": payment_id,
        "event_time": "2026-03-02T10:00:00Z",
        "amount": 1.0,
        "card_id": card,
    }
    return json.dumps(event | {"merchant_id": "m1"} | more).encode()


def label(transaction_id: str, card: str) -> bytes:
    payload = {
        "transaction_id": transaction_id,
        "card_id": card,
        "is_fraud": 1,
        "label_known_at": "2026-03-03T10:00:00Z",
    }
    return json.dumps(payload).encode()


def test_the_second_card_is_refused_whichever_worker_gets_it_and_the_first_decision_stands(
    server: Served, cards: list[str]
) -> None:
    before = total(server, "fraud_conflicts_total")
    with http_clients(server.port, 6) as clients:
        for first in range(WORKERS):
            transaction_id, then = f"both-{first}", cards[1 - first]
            decided = clients[0].decide(payment(transaction_id, cards[first]))
            assert decided[0] == 200
            for client in clients:
                refused = client.decide(payment(transaction_id, then))
                assert (refused[0], refused[1]["record"]["reason"]) == (409, DIFFERENT)
            again = clients[1].decide(payment(transaction_id, cards[first]))[1]
            assert again == decided[1] | {"duplicate": True}
            assert clients[2].request("GET", f"/v1/decisions/{transaction_id}")[1] == decided[1]
            # Whatever card a label tells, it goes to the worker that has decided: there it comes again.
            assert clients[3].request("POST", "/v1/labels", label(transaction_id, then))[0] == 200
            assert (
                clients[4].request("POST", "/v1/labels", label(transaction_id, cards[first]))[1]["duplicate"]
                is True
            )
    assert total(server, "fraud_conflicts_total") == before + WORKERS * 6


def test_in_a_list_the_first_one_is_decided_and_labels_find_it(server: Served, cards: list[str]) -> None:
    for first in range(WORKERS):
        mine, other, transaction_id = cards[first], cards[1 - first], f"list-{first}"
        record = json.loads(label(transaction_id, other)) | {"type": "label"}
        events = [
            payment(transaction_id, mine),
            payment(transaction_id, other),
            json.dumps(record).encode(),
            payment(transaction_id, mine),
        ]
        events += [payment(f"{transaction_id}-next", other), payment(f"{transaction_id}-next", mine)]
        responses = server.decide(b"[" + b",".join(events) + b"]")[1]
        assert [response["type"] for response in responses] == [
            "decision",
            "conflict",
            "label",
            "decision",
            "decision",
            "conflict",
        ]
        assert responses[3] == responses[0] | {"duplicate": True}
        assert server.request("POST", "/v1/labels", label(transaction_id, mine))[1]["duplicate"] is True


def test_a_key_that_comes_again_with_another_card_is_a_conflict(server: Served, cards: list[str]) -> None:
    nameless = [payment("", card, transaction_id=None) for card in cards]
    first, second = (
        server.request("POST", "/v1/decisions", event, Idempotency_Key="one-key") for event in nameless
    )
    assert (first[0], second[0]) == (200, 409)
    assert second[1]["record"]["transaction_id"] == first[1]["transaction_id"]


def test_of_those_that_race_one_is_decided_also_when_a_worker_was_killed(
    server: Served, cards: list[str]
) -> None:
    statuses = race(server, cards)
    victim = children(server.process.pid)[0]
    os.kill(victim, signal.SIGKILL)
    until(lambda: victim not in children(server.process.pid))
    server.wait()
    assert_refused(server, statuses, cards)


@pytest.mark.long
def test_when_all_are_killed_and_start_again_each_id_stands_in_one_file(
    small_simulation: SmallSimulation, cards: list[str], tmp_path: Path
) -> None:
    state = tmp_path / "state.db"
    with served(small_simulation, state, TWO) as one:
        statuses = race(one, cards)
        workers = children(one.process.pid)
        one.stop(signal.SIGKILL)
        until(lambda: not any(alive(worker) for worker in workers))
    with served(small_simulation, state, TWO) as again:
        assert_refused(again, statuses, cards)
        assert again.decide(payment("new", cards[0]))[0] == 200
        again.stop()
    assert len(stored_decisions(state)) == RACES + 1


def race(one: Served, cards: list[str]) -> dict[tuple[str, int], int]:
    """Let all workers be asked for the same ids at the same time; return who had which answer."""
    statuses, router = dict[tuple[str, int], int](), threading.Barrier(WORKERS)

    def request(worker: int) -> None:
        client = HttpClient(one.port)
        for number in range(RACES):
            router.wait()
            statuses[f"race-{number}", worker] = client.decide(payment(f"race-{number}", cards[worker]))[0]
        client.close()

    racers = [threading.Thread(target=request, args=(worker,)) for worker in range(WORKERS)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join()
    for number in range(RACES):
        assert sorted(statuses[f"race-{number}", worker] for worker in range(WORKERS)) == [200, 409]
    return statuses


def assert_refused(one: Served, statuses: dict[tuple[str, int], int], cards: list[str]) -> None:
    """Whoever was refused is refused again, and the other has the answer that it had."""
    for (name, worker), status in list(statuses.items())[::7]:
        assert one.decide(payment(name, cards[worker]))[0] == status


def test_before_all_ids_of_a_file_are_seen_the_file_is_looked_into(
    small_simulation: SmallSimulation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, state = load_engine(small_simulation.bundle), tmp_path / "state.db"
    new_state(state, WORKERS)
    paths = [worker_path(state, worker, WORKERS) for worker in range(WORKERS)]
    events = small_simulation.events(60, labels="none", late_share=0, duplicate_share=0, malformed_share=0)
    before = WorkerService(engine, 1, StateFile(paths[1]), {})
    before.take(Batch(events, None, 0), "test")
    before.close()
    monkeypatch.setattr(state_file_module, "IDS_AT_START", 5)
    shared_ids = [SharedIds(shared_memory(worker)) for worker in range(WORKERS)]
    theirs = WorkerService(engine, 1, StateFile(paths[1], shared_ids=shared_ids[1]), {})
    mine = StateFile(paths[0], shared_ids=shared_ids[0])
    files = {1: StateFile(paths[1], reading=True)}
    claims = Claims(0, shared_ids, files, mine.dedup_index, lambda *_: pytest.fail("nobody is asked"))
    ids = [json.loads(event)["transaction_id"] for event in events]
    assert not shared_ids[1].is_complete()
    assert sum(shared_ids[1].may_hold(transaction_id) for transaction_id in ids) <= 6
    for transaction_id in ids:
        claim = claims.claim([transaction_id], set)
        assert claim is not None
        assert claim.held == {transaction_id: {1}}
    assert claims.claim(["new"], set) is None
    theirs._deferred_events = len(events)
    theirs.run_deferred_work()
    assert shared_ids[1].is_complete()
    assert all(shared_ids[1].may_hold(transaction_id) for transaction_id in ids)
    theirs.close()
    for state_file in (mine, *files.values()):
        state_file.close()
