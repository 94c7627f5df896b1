"""Replicate the commits of other workers, a few milliseconds at a time, between requests.

Each worker notifies the others of its commits every twenty milliseconds, and they read its log.  Once a
second, and when a connection opened or broke, they poll the log: a notification may have been lost.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable

from fraud_detection.core.errors import RetryError
from fraud_detection.core.metrics import LatencyHistogram
from fraud_detection.serving.workers.replica import CommitTime, WorkerService

LOG = logging.getLogger(__name__)

ANNOUNCE_AFTER_S = 0.02
POLL_INTERVAL_S = 1.0
NEWS = "news"
MAX_PENDING = 100_000
"""Marks, and events without their mark: more of either means that the others' entries are lost."""


class Replicator:
    """Replicates the other workers' commits into the shared profiles of one worker.

    lag: from each commit there until it was replicated here; what was committed without a connection is not
    counted.  replicated: events.  retries: parts that could not be stored, since the own state file was busy
    or full, or could not be read; they are replicated later.  on_error: called with each of these errors.
    """

    def __init__(self, service: WorkerService) -> None:
        """Replicate into this service, and collect its commits."""
        self.service = service
        self.lag = LatencyHistogram()
        self.replicated = self.retries = 0
        self.news: list[CommitTime] = []
        self.on_error: Callable[[RetryError], None] = _nobody
        self._hindered: dict[int, float] = {}
        self._commits = {worker: deque[CommitTime](maxlen=MAX_PENDING) for worker in service.others}
        self._taken = {worker: deque[CommitTime](maxlen=MAX_PENDING) for worker in service.others}
        self._pending_workers = set(service.others)
        self._wake = asyncio.Event()
        service.committed = self.news.append

    def on_commits(self, worker: int, commits: list[CommitTime]) -> None:
        """Take the times of another worker's commits."""
        self._commits[worker].extend(commits)
        self._measure(worker)
        self.look(worker)

    def lag_s(self, worker: int) -> float:
        """Return the age, in s, of another worker's oldest commit that is not applied; 0 where all are.

        While a log cannot be read, at least the time since then.
        """
        replicated_until = self.service.replicated_until[worker]
        since = [at for number, at in self._commits[worker] if number > replicated_until][:1]
        since += [self._hindered[worker]] if worker in self._hindered else []
        return max((time.monotonic() - at for at in since), default=0.0)

    def look(self, worker: int) -> None:
        """Schedule a read of another worker's log for when the loop is free."""
        self._pending_workers.add(worker)
        self._wake.set()

    async def run(self) -> None:
        """Replicate until cancelled."""
        while True:
            try:
                async with asyncio.timeout(POLL_INTERVAL_S):
                    await self._wake.wait()
            except TimeoutError:
                self._pending_workers.update(self.service.others)
            self._wake.clear()
            await self.replicate_all()

    async def replicate_all(self) -> None:
        """Replicate all logs that are due; other work of the loop runs in between."""
        while self._pending_workers:
            worker = self._pending_workers.pop()
            if self._take_part(worker):
                self._pending_workers.add(worker)
            await asyncio.sleep(0)

    def _take_part(self, worker: int) -> bool:
        """Replicate one part; return whether there may be more."""
        try:
            numbers = self.service.replicate(worker)
            self.service.run_deferred_work()
        except RetryError as error:
            # The next read retries the same part, or its deferred work.
            self.retries += 1
            if worker not in self._hindered:
                self._hindered[worker] = time.monotonic()
                message = "%s; commits of worker %d are replicated later"
                LOG.warning(message, error, worker, extra={"event": "replication_failed"})
            self.on_error(error)
            return False
        self._hindered.pop(worker, None)
        self.replicated += len(numbers)
        now = time.monotonic()
        self._taken[worker].extend((number, now) for number in numbers)
        self._measure(worker)
        return bool(numbers)

    def _measure(self, worker: int) -> None:
        """Measure the lag of applied events whose commit times are known by now."""
        commits, applied = self._commits[worker], self._taken[worker]
        while commits and applied:
            number, at = applied[0]
            committed_at = commits[0][1]
            if commits[0][0] < number:
                commits.popleft()
                continue
            applied.popleft()
            # A commit time that was lost is passed over: the next one would be of a later commit.
            if at >= committed_at:
                self.lag.add(at - committed_at)


def _nobody(_: RetryError) -> None:
    """Report to nobody."""
