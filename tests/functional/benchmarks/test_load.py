"""The load of the benchmark: it keeps its rate whatever the server does, and counts all waiting."""

from __future__ import annotations

import asyncio
import itertools
import random
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest

from benchmarks.load_generator.client import due_times
from benchmarks.load_generator.connection import request_maker
from benchmarks.load_generator.load import HOLE, Plan, Slice, read_bodies, run_load, write_bodies
from benchmarks.load_generator.record import latencies
from benchmarks.load_generator.sweep import SweepSettings, find_saturation
from benchmarks.load_generator.target import Target
from fraud_detection.core.errors import ConfigError
from fraud_detection.core.metrics import LatencyHistogram

Work = Callable[[bytes], Awaitable[int]]


class LocalServer:
    """Answers HTTP in a thread of its own: `work` gets a body and returns the status, 0 to hang up."""

    def __init__(self, work: Work) -> None:
        self.work, self.port = work, 0
        self.bodies: list[bytes] = []
        self.ready = threading.Event()
        self.thread = threading.Thread(target=lambda: asyncio.run(self._listen()))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer), suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                size = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
                body = await reader.readexactly(size)
                self.bodies.append(body)
                status = await self.work(body)
                if not status:
                    return
                writer.write(b"HTTP/1.1 %d Word\r\nContent-Length: 2\r\n\r\n{}" % status)

    async def _listen(self) -> None:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self.loop, self.stopped = asyncio.get_running_loop(), asyncio.Event()
        self.ready.set()
        await self.stopped.wait()
        server.close()
        lines = asyncio.all_tasks() - {asyncio.current_task()}
        for line in lines:
            line.cancel()
        await asyncio.gather(*lines, return_exceptions=True)
        await asyncio.sleep(0.01)


@contextmanager
def serving(work: Work, bodies: int = 0, *, once: bool = False) -> Iterator[tuple[LocalServer, Target]]:
    local_server = LocalServer(work)
    local_server.thread.start()
    assert local_server.ready.wait(5)
    sent = [b"%d" % number for number in range(bodies)] or [b"{}"]
    try:
        yield (
            local_server,
            Target("local", "127.0.0.1", local_server.port, "/ask", "application/json", sent, once),
        )
    finally:
        local_server.loop.call_soon_threadsafe(local_server.stopped.set)
        local_server.thread.join()


async def at_once(_: bytes) -> int:
    return 200


def test_a_server_that_stands_still_is_felt_by_every_request_that_was_due_meanwhile() -> None:
    stalled: list[bool] = []

    async def work(body: bytes) -> int:
        if body == b"300" and not stalled:
            stalled.append(True)
            time.sleep(0.2)  # noqa: ASYNC251 - the whole server stands still, which is the point
        return 200

    with serving(work, 1_000) as (_, target):
        opened = run_load(target, Plan(seconds=1.0, rate=500, connections=4, warm_up_s=0.2))
        stalled.clear()
        closed = run_load(target, Plan(seconds=1.0, connections=1, warm_up_s=0.0))
    # 0.2 s at 500/s: a hundred were due while it stood still, and waited half of it in the mean.
    assert opened.latencies.count == 500
    assert opened.latencies.max_ms > 190
    assert opened.latencies.p90_ms > 50
    # Who asks only when answered sees one slow answer, and calls the server fast.
    assert closed.latencies.max_ms > 190
    assert closed.latencies.p99_ms < 50


@pytest.mark.parametrize("poisson", [False, True])
def test_the_rate_is_held_however_slow_the_responses_are(poisson: bool) -> None:  # noqa: FBT001
    async def work(_: bytes) -> int:
        await asyncio.sleep(0.05)
        return 200

    with serving(work) as (_, target):
        result = run_load(target, Plan(seconds=2.0, rate=200, connections=64, warm_up_s=0.5, poisson=poisson))
    assert result.latencies.count == pytest.approx(400, rel=0.02 if not poisson else 0.2)
    assert result.completed_per_s == pytest.approx(result.latencies.count / 2.0, rel=0.05)
    assert 45 < result.latencies.p50_ms < 80
    assert result.errors == 0


def test_a_request_that_waits_for_a_free_connection_waits_since_it_was_due() -> None:
    async def work(_: bytes) -> int:
        await asyncio.sleep(0.02)
        return 200

    with serving(work) as (_, target):
        result = run_load(target, Plan(seconds=1.0, rate=100, connections=1, warm_up_s=0.0))
    # One connection answers 50/s at most: after a second half of them wait.
    assert result.waiting_max > 30
    assert result.latencies.max_ms > 500
    assert result.lag.p99_ms < 100


def test_wrong_responses_and_broken_connections_are_counted() -> None:
    async def work(body: bytes) -> int:
        number = int(body)
        return 0 if number % 10 == 3 else 503 if number % 10 == 7 else 200

    with serving(work, 200) as (_, target):
        result = run_load(target, Plan(seconds=1.0, rate=200, connections=8, warm_up_s=0.0))
    assert result.statuses == {"200": 160, "503": 20}
    assert result.broken == 20
    assert result.errors == 40
    assert result.latencies.count == 200


def test_what_has_no_response_is_no_fast_response() -> None:
    async def work(body: bytes) -> int:
        await asyncio.sleep(30 if int(body) % 2 else 0)
        return 200

    with serving(work, 100) as (_, target):
        result = run_load(target, Plan(seconds=0.5, rate=20, connections=16, warm_up_s=0.0, timeout_s=0.5))
    assert result.without_response == 5
    assert result.latencies.p99_ms > 500


def test_slices_add_up_to_the_whole() -> None:
    slices: list[Slice] = []
    with serving(at_once) as (_, target):
        plan = Plan(seconds=1.0, rate=300, connections=4, warm_up_s=0.2, slice_s=0.25)
        result = run_load(target, plan, slices.append)
    assert [part.from_s for part in slices] == [0.0, 0.25, 0.5, 0.75]
    assert sum(part.latencies.count for part in slices) == result.latencies.count == 300


def test_each_body_is_sent_once_for_each_copy_and_in_order_within_it() -> None:
    target = Target("local", "127.0.0.1", 1, "/", "text/plain", ())
    bodies = [b"a%d-%s" % (number, HOLE) for number in range(6)]
    make = request_maker(target, bodies, Plan(seconds=1, copies=3, block=2))
    sent = [make(number).partition(b"\r\n\r\n")[2] for number in range(18)]
    assert len(set(sent)) == 18
    for name in (b"", b"001", b"002"):
        assert [body for body in sent if body.partition(b"-")[2] == name] == [
            body.replace(HOLE, name) for body in bodies
        ]


def test_a_target_that_takes_each_body_once_gets_none_twice() -> None:
    with serving(at_once, 100, once=True) as (server, target):
        with pytest.raises(ConfigError, match="ask for fewer seconds"):
            run_load(target, Plan(seconds=1.0, rate=200, warm_up_s=0.0))
        first = run_load(target, Plan(seconds=0.2, rate=200, warm_up_s=0.0))
        run_load(target, Plan(seconds=5.0, connections=4, warm_up_s=0.0, first=first.sent))
    assert sorted(server.bodies) == sorted(target.bodies)


def test_the_saturation_rate_of_a_server_is_what_it_can_do() -> None:
    capacity, free = 300.0, [0.0]

    async def work(_: bytes) -> int:
        now = time.monotonic()
        free[0] = max(free[0], now) + 1 / capacity
        await asyncio.sleep(free[0] - now)
        return 200

    with serving(work) as (_, target):
        saturation = find_saturation(
            lambda rate: run_load(target, Plan(seconds=1.0, rate=rate, connections=32, warm_up_s=0.1)),
            SweepSettings(start=100, highest=1_000, factor=1.5, halvings=2),
        )
    assert 0.75 * capacity < saturation.saturation_per_s < 1.15 * capacity
    assert not saturation.open_end
    assert any(not step.held and step.load.target_per_s > capacity for step in saturation.steps)


def test_nobody_listening_is_reported() -> None:
    with pytest.raises(ConfigError, match="the client of the load ended"):
        run_load(Target("nobody", "127.0.0.1", 9, "/", "text/plain", [b"x"]), Plan(seconds=0.1, rate=1))


def test_chance_has_the_given_rate_and_no_even_distances() -> None:
    dues = due_times(Plan(seconds=100, poisson=True, seed=3), 50.0)
    times = [next(dues) for _ in range(4_000)]
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    mean = sum(gaps) / len(gaps)
    deviation = (sum((gap - mean) ** 2 for gap in gaps) / len(gaps)) ** 0.5
    assert mean == pytest.approx(1 / 50, rel=0.05)
    assert deviation == pytest.approx(mean, rel=0.1)


def test_two_loads_that_take_turns_send_nothing_in_each_others() -> None:
    plans = [Plan(6.0, 100.0, warm_up_s=2.0, turn_s=1.0, turn=turn) for turn in (0, 1)]
    sent = [list(itertools.takewhile(lambda due: due < 8.0, due_times(plan, 100.0))) for plan in plans]
    alone = due_times(Plan(6.0, 100.0, warm_up_s=2.0), 100.0)
    assert sorted(sent[0] + sent[1]) == list(itertools.takewhile(lambda due: due < 8.0, alone))
    assert {int(due) for due in sent[0]} == {0, 2, 4, 6}
    assert {int(due) for due in sent[1]} == {1, 3, 5, 7}
    assert all(len(dues) <= plan.max_requests for dues, plan in zip(sent, plans, strict=True))


def test_percentiles_are_those_of_a_sorted_list_within_two_percent() -> None:
    dice, histogram = random.Random(5), LatencyHistogram()
    seconds = [dice.lognormvariate(-6, 1.5) for _ in range(20_000)]
    for second in seconds:
        histogram.add(second)
    measured, ordered = latencies(histogram), sorted(seconds)
    wanted = {"p50_ms": 0.5, "p90_ms": 0.9, "p99_ms": 0.99, "p99_9_ms": 0.999}
    for name, share in wanted.items():
        assert getattr(measured, name) == pytest.approx(1000 * ordered[int(share * 20_000) - 1], rel=0.02)
    assert measured.max_ms == pytest.approx(1000 * ordered[-1])


def test_bodies_come_back_as_they_were(tmp_path: Path) -> None:
    path = tmp_path / "bodies"
    bodies = [b"", b"\n", b"a\0b", b"x" * 70_000]
    write_bodies(path, bodies)
    assert read_bodies(path) == bodies
