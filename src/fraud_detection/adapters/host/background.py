"""Supervise the background work of one process: what dies is started again, and is seen until it is healthy.

Each task of it (the checkpointer, the follower of releases, a stream that is read beside requests, the
replication of workers ...) has a name.  `/readyz`, `/metrics` and the log name every task that is not
healthy; nothing here ends the process.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any

from fraud_detection.core.errors import FraudDetectionError

LOG = logging.getLogger(__name__)

INITIAL_BACKOFF_S = 0.1
MAX_BACKOFF_S = 5.0
STEADY_AFTER_S = 1.0
"""A task that was restarted and has run so long counts as healthy, if it does not say so earlier."""
LOG_REPEAT_AFTER_S = 60.0
"""How often the same problem of a task is logged."""


class BackgroundTask:
    """A background thread or coroutine, and its health.

    failures: how often it failed.  problem: why it is not healthy; empty while it is.  stopping: set when it
    shall end.  essential: whether payments are decided rightly only while it works.

    >>> task = BackgroundTask("checkpointer")
    >>> task.failed(OSError("disk"))
    >>> task.healthy, task.failures, task.problem
    (False, 1, 'OSError: disk')
    >>> task.recovered()
    >>> task.healthy, task.failures
    (True, 1)
    """

    def __init__(self, name: str, *, essential: bool = True) -> None:
        """Start healthy."""
        self.name, self.failures, self.problem = name, 0, ""
        self.essential = essential
        self.stopping = threading.Event()
        self.started_at: float | None = None
        self._logged = ("", 0.0)

    @property
    def healthy(self) -> bool:
        """Return whether it works; one that runs steadily again does."""
        started = self.started_at
        if self.problem and started is not None and time.monotonic() - started >= STEADY_AFTER_S:
            self.recovered()
        return not self.problem

    def failed(self, error: Exception) -> None:
        """Count a failure, and log it; the same one once a minute."""
        self.failures += 1
        foreseen = isinstance(error, FraudDetectionError)
        self.problem = str(error) if foreseen else f"{type(error).__name__}: {error}"
        now = time.monotonic()
        logged, at = self._logged
        if logged == self.problem and now - at < LOG_REPEAT_AFTER_S:
            return
        self._logged = (self.problem, now)
        LOG.error(
            "background work %r failed, and is tried again: %s",
            self.name,
            self.problem,
            exc_info=None if foreseen or isinstance(error, OSError) else error,
            extra={"event": "background_task_failed", "task": self.name},
        )

    def recovered(self) -> None:
        """Take note that it works; said in the log where it did not."""
        if not self.problem:
            return
        self.problem, self._logged = "", ("", 0.0)
        LOG.warning(
            "background work %r is healthy again",
            self.name,
            extra={"event": "background_task_recovered", "task": self.name},
        )


class Background:
    """All background work of a process.

    warnings: what a person should look at, by task, though the task itself works.

    >>> background = Background()
    >>> rounds = []
    >>> def work(task):
    ...     rounds.append(len(rounds))
    ...     if len(rounds) < 3:
    ...         raise ValueError("any")
    >>> background.thread("reader", work).join()
    >>> rounds, background.tasks["reader"].failures, background.problems()
    ([0, 1, 2], 2, {})
    """

    def __init__(self, initial_backoff_s: float = INITIAL_BACKOFF_S) -> None:
        """Start without tasks."""
        self.tasks: dict[str, BackgroundTask] = {}
        self.warnings: dict[str, str] = {}
        self._initial_backoff_s = initial_backoff_s

    def register(self, name: str, *, essential: bool = True) -> BackgroundTask:
        """Register a task that its owner runs by itself, and return it; a known one as it is.

        Its owner calls `failed` and `recovered`.
        """
        return self.tasks.setdefault(name, BackgroundTask(name, essential=essential))

    @property
    def essential_healthy(self) -> bool:
        """Return whether payments are decided rightly, whatever else is not healthy."""
        return all(task.healthy for task in list(self.tasks.values()) if task.essential)

    def problems(self) -> dict[str, str]:
        """Return the tasks that are not healthy, with their problems."""
        return {name: task.problem for name, task in list(self.tasks.items()) if not task.healthy}

    def thread(self, name: str, work: Callable[[BackgroundTask], None]) -> threading.Thread:
        """Run work in a thread until it returns; what it raises is reported, and it is started again.

        It ends soon after `task.stopping` is set: the work looks at that.
        """
        task = self.register(name)

        def run() -> None:
            backoff_s = self._initial_backoff_s
            while not task.stopping.is_set():
                task.started_at = began = time.monotonic()
                try:
                    work(task)
                except Exception as error:  # noqa: BLE001 - whatever it is, it is reported and tried again
                    task.started_at = None
                    task.failed(error)
                else:
                    task.recovered()
                    return
                backoff_s = self._backoff(backoff_s, began)
                task.stopping.wait(backoff_s)

        thread = threading.Thread(target=run, name=name, daemon=True)
        thread.start()
        return thread

    def task(self, name: str, work: Callable[[], Coroutine[Any, Any, None]]) -> asyncio.Task[None]:
        """Do the same with a coroutine in the running loop; cancel the task to end it."""
        return asyncio.get_running_loop().create_task(self._supervised(self.register(name), work))

    async def _supervised(self, task: BackgroundTask, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        backoff_s = self._initial_backoff_s
        while not task.stopping.is_set():
            task.started_at = began = time.monotonic()
            try:
                await work()
            except Exception as error:  # noqa: BLE001 - whatever it is, it is reported and tried again
                task.started_at = None
                task.failed(error)
            else:
                task.recovered()
                return
            backoff_s = self._backoff(backoff_s, began)
            await asyncio.sleep(backoff_s)

    def _backoff(self, last_s: float, began: float) -> float:
        """Return how long to wait: longer each time, until a run was steady."""
        steady = time.monotonic() - began >= STEADY_AFTER_S
        return self._initial_backoff_s if steady else min(2 * last_s, MAX_BACKOFF_S)
