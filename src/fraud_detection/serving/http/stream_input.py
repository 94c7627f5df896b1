"""Background stream input of a server: its events and the requests share profiles and engine.

A thread reads the source, so that no request waits for it; the event loop of the requests decides its events,
a few at a time, and commits the offset with them, as `fraud run` does.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
import time
from concurrent.futures import Future
from pathlib import Path

import msgspec

from fraud_detection.adapters.files.event_sources import Batch, open_source
from fraud_detection.adapters.host.background import BackgroundTask
from fraud_detection.adapters.host.stopping import Stop
from fraud_detection.adapters.http.connection_limit import MAX_CONNECTIONS
from fraud_detection.adapters.http.server import serve_on
from fraud_detection.core.errors import RetryError
from fraud_detection.serving.embedded.release_follower import ReleaseFollower
from fraud_detection.serving.embedded.stream_runner import offset_in
from fraud_detection.serving.http.batcher import RequestBatcher
from fraud_detection.serving.http.routes import Api

LOG = logging.getLogger(__name__)
BATCH = 16
"""Few: a request that comes meanwhile waits for them."""
PAUSE_S = 1.0
TIMEOUT_S = 5.0
STREAM = "stream"
"""The name of this part of the background work."""


class StreamInput:
    """Reads a source to its end, or until `stop`; after an error it resumes at the offset reached.

    A pipe has no offset to resume at: after an error it stays reported, and requests are still served.
    """

    def __init__(self, requests: RequestBatcher, source: str) -> None:
        """Find the stored offset; raise ConfigError when the source cannot be read."""
        engine = requests.service
        self._background = engine.state_file.background
        self._requests, self._source = requests, source
        self._opened = open_source(source, growing=True)
        self._name, self._start_at = offset_in(engine, source, self._opened)
        self._thread: threading.Thread | None = None
        self._stopping = self._background.register(STREAM, essential=False).stopping
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lagging_since: float | None = None
        requests.lags[STREAM] = self.lag_s

    def lag_s(self) -> float:
        """Return for how long, in s, it has not been at the end of the source; 0 while it is."""
        since = self._lagging_since
        return 0.0 if since is None else time.monotonic() - since

    def begin(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start reading; what is read is decided in that loop."""
        self._loop = loop
        self._thread = self._background.thread(STREAM, self.run)

    async def stop(self) -> None:
        """End after the events in hand, which the loop still has to take."""
        self._stopping.set()
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join, TIMEOUT_S)

    def run(self, task: BackgroundTask) -> None:
        """Read on until the end."""
        try:
            for batch in self._opened.batches(self._start_at, BATCH):
                if self._stopping.is_set():
                    return
                if batch.events:
                    if self._lagging_since is None:
                        self._lagging_since = time.monotonic()
                    self._hand_over(batch)
                    self._start_at = batch.offset
                    task.recovered()
                if len(batch.events) < BATCH:
                    # There was no more when it was read.
                    self._lagging_since = None
        except Exception:
            if self._source == "-":
                # Events that were read and not handed over are lost with the pipe.
                self._stopping.set()
            raise
        self._lagging_since = None
        message = "%s has ended; requests are still served"
        LOG.info(message, self._source, extra={"event": "source_ended"})

    def _hand_over(self, batch: Batch) -> None:
        """Let the loop decide the batch; retry while the state is busy."""
        waits = False
        while not self._stopping.is_set():
            done: Future[None] = Future()
            if self._loop is None:
                raise ValueError("`begin` was not called")
            self._loop.call_soon_threadsafe(self._take, batch, done)
            try:
                done.result()
            except RetryError as error:
                if not waits:
                    waits = True
                    LOG.warning("%s; %s waits", error, self._source, extra={"event": "source_waits"})
                time.sleep(PAUSE_S)
            else:
                return

    def _take(self, batch: Batch, done: Future[None]) -> None:
        try:
            self._requests.take_stream_batch(batch, self._name)
        except Exception as error:  # noqa: BLE001 - the thread waits for it, whatever it is
            done.set_exception(error)
        else:
            done.set_result(None)


class Listening(msgspec.Struct, frozen=True):
    """A socket that listens, with what TLS needs and how many connections may be open."""

    socket: socket.socket
    certificate: Path | None = None
    private_key: Path | None = None
    max_connections: int = MAX_CONNECTIONS


async def serve_with_stream(
    api: Api,
    listening: Listening,
    stream_input: StreamInput | None,
    stop: Stop,
    releases: ReleaseFollower | None = None,
) -> None:
    """Serve requests until stopped or broken, with a background stream input.

    releases: checked between requests.
    """
    if stream_input is not None:
        stream_input.begin(asyncio.get_running_loop())

    def should_stop() -> bool:
        api.requests.health.look()
        if releases is not None:
            releases.look()
        broken = api.requests.health.broken is not None
        return stop.requested or broken

    await serve_on(
        listening.socket,
        api,
        should_stop,
        certificate=listening.certificate,
        private_key=listening.private_key,
        max_connections=listening.max_connections,
    )
    if stream_input is not None:
        await stream_input.stop()
