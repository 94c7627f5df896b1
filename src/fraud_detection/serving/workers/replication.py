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

    behind: from a commit there until it was taken in here, an event; what was committed while no line
    stood is not counted.  followed: events taken in.  retries: parts that could not be put down
    because the own state file was busy or full, or not read, and are taken in later.  refused: is told of it.
    """

    def __init__(self, service: WorkerService) -> None:
        """Follow for this service, and hear of its commits."""
        self.service = service
        self.lag = LatencyHistogram()
        self.replicated = self.retries = 0
        self.news: list[CommitTime] = []
        self.on_error: Callable[[RetryError], None] = _nobody
        self._hindered: dict[int, float] = {}
        self._commits = {other: deque[CommitTime](maxlen=MAX_PENDING) for other in service.others}
        self._taken = {other: deque[CommitTime](maxlen=MAX_PENDING) for other in service.others}
        self._due = set(service.others)
        self._wake = asyncio.Event()
        service.committed = self.news.append

    def on_commits(self, other: int, commits: list[CommitTime]) -> None:
        """Take the times of another worker's commits."""
        self._commits[other].extend(commits)
        self._measure(other)
        self.look(other)

    def lag_s(self, other: int) -> float:
        """Return how long ago, in s, the oldest commit of another was that is not taken in; 0 where all are.

        While a log cannot be read, at least for how long it could not.
        """
        replicated_until = self.service.replicated_until[other]
        since = [at for number, at in self._commits[other] if number > replicated_until][:1]
        since += [self._hindered[other]] if other in self._hindered else []
        return max((time.monotonic() - at for at in since), default=0.0)

    def look(self, other: int) -> None:
        """Look at another worker's log as soon as the loop is free."""
        self._due.add(other)
        self._wake.set()

    async def run(self) -> None:
        """Follow until cancelled."""
        while True:
            try:
                async with asyncio.timeout(POLL_INTERVAL_S):
                    await self._wake.wait()
            except TimeoutError:
                self._due.update(self.service.others)
            self._wake.clear()
            await self.replicate_all()

    async def replicate_all(self) -> None:
        """Take in what there is of all logs that are due; other work of the loop comes in between."""
        while self._due:
            other = self._due.pop()
            if self._take_part(other):
                self._due.add(other)
            await asyncio.sleep(0)

    def _take_part(self, other: int) -> bool:
        """Take in one part; return whether there may be more."""
        try:
            numbers = self.service.replicate(other)
            self.service.run_deferred_work()
        except RetryError as error:
            # The next look tries the same part again, or what it has put off.
            self.retries += 1
            if other not in self._hindered:
                self._hindered[other] = time.monotonic()
                message = "%s; what worker %d has decided is taken in later"
                LOG.warning(message, error, other, extra={"event": "replication_failed"})
            self.on_error(error)
            return False
        self._hindered.pop(other, None)
        self.replicated += len(numbers)
        now = time.monotonic()
        self._taken[other].extend((number, now) for number in numbers)
        self._measure(other)
        return bool(numbers)

    def _measure(self, other: int) -> None:
        """Count what was taken in, as far as the moments of its commits are known by now."""
        commits, taken = self._commits[other], self._taken[other]
        while commits and taken:
            number, at = taken[0]
            committed_at = commits[0][1]
            if commits[0][0] < number:
                commits.popleft()
                continue
            taken.popleft()
            # A commit time that was lost is passed over: the next one would be of a later commit.
            if at >= committed_at:
                self.lag.add(at - committed_at)


def _nobody(_: RetryError) -> None:
    """Tell nobody."""
