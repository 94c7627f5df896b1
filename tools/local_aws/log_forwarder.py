"""What a function prints, on its way into a log stream: gathered, and put together some times a second."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

EVERY_S = 0.1


class LogForwarder:
    """Takes lines from any thread; `put` takes them on, many at once, in order.

    A failure of `put` is raised by `close`, which puts the rest.
    """

    def __init__(self, put: Callable[[Sequence[bytes]], object], every_s: float = EVERY_S) -> None:
        """Start to forward."""
        self._put, self._every_s = put, every_s
        self._lines: list[bytes] = []
        self._lock, self._turn, self._closing = threading.Lock(), threading.Lock(), threading.Event()
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._run, daemon=True, name="log")
        self._thread.start()

    def __call__(self, line: bytes) -> None:
        """Take a line."""
        with self._lock:
            self._lines.append(line)

    def close(self) -> None:
        """Put what is left; raise what went wrong meanwhile."""
        self._closing.set()
        self._thread.join()
        self.flush()
        if self._failure is not None:
            raise self._failure

    def _run(self) -> None:
        while not self._closing.wait(self._every_s):
            try:
                self.flush()
            except Exception as error:  # noqa: BLE001 - of another thread: it is raised where this one ends
                self._failure = error
                return

    def flush(self) -> None:
        """Put all that was taken so far."""
        with self._turn:
            with self._lock:
                lines, self._lines = self._lines, []
            if lines:
                self._put(lines)
