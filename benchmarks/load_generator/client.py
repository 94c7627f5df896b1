"""The process that sends a load: `python -m benchmarks.load_generator.client`, a `Job` on its standard input.

One thread and as little work a request as possible: what the client does late counts as the server's.
"""

from __future__ import annotations

import gc
import math
import random
import select
import selectors
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import msgspec

from benchmarks.load_generator.connection import Connection, request_maker
from benchmarks.load_generator.load import Job, Load, Plan, Slice, read_bodies
from benchmarks.load_generator.record import Record

IDLE_S = 0.05
Requests = Callable[[int], bytes]


def due_times(plan: Plan, rate: float) -> Iterator[float]:
    """Yield when the requests of an open loop are due, in seconds after the start; at the end infinity."""
    chance, due, number, end = random.Random(plan.seed), 0.0, 0, plan.warm_up_s + plan.seconds
    while due < end:
        if plan.is_own_turn(due):
            yield due
        number += 1
        due = due + chance.expovariate(rate) if plan.poisson else number / rate
    while True:
        yield math.inf


class Client:
    """Sends one load.  Times are seconds after the start.

    max_requests: requests that may be sent at all.  on_slice: takes slices of time as they end.
    """

    def __init__(
        self, job: Job, requests: Requests, max_requests: float, on_slice: Callable[[Slice], None]
    ) -> None:
        """Connect; raise OSError when nobody listens there."""
        self.plan, self.requests, self.max_requests = job.plan, requests, max_requests
        self.target = job.target
        self.end = job.plan.warm_up_s + job.plan.seconds
        self.record = Record(job.plan, on_slice)
        self.selector = selectors.DefaultSelector()
        self.connections: list[Connection] = []
        self.free: deque[Connection] = deque()
        self.waiting: deque[float] = deque()
        self.sent = 0
        for _ in range(job.plan.connections):
            self._connect()
        self.began = time.perf_counter()

    def run(self) -> Load:
        """Send everything, wait for what is still to come, and return what was found."""
        cpu, self.began = time.process_time(), time.perf_counter()
        if self.plan.rate is None:
            self._closed_loop()
        else:
            self._open_loop(due_times(self.plan, self.plan.rate))
        now = self._now()
        for due in (
            *self.waiting,
            *(connection.due for connection in self.connections if connection.due >= 0),
        ):
            self.record.failure(due, now, broken=False)
        self.record.close_slices(math.inf)
        return self.record.load(self.sent, (time.process_time() - cpu) / now)

    def _open_loop(self, dues: Iterator[float]) -> None:
        due = next(dues)
        while True:
            now = self._now()
            while due <= now:
                self.record.started(due, now)
                self.waiting.append(due)
                if self.free:
                    self._send(self.free.popleft(), self.waiting.popleft())
                due, now = next(dues), self._now()
            self.record.waiting_max = max(self.record.waiting_max, len(self.waiting))
            # When the server has gone for good, nothing is kept waiting for it.
            if not self.connections or (due == math.inf and self._is_over(now)):
                return
            self._receive(due - now)

    def _closed_loop(self) -> None:
        while self.free:
            self._send(self.free.popleft(), self._now())
        while not self._is_over(self._now()):
            self._receive(IDLE_S)

    def _is_over(self, now: float) -> bool:
        """Say whether all is answered, nobody is there to answer, or the timeout has passed."""
        idle = not self.waiting and len(self.free) == len(self.connections)
        return idle or not self.connections or now > self.end + self.plan.timeout_s

    def _receive(self, timeout_s: float) -> None:
        if timeout_s > 0:
            # The selector alone would round to whole milliseconds, and send that much late.
            select.select([self.selector], [], [], min(timeout_s, IDLE_S))
        for key, _ in self.selector.select(0):
            connection: Connection = key.data
            due = connection.due
            try:
                status = connection.read_status()
            except OSError:
                self._replace(connection)
                continue
            if status is not None:
                now = self._now()
                self.record.count_response(due, now, status)
                self._next(connection, now)
        self.record.close_slices(self._now())

    def _next(self, connection: Connection, now: float) -> None:
        if self.waiting:
            self._send(connection, self.waiting.popleft())
        elif self.plan.rate is None and now < self.end and self.sent < self.max_requests:
            self._send(connection, now)
        else:
            self.free.append(connection)

    def _send(self, connection: Connection, due: float) -> None:
        number = self.sent
        self.sent += 1
        try:
            connection.send(self.requests(self.plan.first + number), due)
        except OSError:
            self._replace(connection)

    def _replace(self, connection: Connection) -> None:
        """Count what was on a broken connection, and connect anew where that is possible."""
        if connection.due >= 0:
            self.record.failure(connection.due, self._now(), broken=True)
        elif connection in self.free:
            self.free.remove(connection)
        self.selector.unregister(connection.socket)
        connection.socket.close()
        self.connections.remove(connection)
        with suppress(OSError):
            self._connect()

    def _connect(self) -> None:
        connection = Connection(self.target)
        self.selector.register(connection.socket, selectors.EVENT_READ, connection)
        self.connections.append(connection)
        self.free.append(connection)

    def _now(self) -> float:
        return time.perf_counter() - self.began


def main() -> None:
    """Run the job that standard input holds; slices and the whole are written as lines of JSON."""
    job = msgspec.json.decode(sys.stdin.buffer.read(), type=Job)
    bodies = read_bodies(Path(job.bodies))
    max_requests = math.inf if not job.target.once else len(bodies) * max(job.plan.copies, 1) - job.plan.first

    def write_result(part: Slice | Load) -> None:
        sys.stdout.buffer.write(msgspec.json.encode(part) + b"\n")
        sys.stdout.buffer.flush()

    try:
        client = Client(job, request_maker(job.target, bodies, job.plan), max_requests, write_result)
    except OSError as error:
        sys.exit(f"{job.target.name}: nobody answers at {job.target.host}:{job.target.port}: {error}")
    gc.freeze()
    gc.disable()
    write_result(client.run())


if __name__ == "__main__":
    main()
