"""A load from a process of its own: what is asked of it, and what it found.

In an open loop each request is due at a time of its own, whatever became of those before it, and its latency
counts from then: a server that stands still for a second is felt by every request that was due meanwhile.
In a closed loop each connection asks again when it was answered; that measures throughput, and hides waiting.
"""

from __future__ import annotations

import math
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import msgspec

from benchmarks.load_generator.target import Target
from fraud_detection.core.errors import ConfigError

HOLE = b"\0"
"""Stands in a body where the name of a copy goes, see `Plan.copies`; no JSON holds it."""
LENGTH_BYTES = 4
LATE_SHARE = 0.25
LATE_MS = 0.2
FASTEST = 20_000.0
"""Requests a second; more than one thread of Python can send or answer."""


class Plan(msgspec.Struct, frozen=True):
    """How a target is loaded.

    rate: requests a second in an open loop; None: a closed loop.  poisson: they come by chance, as
    independent customers do, not at even distances.  warm_up_s: comes before `seconds` and is not counted.
    copies: so many names (none, 001, 002 ...) take the place of the holes in a body; each body is sent once
    for each name, `block` bodies with one name and then with the next.  first: the request to begin with.
    slice_s: also report the figures of each such time; 0: do not.  timeout_s: what is not answered so long
    after the end is counted as without response.  turn_s: two loads take turns of so many seconds, of which
    this one has the first (turn 0) or the second (1), and sends nothing in the other's; 0: it has all time.
    """

    seconds: float
    rate: float | None = None
    connections: int = 16
    warm_up_s: float = 1.0
    poisson: bool = False
    seed: int = 1
    copies: int = 0
    block: int = 64
    first: int = 0
    slice_s: float = 0.0
    timeout_s: float = 5.0
    turn_s: float = 0.0
    turn: int = 0

    def is_own_turn(self, due: float) -> bool:
        """Return whether a moment is in a turn of this load.

        >>> [due for due in range(8) if Plan(8, turn_s=2.0, turn=1).is_own_turn(due)]
        [2, 3, 6, 7]
        """
        return not self.turn_s or int(due / self.turn_s) % 2 == self.turn

    @property
    def max_requests(self) -> float:
        """Return how many requests are sent at most; a closed loop needs not so many."""
        busy_s = self.seconds + self.warm_up_s
        if self.turn_s:
            # The last turn may be the first one's.
            busy_s = (busy_s + self.turn_s) / 2
        max_requests = (FASTEST if self.rate is None else self.rate) * busy_s
        # Chance may bring a few more: six standard deviations are never seen.
        return max_requests + 6 * math.sqrt(max_requests) if self.poisson else max_requests


class Latencies(msgspec.Struct, frozen=True):
    """Percentiles in ms, each within 2 %; the longest is exact.  All are 0 where nothing was counted."""

    count: int
    p50_ms: float
    p90_ms: float
    p99_ms: float
    p99_9_ms: float
    max_ms: float


class Slice(msgspec.Struct, frozen=True, tag=True):
    """What became of the requests that were due in one slice of time, `from_s` after the warm-up."""

    from_s: float
    latencies: Latencies
    errors: int


class Load(msgspec.Struct, frozen=True, tag=True):
    """What became of a load, without its warm-up.

    target_per_s: the rate that was wanted, 0 in a closed loop.  completed_per_s: whole responses, errors too.
    statuses: responses by HTTP status.  broken: connections that ended with a request on them.
    without_response: requests that had no response at the timeout; waiting so far is in the latencies.
    lag: how late the client itself was to take up a request that was due; the wait for a free connection is
    the server's and not in it.  waiting_max: the most requests that waited for a connection.  sent: with the
    warm-up; the next load begins there.  cpu_share: of a core that the client took.
    """

    target_per_s: float
    completed_per_s: float
    latencies: Latencies
    statuses: dict[str, int]
    broken: int
    without_response: int
    lag: Latencies
    waiting_max: int
    sent: int
    cpu_share: float

    @property
    def errors(self) -> int:
        """Return how many requests were not answered as wanted."""
        return (
            self.broken
            + self.without_response
            + sum(n for status, n in self.statuses.items() if status != "200")
        )

    @property
    def client_bound(self) -> bool:
        """Say whether the client was so late that the figures are its own rather than the server's."""
        if not self.target_per_s:
            return self.cpu_share > 1 - LATE_SHARE
        return self.lag.p99_ms > max(LATE_SHARE * self.latencies.p99_ms, LATE_MS)


class Job(msgspec.Struct, frozen=True):
    """What the client's process is given: the target without its bodies, where these are, and the plan."""

    target: Target
    bodies: str
    plan: Plan


def write_bodies(path: Path, bodies: Iterable[bytes]) -> None:
    """Write bodies one after another, each behind its length."""
    with path.open("wb") as file:
        for body in bodies:
            file.write(len(body).to_bytes(LENGTH_BYTES, "big") + body)


def read_bodies(path: Path) -> list[bytes]:
    """Return what `write_bodies` wrote."""
    content, bodies, at = path.read_bytes(), [], 0
    while at < len(content):
        end = at + LENGTH_BYTES + int.from_bytes(content[at : at + LENGTH_BYTES], "big")
        bodies.append(content[at + LENGTH_BYTES : end])
        at = end
    return bodies


def run_load(target: Target, plan: Plan, on_slice: Callable[[Slice], None] = lambda _: None) -> Load:
    """Load a target from another process and return what was found.

    Raises ConfigError when the target takes each body once and has too few, or the client failed.
    """
    _check_enough(target, plan)
    with tempfile.TemporaryDirectory() as folder:
        bodies = Path(folder) / "bodies"
        sent = target.bodies
        if target.once and not plan.copies:
            # Of a long run of loads each takes its own part along, and no more.
            sent = sent[plan.first : plan.first + int(plan.max_requests) + 1]
            plan = msgspec.structs.replace(plan, first=0)
        write_bodies(bodies, sent)
        job = Job(msgspec.structs.replace(target, bodies=()), str(bodies), plan)
        return _in_a_process(msgspec.json.encode(job), on_slice)


def _check_enough(target: Target, plan: Plan) -> None:
    if not target.bodies:
        raise ConfigError(f"{target.name}: there is nothing to send")
    has, needs = len(target.bodies) * max(plan.copies, 1), plan.first + plan.max_requests
    if target.once and plan.rate is not None and needs > has:
        raise ConfigError(
            f"{target.name}: {needs:,.0f} payments are needed and {has:,} are there, and one that was sent "
            "before is not decided again; ask for fewer seconds or a lower rate"
        )


def _in_a_process(job: bytes, on_slice: Callable[[Slice], None]) -> Load:
    command, results = [sys.executable, "-m", "benchmarks.load_generator.client"], None
    with subprocess.Popen(  # noqa: S603 - our own module
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    ) as client:
        try:
            for result in _results(client, job):
                if isinstance(result, Load):
                    results = result
                else:
                    on_slice(result)
        finally:
            client.kill()
    if results is None:
        raise ConfigError("the client of the load ended before it gave its figures; what it said is above")
    return results


def _results(client: subprocess.Popen[bytes], job: bytes) -> Iterator[Load | Slice]:
    if client.stdin is None or client.stdout is None:
        raise ValueError("the client was started without pipes")
    client.stdin.write(job)
    client.stdin.close()
    for line in client.stdout:
        yield msgspec.json.decode(line, type=Load | Slice)
