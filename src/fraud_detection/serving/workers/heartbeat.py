"""The heartbeat of a worker: the supervisor kills a worker whose heartbeat stops.

While requests are served the event loop itself writes heartbeats, so that a hanging loop is noticed.  Before
and after there is no loop; a thread writes them then, which only shows that the process is not stopped.
"""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import suppress

from fraud_detection.adapters.host.background import Background, BackgroundTask

HEARTBEAT = b"\n"
HEARTBEAT_EVERY_S = 0.5


class Heartbeat:
    """Writes heartbeats to a pipe until the process ends; `write_line` writes text."""

    def __init__(self, descriptor: int, background: Background) -> None:
        """Start writing to a descriptor."""
        self._descriptor, self._in_loop = descriptor, False
        # Writing must not block when the other end does not read.
        os.set_blocking(descriptor, False)
        background.thread("heartbeat-thread", self._write_in_thread)

    def write_line(self, text: str) -> None:
        """Write one line of text."""
        self._write(f"{text}\n".encode())

    async def run_in_loop(self) -> None:
        """Write heartbeats from the running loop alone, until cancelled."""
        self._in_loop = True
        try:
            while True:
                self._write(HEARTBEAT)
                await asyncio.sleep(HEARTBEAT_EVERY_S)
        finally:
            self._in_loop = False

    def _write_in_thread(self, task: BackgroundTask) -> None:
        while not task.stopping.is_set():
            if not self._in_loop:
                self._write(HEARTBEAT)
            time.sleep(HEARTBEAT_EVERY_S)

    def _write(self, content: bytes) -> None:
        # A full pipe holds heartbeats enough; a broken one is handled elsewhere.
        with suppress(OSError):
            os.write(self._descriptor, content)
