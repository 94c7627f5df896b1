"""What two workers know of a merchant is what one process would, through restarts without a goodbye."""

from __future__ import annotations

import heapq
import random
import sqlite3
from array import array
from collections.abc import Iterator, Sequence
from contextlib import closing
from operator import attrgetter
from pathlib import Path

import msgspec
import pytest

from fraud_detection.adapters.files.event_sources import Batch
from fraud_detection.adapters.sqlite.connection import WAIT_FOR_LOCK_S
from fraud_detection.adapters.sqlite.event_log import LoggedEvent
from fraud_detection.adapters.sqlite.replication_log import ReplicationEntry, ReplicationLog
from fraud_detection.adapters.sqlite.state_file import StateFile
from fraud_detection.core.errors import RetryError
from fraud_detection.core.events import Transaction
from fraud_detection.core.features.profile import Profile
from fraud_detection.core.features.profile_cache import ProfileCache
from fraud_detection.core.features.replay import HistoricalPayment
from fraud_detection.core.parse import Parser
from fraud_detection.engine.engine import Engine
from fraud_detection.history.load import read_history
from fraud_detection.serving.create_state import new_state
from fraud_detection.serving.load_engine import load_engine
from fraud_detection.serving.reapply import reapply_event
from fraud_detection.serving.workers.ownership import Ownership, worker_path
from fraud_detection.serving.workers.replica import WorkerService, shared_profiles
from tests.conftest import SmallSimulation
from tests.states import open_service, opened, short_history

WORKERS = 2
HistoricalPayments = Sequence[HistoricalPayment]


@pytest.fixture(scope="module")
def engine(small_simulation: SmallSimulation) -> Engine:
    return load_engine(small_simulation.bundle)


@pytest.fixture(scope="module")
def events(small_simulation: SmallSimulation) -> list[bytes]:
    return stream(small_simulation, 100)


def stream(simulation: SmallSimulation, payments: int) -> list[bytes]:
    """Return payments and labels, without duplicates: each is sent once to its owner."""
    return simulation.events(payments, late_share=0.05, duplicate_share=0, malformed_share=0.01)


def open_workers(
    engine: Engine, state: Path, save_after: int = 200, wait_s: float = WAIT_FOR_LOCK_S
) -> list[WorkerService]:
    paths = [worker_path(state, worker, WORKERS) for worker in range(WORKERS)]
    services = []
    for worker, path in enumerate(paths):
        others = {one: StateFile(paths[one], reading=True) for one in range(WORKERS) if one != worker}
        services.append(WorkerService(engine, worker, opened(path, wait_s=wait_s), others, save_after))
    return services


def owner_of(ownership: Ownership, event: bytes, services: list[WorkerService]) -> int:
    route = ownership.route(event)
    if route.owner is not None:
        return route.owner
    known = [
        one
        for one, service in enumerate(services)
        if service.state_file.dedup_index.entities([str(route.transaction_id)])
    ]
    return known[0] if known else 0


def replicate_all(services: list[WorkerService]) -> None:
    while any(service.replicate(other_worker) for service in services for other_worker in service.others):
        pass


def contents(profile_cache: ProfileCache) -> list[dict[str, object]]:
    """Return what each profile holds that is in memory, and of the stored ones too."""
    store = profile_cache.store
    assert isinstance(store, StateFile)
    results: list[dict[str, object]] = []
    for slot, index in enumerate(profile_cache.indexes):
        at_rest = {one for (one,) in store.rows("SELECT id FROM profiles WHERE entity = ?", (index,))}
        known = sorted(at_rest | profile_cache.profiles[slot].profiles.keys())
        results.append({one: content_of(profile_cache.profile(slot, _ids(index, one))) for one in known})
    return results


def content_of(profile: Profile | None) -> object:
    """Return what a profile holds, apart from the object, which changes with the next payments."""
    assert profile is not None
    return msgspec.msgpack.decode(profile.packed())


def _ids(index: int, transaction_id: str) -> tuple[str | None, ...]:
    return (*[None] * index, transaction_id, *[None] * (3 - index))


def alone(
    simulation: SmallSimulation, events: list[bytes], state: Path, history: HistoricalPayments = ()
) -> list[dict[str, object]]:
    """Return the profiles of one process that took all of it."""
    _, service = open_service(simulation.bundle, state)
    if history:
        service.preload_history(history, lambda: None)
    for event in events:
        service.take(Batch([event], None, 0), "test")
    profiles_found = contents(service.pipeline.profile_cache)
    service.close()
    return profiles_found


def assert_as_alone(services: list[WorkerService], wanted: list[dict[str, object]]) -> None:
    profiles_found = [contents(service.pipeline.profile_cache) for service in services]
    assert profiles_found[0][1:] == profiles_found[1][1:] == wanted[1:]
    assert profiles_found[0][0] | profiles_found[1][0] == wanted[0]
    assert not profiles_found[0][0].keys() & profiles_found[1][0].keys()


def recounted(engine: Engine, service: WorkerService) -> int:
    """Replay a worker's log with what it followed; every served value is recomputed bit-identically."""
    profile_cache, parser, count = ProfileCache(engine.extractor), Parser(engine.project.schema), 0
    shared = shared_profiles(engine, profile_cache)
    own: Iterator[LoggedEvent | ReplicationEntry] = service.state_file.since(0)
    for one in heapq.merge(own, service.log.since(0), key=attrgetter("seq")):
        profile_cache.sequence = shared.sequence = one.seq
        if isinstance(one, ReplicationEntry):
            for logged in service.others[one.worker].since(one.after):
                if logged.seq > one.until:
                    break
                reapply_event(shared, parser, logged)
        elif one.event is None:
            profile_cache.apply_label(
                one.ids, one.known_at, fraud=one.fraud, supersedes_known_at=one.supersedes_known_at
            )
        else:
            payment = parser.parse(one.event, one.transaction_id)
            assert isinstance(payment, Transaction)
            assert array("d", profile_cache.extract_and_update(payment)).tobytes() == one.features
            count += 1
    return count


@pytest.mark.parametrize(
    ("payments", "dies", "often"),
    [
        pytest.param(600, 0.0, 0, id="no death"),
        pytest.param(600, 0.01, 3, id="some deaths"),
        pytest.param(2_000, 0.05, 20, id="many deaths", marks=pytest.mark.long),
    ],
)
def test_shared_profiles_become_those_of_one_process(
    small_simulation: SmallSimulation,
    engine: Engine,
    tmp_path: Path,
    *,
    payments: int,
    dies: float,
    often: int,
) -> None:
    events = stream(small_simulation, payments)
    new_state(tmp_path / "state.db", WORKERS)
    services = open_workers(engine, tmp_path / "state.db")
    ownership, chance, deaths = Ownership(engine.project.schema, WORKERS), random.Random(5), 0
    for event in events:
        services[owner_of(ownership, event, services)].take(Batch([event], None, 0), "test")
        if chance.random() < 0.2:
            one = chance.choice(services)
            one.replicate(1 - one.worker)
        if chance.random() < dies:
            # Nothing more is saved: the next process recovers from the logs.
            for service in services:
                service.state_file.close()
                service.others[1 - service.worker].close()
            services, deaths = open_workers(engine, tmp_path / "state.db"), deaths + 1
    replicate_all(services)
    assert deaths > often if dies else deaths == 0
    assert_as_alone(services, alone(small_simulation, events, tmp_path / "alone.db"))
    assert sum(recounted(engine, service) for service in services) > 0.75 * payments
    assert (
        sum(service.state_file.rows("SELECT COUNT(*) FROM replication_log")[0][0] for service in services)
        > payments / 20
    )
    for service in services:
        service.close()


def test_what_a_loss_of_power_took_from_another_log_is_followed_anew(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "own.db")) as db:
        log = ReplicationLog(db)
        for part in (
            ReplicationEntry(1, 1, 0, 10),
            ReplicationEntry(2, 2, 0, 50),
            ReplicationEntry(3, 1, 10, 20),
            ReplicationEntry(4, 1, 20, 30),
        ):
            log.append(part)
        log.cut_off(1, 15)
        log.cut_off(2, 50)
        assert [log.reached(worker) for worker in (1, 2, 3)] == [15, 50, 0]
        # The parts that are left read nothing behind the cut a second time.
        read = [
            number
            for part in log.since(1)
            if part.worker == 1
            for number in range(part.after + 1, part.until + 1)
        ]
        assert read == list(range(1, 16))


def test_a_part_that_cannot_be_written_is_ingested_later(
    engine: Engine, events: list[bytes], tmp_path: Path
) -> None:
    new_state(tmp_path / "state.db", WORKERS)
    services = open_workers(engine, tmp_path / "state.db", wait_s=0.01)
    ownership = Ownership(engine.project.schema, WORKERS)
    first = next(event for event in events if ownership.route(event).owner == 0)
    services[0].take(Batch([first], None, 0), "test")
    with closing(sqlite3.connect(worker_path(tmp_path / "state.db", 1, WORKERS), isolation_level=None)) as db:
        db.execute("BEGIN IMMEDIATE")
        with pytest.raises(RetryError, match="busy"):
            services[1].replicate(0)
        db.execute("ROLLBACK")
    assert (services[1].state_file.seq, services[1].pipeline.profile_cache.size()) == (0, 0)
    assert services[1].replicate(0) == [1]
    assert services[1].replicate(0) == []
    shared = sum(one in first.decode() for one in ("device_id", "merchant_id", "terminal_id"))
    shared -= first.count(b'_id":null')
    assert (services[1].state_file.seq, services[1].pipeline.profile_cache.size()) == (1, shared)
    for service in services:
        service.close()


def test_history_and_its_labels_to_come_move_shared_profiles_as_in_one_process(
    small_simulation: SmallSimulation, engine: Engine, tmp_path: Path
) -> None:
    events = small_simulation.events(600, labels="none", late_share=0, duplicate_share=0, malformed_share=0)
    history = short_history(small_simulation, tmp_path / "history.parquet")
    historical_payments = read_history(small_simulation.project, history, lambda *_: None).payments
    new_state(tmp_path / "state.db", WORKERS)
    services, ownership = (
        open_workers(engine, tmp_path / "state.db"),
        Ownership(engine.project.schema, WORKERS),
    )
    # In the end one worker hears of the time by the other's payments alone.
    events = [event for index, event in enumerate(events) if index < 300 or ownership.route(event).owner == 0]
    for service in services:
        service.preload_own_history(historical_payments, ownership)
    pending = sum(len(service.pipeline.pending_labels) for service in services)
    for index, event in enumerate(events):
        services[owner_of(ownership, event, services)].take(Batch([event], None, 0), "test")
        if index % 50 == 0:
            replicate_all(services)
    replicate_all(services)
    assert sum(len(service.pipeline.pending_labels) for service in services) < pending
    assert_as_alone(services, alone(small_simulation, events, tmp_path / "alone.db", historical_payments))
    for service in services:
        service.close()
