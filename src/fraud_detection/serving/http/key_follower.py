"""Reload the file of API keys while a process runs: additions, changes and revocations apply within a second.

A file that cannot be read, or is wrong, changes nothing: the keys of before go on, and the log, `/metrics`
and `/readyz` say so until it is mended.  The process stays ready: a slip in the file must not take every
server out of service at once.
"""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from fraud_detection.adapters.host.background import Background, BackgroundTask
from fraud_detection.core.errors import ConfigError
from fraud_detection.serving.http.api_keys import Access, load_keys

LOG = logging.getLogger(__name__)
LOOK_EVERY_S = 1.0
KEYS = "keys"
"""The name of this part of the background work."""


class KeysFollower:
    """Keeps `access` on the keys of a file; `look` reloads them when the content has changed."""

    def __init__(self, path: Path, access: Access, background: Background) -> None:
        """Take the file that `access` was made of, just now."""
        self.path, self._access, self._background = path, access, background
        background.register(KEYS, essential=False)
        # What is read first may be newer than what `access` knows: it is compared, name by name.
        self._seen: bytes | None = None
        self._wake = threading.Event()

    def look(self) -> None:
        """Take the keys as they stand in the file now; keep those of before where they cannot be read."""
        try:
            content = self.path.read_bytes()
        except OSError as error:
            self._seen = None
            self._report_problem(f"{self.path}: cannot be read: {error.strerror}")
            return
        if content == self._seen:
            return
        self._seen = content
        try:
            keys = load_keys(self.path)
        except ConfigError as error:
            self._report_problem(str(error))
            return
        if self._background.warnings.pop(KEYS, ""):
            LOG.warning("%s: is read again", self.path, extra={"event": "keys_mended"})
        for what, names in self._access.replace(keys).items():
            LOG.warning("%s: %s: %s", self.path, what, ", ".join(names), extra={"event": "keys_changed"})

    def start(self) -> None:
        """Look once a second, in a thread that the process's background work supervises."""
        self._background.thread(KEYS, self._run)

    def look_now(self) -> None:
        """Let the thread look at once; also of use where a signal is handled."""
        self._wake.set()

    def close(self) -> None:
        """End the thread."""
        self._background.register(KEYS).stopping.set()
        self._wake.set()

    def _run(self, task: BackgroundTask) -> None:
        while not task.stopping.is_set():
            self._wake.clear()
            self.look()
            task.recovered()
            self._wake.wait(LOOK_EVERY_S)

    def _report_problem(self, problem: str) -> None:
        if self._background.warnings.get(KEYS) != problem:
            self._background.warnings[KEYS] = problem
            LOG.error("%s; the keys of before go on", problem, extra={"event": "keys_refused"})


@contextmanager
def on_hangup(work: Callable[[], None]) -> Iterator[None]:
    """Do something on SIGHUP, which would end the process."""
    previous_handler = signal.signal(signal.SIGHUP, lambda *_: work())
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, previous_handler)


def log_no_keys() -> None:
    """Handle SIGHUP where there are no keys."""
    message = "SIGHUP: no --keys were given, so there is nothing to read again"
    LOG.warning(message, extra={"event": "hangup_ignored"})
