"""A source that is read beside the requests: both meet the same profiles, in one engine.

A thread waits for the source, so that no request does; the engine takes what it gives in the loop of the
requests, a few events at a time.  The place reached is committed with them, as `fraud run` does.
"""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path

import msgspec

from fraud_detection.adapters.event_sources import Batch, open_source
from fraud_detection.adapters.http_bound import MOST_CONNECTIONS
from fraud_detection.adapters.http_server import serve_on
from fraud_detection.errors import RetryError
from fraud_detection.run.api import Api
from fraud_detection.run.follow_release import ReleaseFollower
from fraud_detection.run.request_door import RequestDoor
from fraud_detection.run.stream import Stop, place_in

BATCH = 16
"""Few: a request that comes meanwhile waits for them."""
PAUSE_S = 1.0
PATIENCE_S = 5.0


class SideSource(threading.Thread):
    """Reads a source to its end, or until `stop`.

    failed: why it could not be read on; None while all is well.
    """

    def __init__(self, door: RequestDoor, source: str, say: Callable[[str], None]) -> None:
        """Find the place that was reached before; raise ConfigError when the source cannot be read."""
        super().__init__(name="side-source", daemon=True)
        engine = door.door
        self.failed: Exception | None = None
        self._door, self._source, self._say = door, source, say
        self._opened = open_source(source, numbered=not engine.pipeline.parser.has_id, growing=True)
        self._name, self._start_at = place_in(engine, source, self._opened, say)
        self._stopping = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    def begin(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start reading; what is read is decided in that loop."""
        self._loop = loop
        self.start()

    async def stop(self) -> None:
        """End after the events in hand, which the loop still has to take."""
        self._stopping.set()
        await asyncio.to_thread(self.join, PATIENCE_S)

    def run(self) -> None:
        """Read on until the end."""
        try:
            for batch in self._opened.batches(self._start_at, BATCH):
                if self._stopping.is_set():
                    return
                if batch.events:
                    self._hand_over(batch)
        except Exception as error:  # noqa: BLE001 - raised again where the requests are answered
            self.failed = error
            return
        self._say(f"{self._source} has ended; requests are answered on")

    def _hand_over(self, batch: Batch) -> None:
        """Let the loop take the batch, again and again while the state is busy."""
        while not self._stopping.is_set():
            done: Future[None] = Future()
            if self._loop is None:
                raise ValueError("`begin` was not called")
            self._loop.call_soon_threadsafe(self._take, batch, done)
            try:
                done.result()
            except RetryError as error:
                self._say(f"{error}; {self._source} waits")
                time.sleep(PAUSE_S)
            else:
                return

    def _take(self, batch: Batch, done: Future[None]) -> None:
        try:
            self._door.take_beside(batch, self._name)
        except Exception as error:  # noqa: BLE001 - the thread waits for it, whatever it is
            done.set_exception(error)
        else:
            done.set_result(None)


class Listening(msgspec.Struct, frozen=True):
    """A socket that listens, with what TLS needs and how many connections may be open."""

    socket: socket.socket
    certificate: Path | None = None
    private_key: Path | None = None
    most_connections: int = MOST_CONNECTIONS


async def serve_beside(
    api: Api,
    listening: Listening,
    beside: SideSource | None,
    stop: Stop,
    releases: ReleaseFollower | None = None,
) -> None:
    """Answer requests until told to stop or the door is broken, and read a source beside them.

    Raises what made the source fail.

    releases: followed between requests.
    """

    def told() -> bool:
        if releases is not None:
            releases.look()
        broken = api.door.health.broken is not None
        return stop.asked or broken or (beside is not None and beside.failed is not None)

    if beside is not None:
        beside.begin(asyncio.get_running_loop())
    await serve_on(
        listening.socket,
        api,
        told,
        certificate=listening.certificate,
        private_key=listening.private_key,
        most_connections=listening.most_connections,
    )
    if beside is not None:
        await beside.stop()
        if beside.failed is not None:
            raise beside.failed
