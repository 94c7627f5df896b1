from __future__ import annotations

import collections
import datetime as dt
import itertools
from typing import Any

import msgspec
import numpy as np
import pytest

from fraud_detection.simulator.columns import Block, joined
from fraud_detection.simulator.messages import Timed
from fraud_detection.simulator.population.opaque import hexadecimal
from fraud_detection.simulator.schedule import ArrivalKind
from fraud_detection.simulator.settings import DAY, SimulatorSettings
from fraud_detection.simulator.simulate import simulate
from fraud_detection.simulator.stream import SimulatedStream, StreamOptions

TOWN = SimulatorSettings(cards=300, merchants=90, days=20)
START_MS = 1_700_000_000_000
CLEAN: dict[str, Any] = {"late_share": 0.0, "duplicate_share": 0.0, "malformed_share": 0.0}


def sent(settings: SimulatorSettings = TOWN, **options: Any) -> list[Timed]:  # noqa: ANN401 - any option
    stream = SimulatedStream(settings, StreamOptions(**{"rate": 50.0, "payments": 1_500} | options))
    return list(itertools.chain.from_iterable(stream.chunks(START_MS)))


def days(first: int, last: int) -> Block:
    return joined(list(itertools.islice(simulate(TOWN), first, last)))


def ids(block: Block) -> list[str]:
    return [code.decode() for code in hexadecimal(block.code).tolist()]


def decoded(events: list[Timed], *kinds: ArrivalKind) -> list[dict[str, Any]]:
    return [msgspec.json.decode(event.data) for event in events if event.arrival_kind in kinds]


def ms(text: str) -> int:
    return round(dt.datetime.fromisoformat(text).timestamp() * 1000)


def test_the_stream_is_the_days_after_the_history() -> None:
    stream_ids = [event["transaction_id"] for event in decoded(sent(**CLEAN), ArrivalKind.ON_TIME)]
    assert stream_ids == ids(days(20, 40))[:1_500]


def test_a_stream_of_equal_settings_is_equal_byte_for_byte() -> None:
    assert sent() == sent()


def test_payment_k_is_due_k_over_rate_seconds_after_the_start() -> None:
    payments = [event for event in sent() if event.arrival_kind is not ArrivalKind.LABEL]
    assert [event.due_s for event in payments] == [number / 50 for number in range(1_500)]
    whole = [event for event in payments if event.arrival_kind is ArrivalKind.ON_TIME]
    for event in whole:
        assert msgspec.json.decode(event.data)["sent_at"] == START_MS + round(event.due_s * 1000)


def test_events_stand_in_the_order_in_which_they_are_due() -> None:
    due = [event.due_s for event in sent()]
    assert due == sorted(due)


def test_labels_are_sent_when_simulated_time_passes_them() -> None:
    now = 0
    early, late = 0, 0
    for event in sent(**CLEAN):
        content = msgspec.json.decode(event.data)
        if event.arrival_kind is ArrivalKind.LABEL:
            early += ms(content["label_known_at"]) < now
            late = ms(content["label_known_at"])
        else:
            now = ms(content["event_time"])
            assert late <= now
    assert early == 0


def test_labels_of_history_that_were_pending_at_its_end_are_sent() -> None:
    history, begins = days(0, 20), TOWN.epoch + 20 * DAY
    events = sent(payments=2_600, **CLEAN)
    last = ms(decoded(events, ArrivalKind.ON_TIME)[-1]["event_time"])
    expected = history.pick((history.known_at >= begins) & (history.known_at < last))
    sent_labels = {label["transaction_id"]: label["is_fraud"] for label in decoded(events, ArrivalKind.LABEL)}
    assert len(expected) > 1_000
    assert all(
        sent_labels[name] == fraud
        for name, fraud in zip(ids(expected), expected.is_fraud.tolist(), strict=True)
    )


def test_no_label_is_sent_twice_and_none_from_before_the_stream() -> None:
    labels = decoded(sent(payments=5_000), ArrivalKind.LABEL)
    names = [label["transaction_id"] for label in labels]
    assert len(set(names)) == len(names)
    assert min(ms(label["label_known_at"]) for label in labels) >= TOWN.epoch + 20 * DAY
    assert {label["type"] for label in labels} == {"label"}


def test_labels_can_be_left_out() -> None:
    assert not decoded(sent(labels="none"), ArrivalKind.LABEL)
    assert {
        label["is_fraud"] for label in decoded(sent(labels="fraud", payments=3_000), ArrivalKind.LABEL)
    } == {1}


def test_late_duplicate_and_malformed_payments_have_their_shares() -> None:
    shares: dict[str, Any] = {"late_share": 0.1, "duplicate_share": 0.05, "malformed_share": 0.02}
    events = sent(payments=6_000, labels="none", **shares)
    counts = collections.Counter(event.arrival_kind for event in events)
    whole = counts[ArrivalKind.ON_TIME] + counts[ArrivalKind.LATE]
    assert counts[ArrivalKind.LATE] / whole == pytest.approx(0.1, abs=0.02)
    assert counts[ArrivalKind.DUPLICATE] / whole == pytest.approx(0.05, abs=0.015)
    assert counts[ArrivalKind.MALFORMED] / whole == pytest.approx(0.02, abs=0.01)


def test_late_payments_come_minutes_to_hours_out_of_order_and_none_is_lost() -> None:
    events = sent(payments=3_000, late_share=0.2, duplicate_share=0.0, malformed_share=0.0)
    newest, lags = 0, []
    for event in events:
        if event.arrival_kind in {ArrivalKind.ON_TIME, ArrivalKind.LATE}:
            time = ms(msgspec.json.decode(event.data)["event_time"])
            lags += [newest - time] if event.arrival_kind is ArrivalKind.LATE else []
            newest = max(newest, time)
            assert event.arrival_kind is ArrivalKind.LATE or time == newest
    assert np.median(lags) > 30 * 60_000
    assert max(lags) <= 6 * 3_600_000
    names = [event["transaction_id"] for event in decoded(events, ArrivalKind.ON_TIME, ArrivalKind.LATE)]
    assert len(set(names)) == len(names)
    assert set(ids(days(20, 25))) <= set(names)


def test_a_repetition_is_the_same_payment_later() -> None:
    events = sent(duplicate_share=0.1, late_share=0.0)
    seen: dict[str, dict[str, Any]] = {}
    for event in events:
        if event.arrival_kind in {ArrivalKind.ON_TIME, ArrivalKind.DUPLICATE}:
            content = msgspec.json.decode(event.data)
            sent_at = content.pop("sent_at")
            assert (content["transaction_id"] in seen) == (event.arrival_kind is ArrivalKind.DUPLICATE)
            assert seen.get(content["transaction_id"], content) == content
            assert sent_at >= START_MS
            seen[content["transaction_id"]] = content


def flaw(data: bytes, known: set[str]) -> str:
    try:
        event = msgspec.json.decode(data)
    except msgspec.DecodeError:
        return "no JSON"
    assert event.get("transaction_id") not in known
    if not {"card_id", "amount"} <= set(event):
        return f"no {({'card_id', 'amount'} - set(event)).pop()}"
    return "amount" if isinstance(event["amount"], str) else "time"


def test_every_broken_event_is_broken_and_takes_no_good_ones_id() -> None:
    events = sent(malformed_share=0.2)
    known = {event["transaction_id"] for event in decoded(events, ArrivalKind.ON_TIME, ArrivalKind.LATE)}
    flaws = collections.Counter(
        flaw(event.data, known) for event in events if event.arrival_kind is ArrivalKind.MALFORMED
    )
    assert set(flaws) == {"no JSON", "no card_id", "no amount", "amount", "time"}
    assert not any(b"\n" in event.data for event in events)


def test_the_stream_ends_after_its_payments_or_its_seconds() -> None:
    assert sum(event.arrival_kind is not ArrivalKind.LABEL for event in sent(payments=77)) == 77
    by_time = StreamOptions(rate=50, seconds=3)
    events = list(itertools.chain.from_iterable(SimulatedStream(TOWN, by_time).chunks(0)))
    assert sum(event.arrival_kind is not ArrivalKind.LABEL for event in events) == 150
    assert max(event.due_s for event in events) < 3
