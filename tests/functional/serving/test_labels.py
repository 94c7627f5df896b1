"""Labels of the embedded service: duplicate, corrected, early, historical, never before they were known."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fraud_detection.adapters.files.event_sources import Batch
from fraud_detection.core.decide.policy import Policy
from fraud_detection.core.decide.rules import compile_rules
from fraud_detection.core.events import Label, Transaction
from fraud_detection.core.features.extract import Extractor
from fraud_detection.core.features.profile_cache import ProfileCache
from fraud_detection.core.features.replay import HistoricalPayment, Replay
from fraud_detection.core.outcomes import Decided
from fraud_detection.core.parse import Parser
from fraud_detection.core.project_schema import IdSource
from fraud_detection.engine.decision_engine import DecisionStrategy
from fraud_detection.engine.pipeline import Pipeline
from fraud_detection.serving.embedded.service import EmbeddedService, store_replayed_history
from tests.states import opened
from tests.unit.core.features.sample_payments import DAY, PROJECT, START, payment


def open_service(state: Path) -> EmbeddedService:
    extractor = Extractor(PROJECT, {})
    names = [feature.name for feature in extractor.definitions]
    strategy = DecisionStrategy(Policy("test", 1.0, 1.0), compile_rules((), PROJECT.schema, names))
    state_file = opened(state)
    return EmbeddedService(
        Pipeline(Parser(SCHEMA), ProfileCache(extractor, state_file), strategy, state_file.dedup_index),
        state_file,
    )


SCHEMA = msgspec.structs.replace(PROJECT.schema, transaction_id=IdSource(field="id"))


def paid(number: int, day: float, card: str = "c") -> bytes:
    time_ms = START + int(day * DAY)
    return json.dumps(
        {"id": f"t{number}", "time": time_ms, "amount": 5, "card": card, "merchant": "m"}
    ).encode()


def label_event(number: int, day: float, *, fraud: bool) -> bytes:
    time_ms = START + int(day * DAY)
    event = {"type": "label", "id": f"t{number}", "fraud": int(fraud), "label_known_at": time_ms}
    return json.dumps(event).encode()


def serve(service: EmbeddedService, events: Iterable[bytes]) -> list[Any]:
    return [service.take(Batch([event], None, 0), "test")[0] for event in events]


def risk(service: EmbeddedService, outcome: object, window: str = "30d") -> tuple[float, float]:
    """Return the frauds that a payment saw on its card, and their share of the labels."""
    assert isinstance(outcome, Decided)
    names = [feature.name for feature in service.pipeline.profile_cache.extractor.definitions]
    row = dict(zip(names, outcome.values, strict=True))
    return row[f"card_fraud_count_{window}"], row[f"card_fraud_rate_{window}"]


def test_the_same_verdict_sent_again_counts_once(tmp_path: Path) -> None:
    service = open_service(tmp_path / "s.db")
    labels = [label_event(1, day, fraud=True) for day in (3, 4, 3)]
    serve(service, [paid(1, 0), *labels])
    assert risk(service, serve(service, [paid(2, 5)])[0]) == (1, 1.0)
    # What was told at another time is kept, though it changes nothing.
    assert (service.tally.labels, service.tally.duplicates, service.tally.duplicate_labels) == (2, 1, 1)
    assert service.state_file.rows("SELECT known_at, redundant FROM labels ORDER BY seq") == [
        (START + 3 * DAY, 0),
        (START + 4 * DAY, 1),
    ]
    service.close()


def test_a_correction_takes_the_earlier_label_back_and_older_news_change_nothing(tmp_path: Path) -> None:
    service = open_service(tmp_path / "s.db")
    serve(service, [paid(1, 0), paid(2, 0), label_event(1, 3, fraud=True), label_event(2, 3, fraud=False)])
    assert risk(service, serve(service, [paid(3, 5)])[0]) == (1, 0.5)
    serve(service, [label_event(1, 6, fraud=False)])
    assert risk(service, serve(service, [paid(4, 7)])[0]) == (0, 0.0)
    serve(service, [label_event(1, 4, fraud=True)])
    assert risk(service, serve(service, [paid(5, 8)])[0]) == (0, 0.0)
    service.close()


labels = st.lists(st.tuples(st.integers(1, 3), st.integers(1, 20), st.booleans()), max_size=12)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=25)
@given(labels, st.integers(0, 12), st.integers(0, 12))
def test_what_a_payment_sees_is_the_current_labels_whatever_came_in_which_order(
    tmp_path_factory: pytest.TempPathFactory, news: list[tuple[int, int, bool]], early: int, killed: int
) -> None:
    """Naive recount, with labels before their payments, and a process that dies in the middle."""
    state = tmp_path_factory.mktemp("s") / "s.db"
    events = [label_event(number, day, fraud=fraud) for number, day, fraud in news]
    events[early:early] = [paid(number, 0) for number in (1, 2, 3)]
    service = open_service(state)
    serve(service, events[:killed])
    service.state_file.close()
    service = open_service(state)
    serve(service, events[killed:])
    current: dict[int, tuple[int, bool]] = {}
    for number, day, fraud in news:
        held = current.get(number)
        if held is None or (held[1] is not fraud and day >= held[0]):
            current[number] = (day, fraud)
    frauds = sum(fraud for _, fraud in current.values())
    count, rate = risk(service, serve(service, [paid(9, 21)])[0])
    assert count == frauds
    assert math.isnan(rate) if not current else rate == frauds / len(current)
    service.state_file.close()


def historical(number: int, day: float, *, fraud: bool | None, known: float) -> HistoricalPayment:
    return HistoricalPayment(payment(number, START + int(day * DAY), 500), fraud, START + int(known * DAY))


HISTORY = [
    historical(1, 0, fraud=True, known=3),
    historical(2, 1, fraud=True, known=12),
    historical(3, 8, fraud=None, known=15),
]


def test_labels_of_history_are_learned_when_the_stream_comes_to_their_time(tmp_path: Path) -> None:
    service = open_service(tmp_path / "s.db")
    service.preload_history(HISTORY, lambda: None)
    assert risk(service, serve(service, [paid(10, 9)])[0]) == (1, 1.0)
    assert risk(service, serve(service, [paid(11, 11)])[0]) == (1, 1.0)
    service.state_file.close()
    service = open_service(tmp_path / "s.db")
    assert risk(service, serve(service, [paid(12, 12)])[0]) == (2, 1.0)
    service.state_file.close()
    again = open_service(tmp_path / "s.db")
    assert risk(again, serve(again, [paid(13, 13)])[0]) == (2, 1.0)
    again.close()


def test_a_label_of_history_that_the_stream_carries_too_counts_once_and_can_be_corrected(
    tmp_path: Path,
) -> None:
    service = open_service(tmp_path / "s.db")
    service.preload_history(HISTORY, lambda: None)
    serve(service, [label_event(2, 10, fraud=True), label_event(1, 10, fraud=False)])
    assert risk(service, serve(service, [paid(11, 13)])[0]) == (1, 0.5)
    service.close()


def test_a_payment_of_history_that_comes_again_is_neither_decided_nor_counted(tmp_path: Path) -> None:
    service = open_service(tmp_path / "s.db")
    payment = Parser(SCHEMA).parse(paid(3, 8))
    assert isinstance(payment, Transaction)
    service.preload_history([*HISTORY[:2], HistoricalPayment(payment, None, 0)], lambda: None)
    serve(service, [paid(3, 8)])
    assert (service.tally.decided, service.tally.duplicates, service.tally.duplicate_labels) == (0, 1, 0)
    service.close()


def test_labels_that_came_apart_from_their_payment_are_what_a_stream_would_have_learned() -> None:
    one = historical(1, 0, fraud=None, known=7)
    news = [
        Label("t1", fraud=True, known_at=START + 9 * DAY),
        Label("t1", fraud=True, known_at=START + 5 * DAY),
    ]
    joined = one.with_labels([*news, Label("t1", fraud=False, known_at=START + 20 * DAY)])
    assert [(label.fraud, (label.known_at - START) // DAY) for label in joined.labels()] == [
        (True, 5),
        (False, 20),
    ]
    assert joined.current_label() == (False, START + 20 * DAY)
    assert one.with_labels([]) == one


def test_where_the_stream_carries_the_labels_of_history_they_count_when_it_does(tmp_path: Path) -> None:
    service = open_service(tmp_path / "s.db")
    replay = Replay(service.pipeline.profile_cache)
    for _ in replay.rows(HISTORY):
        pass
    store_replayed_history(service.state_file, replay, HISTORY, labels_in_stream=True)
    assert risk(service, serve(service, [paid(10, 13)])[0]) == (1, 1.0)
    serve(service, [label_event(2, 14, fraud=True), label_event(1, 3, fraud=True)])
    assert (service.tally.labels, service.tally.duplicates) == (1, 1)
    assert risk(service, serve(service, [paid(11, 15)])[0]) == (2, 1.0)
    service.close()
