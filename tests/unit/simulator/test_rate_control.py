from __future__ import annotations

import itertools
import time
from collections.abc import Iterator

import pytest

from fraud_detection.core.errors import RetryError
from fraud_detection.simulator.messages import Timed
from fraud_detection.simulator.rate_control import (
    FakeClock,
    FakeReceiver,
    Outbox,
    Prefetcher,
    SystemClock,
    keep_rate,
)
from fraud_detection.simulator.schedule import ArrivalKind


def events(count: int, rate: float = 100.0) -> list[Timed]:
    return [Timed(number / rate, ArrivalKind.ON_TIME, b"event %d" % number) for number in range(count)]


def test_each_event_is_handed_on_when_it_is_due() -> None:
    clock, receiver = FakeClock(1_000.0), FakeReceiver()
    with Outbox(receiver, clock, 1_005.0) as outbox:
        moments = [clock.now() for _ in keep_rate([events(300)], clock, 1_005.0, outbox)]
    assert moments == pytest.approx([1_005.0 + number / 100 for number in range(300)])
    assert receiver.lines == [event.data for event in events(300)]
    assert receiver.closed


def test_a_receiver_that_stands_still_does_not_hold_up_the_schedule() -> None:
    clock, receiver = FakeClock(), FakeReceiver()
    receiver.flowing.clear()
    with Outbox(receiver, clock, 0.0) as outbox:
        sent = list(keep_rate([events(5_000)], clock, 0.0, outbox))
        assert clock.now() == pytest.approx(49.99)
        assert receiver.lines == []
        receiver.flowing.set()
    assert len(sent) == 5_000
    assert receiver.lines == [event.data for event in events(5_000)]
    assert outbox.max_queue_events > 3_900
    assert outbox.max_lag_s == pytest.approx(49.99, abs=0.1)


def test_a_slow_receiver_does_not_slow_down_the_machines_clock_either() -> None:
    class Slow(FakeReceiver):
        def write(self, data: bytes) -> None:
            time.sleep(0.15)
            super().write(data)

    clock, receiver = SystemClock(), Slow()
    began = clock.now()
    with Outbox(receiver, clock, began) as outbox:
        list(keep_rate([events(60, rate=200.0)], clock, began, outbox))
        elapsed_s = clock.now() - began
    assert 59 / 200 <= elapsed_s < 2
    assert len(receiver.lines) == 60
    assert outbox.max_lag_s > 0.1


def test_a_schedule_that_fell_behind_catches_up_without_sleeping() -> None:
    clock, receiver = FakeClock(), FakeReceiver()
    with Outbox(receiver, clock, -10.0) as outbox:
        list(keep_rate([events(500)], clock, -10.0, outbox))
    assert clock.now() == 0
    assert len(receiver.lines) == 500


def endless() -> Iterator[list[Timed]]:
    """Yield events for ever, some of real time apart, so that writing can happen in between."""
    for number in itertools.count():
        time.sleep(0.0005)
        yield [Timed(number / 10, ArrivalKind.ON_TIME, b"x")]


def send(receiver: FakeReceiver) -> Outbox:
    clock = FakeClock()
    with Outbox(receiver, clock, 0.0) as outbox:
        list(keep_rate(endless(), clock, 0.0, outbox))
    return outbox


def test_the_stream_ends_when_the_receiver_closes() -> None:
    receiver = FakeReceiver(leaves_after=3)
    assert send(receiver).gone
    assert 0 < len(receiver.lines) < 1_000


def test_another_failure_of_writing_is_raised() -> None:
    class Full(FakeReceiver):
        def write(self, data: bytes) -> None:
            raise OSError(28, "No space left on device", data[:0])

    with pytest.raises(OSError, match="No space"):
        send(Full())


def test_what_is_prefetched_comes_whole_and_in_order() -> None:
    with Prefetcher(range(1_000)) as items:
        assert list(items) == list(range(1_000))


def test_an_error_of_making_events_reaches_the_reader() -> None:
    def broken() -> Iterator[int]:
        yield 1
        raise ValueError("no more")

    with Prefetcher(broken()) as items, pytest.raises(ValueError, match="no more"):
        list(items)


def test_prefetching_events_stops_with_the_reader() -> None:
    made: list[int] = []

    def counted() -> Iterator[int]:
        for number in itertools.count():
            made.append(number)
            yield number

    with Prefetcher(counted()) as items:
        assert next(iter(items)) == 0
    assert len(made) < 100


def test_a_receiver_whose_timeout_passes_ends_the_stream_with_its_reason() -> None:
    class Full(FakeReceiver):
        def write(self, data: bytes) -> None:
            raise RetryError(f"no room for {len(data)} bytes")

    clock, receiver = FakeClock(), Full()
    with pytest.raises(RetryError, match="no room for"), Outbox(receiver, clock, 0.0) as outbox:
        list(keep_rate([events(10)], clock, 0.0, outbox))
