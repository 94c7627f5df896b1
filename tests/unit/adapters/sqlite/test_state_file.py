"""The state file: a journal before the tables, which loses nothing and shows everything."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fraud_detection.adapters.files.event_sources import Batch
from fraud_detection.adapters.sqlite.output_file import find_decision
from fraud_detection.adapters.sqlite.state_file import StateFile
from fraud_detection.core.errors import RetryError
from fraud_detection.core.outcomes import Decided, Duplicate
from fraud_detection.serving.embedded.service import EmbeddedService
from tests.conftest import SmallSimulation
from tests.states import open_service, opened


def one_by_one(service: EmbeddedService, events: list[bytes], *, run_deferred_work: bool = False) -> None:
    for event in events:
        service.take(Batch([event], None, 0), "test")
        if run_deferred_work:
            service.run_deferred_work()


def in_tables(state: Path) -> list[tuple[Any, ...]]:
    with contextlib.closing(sqlite3.connect(state)) as db:
        return db.execute("SELECT * FROM decisions ORDER BY seq").fetchall()


@contextlib.contextmanager
def held(state: Path) -> Iterator[None]:
    """Hold the file, as another process would that writes to it."""
    with contextlib.closing(sqlite3.connect(state, isolation_level=None)) as db:
        db.execute("BEGIN IMMEDIATE")
        yield
        db.execute("ROLLBACK")


@pytest.fixture(scope="module")
def events(small_simulation: SmallSimulation) -> list[bytes]:
    return small_simulation.events(300, late_share=0.05, duplicate_share=0.05, malformed_share=0.05)


def impatient(simulation: SmallSimulation, state: Path) -> EmbeddedService:
    engine = open_service(simulation.bundle, state)
    engine[1].state_file.close()
    state_file = opened(state, wait_s=0.01)
    return EmbeddedService(engine[0].pipeline(state_file, state_file.dedup_index), state_file)


def test_the_tables_are_the_same_by_the_journal_and_without_it(
    small_simulation: SmallSimulation, events: list[bytes], tmp_path: Path
) -> None:
    singly, at_once = tmp_path / "singly.db", tmp_path / "at_once.db"
    service = open_service(small_simulation.bundle, singly)[1]
    one_by_one(service, events, run_deferred_work=True)
    service.close()
    service = open_service(small_simulation.bundle, at_once)[1]
    service.take(Batch(events, None, 0), "test")
    service.close()
    assert in_tables(singly) == in_tables(at_once)
    assert len(in_tables(singly)) > 200


def test_what_is_in_the_journal_alone_survives_a_kill_and_is_shown_to_readers(
    small_simulation: SmallSimulation, events: list[bytes], tmp_path: Path
) -> None:
    state = tmp_path / "state.db"
    service = open_service(small_simulation.bundle, state)[1]
    one_by_one(service, events[:100])
    # A label settles what is before it, so that it finds its payment.
    one_by_one(service, [event for event in events[100:130] if b"is_fraud" not in event])
    known = len(in_tables(state))
    reader = StateFile(state, reading=True)
    seen = [(logged.seq, logged.transaction_id, logged.fraud, logged.known_at) for logged in reader.since(0)]
    reader.close()
    expected = [
        (logged.seq, logged.transaction_id, logged.fraud, logged.known_at)
        for logged in service.state_file.since(0)
    ]
    assert seen == expected
    assert known < len({transaction_id for _, transaction_id, _, _ in seen})
    decided = service.tally.decided
    service.state_file.close()  # as a kill would leave it: nothing is settled, no profile saved
    again = open_service(small_simulation.bundle, state)[1]
    assert len(in_tables(state)) == decided
    outcomes = again.take(Batch(events[:130], None, 0), "test")
    assert decided > known
    assert not any(isinstance(outcome, Decided) for outcome in outcomes)
    again.close()


@pytest.mark.parametrize("batch_size", [*range(15, 35), 100])
def test_a_slot_that_was_used_before_repeats_nothing_and_hides_nothing(
    batch_size: int, small_simulation: SmallSimulation, events: list[bytes], tmp_path: Path
) -> None:
    state, at_once = tmp_path / "state.db", tmp_path / "at_once.db"
    for start in (0, batch_size):
        service = open_service(small_simulation.bundle, state)[1]
        one_by_one(service, events[start : start + batch_size], run_deferred_work=True)
        one_by_one(service, events[start + batch_size : start + batch_size + 3])
        reader = StateFile(state, reading=True)
        seen = list(reader.since(0))
        reader.close()
        service.state_file.close()  # as a kill would leave it
        flushed = opened(state)
        assert list(flushed.since(0)) == seen
        flushed.close()
    service = open_service(small_simulation.bundle, at_once)[1]
    service.take(Batch(events[: batch_size + 3], None, 0), "test")
    service.take(Batch(events[batch_size : 2 * batch_size + 3], None, 0), "test")
    service.close()
    assert in_tables(state) == in_tables(at_once)
    assert len(in_tables(state)) > batch_size


def test_a_payment_whose_commit_failed_is_decided_once_and_returned_when_it_is_retried(
    small_simulation: SmallSimulation, events: list[bytes], tmp_path: Path
) -> None:
    state = tmp_path / "state.db"
    service = impatient(small_simulation, state)
    one_by_one(service, events[:10])
    payment = next(event for event in events[10:] if b"label" not in event and b"card_id" in event)
    with held(state):
        for _ in range(2):
            with pytest.raises(RetryError, match="state file"):
                service.take(Batch([payment], None, 0), "test")
    (outcome,) = service.take(Batch([payment], None, 0), "test")
    assert isinstance(outcome, Duplicate)
    decision = find_decision(service.state_file, outcome.transaction_id)
    assert decision is not None
    one_by_one(service, events[10:])
    service.close()
    undisturbed = tmp_path / "undisturbed.db"
    service = open_service(small_simulation.bundle, undisturbed)[1]
    one_by_one(service, [*events[:10], payment, *events[10:]])
    service.close()
    # Numbers, and with them the hashes of the chain, are others.
    of = [row[1:-1] for row in in_tables(state)]
    assert of == [row[1:-1] for row in in_tables(undisturbed)]


def test_profiles_that_could_not_be_saved_are_saved_later(
    small_simulation: SmallSimulation, events: list[bytes], tmp_path: Path
) -> None:
    state = tmp_path / "state.db"
    service = impatient(small_simulation, state)
    service.save_after_events = 0
    one_by_one(service, events[:60])
    before = service.pipeline.profile_cache.oldest_unsaved_seq()
    with held(state), pytest.raises(RetryError):
        service.run_deferred_work()
    assert service.pipeline.profile_cache.oldest_unsaved_seq() == before
    service.state_file.flush()
    assert service.pipeline.profile_cache.save_changed_before(service.state_file.seq + 1) == set()
    assert service.pipeline.profile_cache.oldest_unsaved_seq() == service.state_file.seq + 1
    service.close()
