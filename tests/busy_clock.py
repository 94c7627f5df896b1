"""A clock that goes as slowly as the machine is busy.

A bound in its seconds holds on a machine that others use too: half of each tick is slept, half is computed,
so a tick takes as much longer as everything else does.
"""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import Self

TICK_S = 0.01


class BusyClock:
    """Counts ticks from its start: a hundredth of a second each where nobody else is at work."""

    def __init__(self) -> None:
        self._ticks, self._stop = 0, threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        """Start."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop."""
        self._stop.set()
        self._thread.join()

    def seconds(self) -> float:
        """Return how long it goes."""
        return self._ticks * TICK_S

    def _run(self) -> None:
        while not self._stop.wait(TICK_S / 2):
            until = time.thread_time() + TICK_S / 2
            while time.thread_time() < until:
                pass
            self._ticks += 1
