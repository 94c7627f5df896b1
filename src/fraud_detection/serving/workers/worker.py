"""One worker of several: a process of its own, started by `fraud serve --workers N` and ended with it.

    python -m fraud_detection.serving.workers.worker SETTINGS    # JSON, see `WorkerSettings`

Its standard input is a pipe from the supervisor: when that closes, the worker finishes its requests and ends.
On its standard output it writes the name of its bundle once it is ready, and heartbeats as long as it does
not hang.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from importlib.metadata import version
from pathlib import Path

import msgspec

from fraud_detection.adapters.host.background import Background, BackgroundTask
from fraud_detection.adapters.host.gc_tuning import few_collections
from fraud_detection.adapters.host.server_log import configure_log
from fraud_detection.adapters.host.stopping import Stop, ending_on_signals
from fraud_detection.adapters.http.server import GRACE_S, listen, run_loop, serve_on
from fraud_detection.adapters.ipc.shared_counters import SharedCounters
from fraud_detection.adapters.sqlite.dedup.shared_ids import SharedIds
from fraud_detection.adapters.sqlite.state_file import StateFile
from fraud_detection.core.errors import ConfigError, FraudDetectionError
from fraud_detection.engine.engine import Engine
from fraud_detection.project.checks import open_project
from fraud_detection.releases.registry import ReleaseRegistry
from fraud_detection.serving.embedded.release_follower import ReleaseFollower, load_release
from fraud_detection.serving.embedded.service import BYTES_A_MB
from fraud_detection.serving.embedded.stream_runner import log_recovered
from fraud_detection.serving.http.api_keys import Access, load_keys
from fraud_detection.serving.http.batcher import WAIT_S, RequestBatcher
from fraud_detection.serving.http.key_follower import KeysFollower, log_no_keys, on_hangup
from fraud_detection.serving.http.openapi import openapi
from fraud_detection.serving.load_engine import load_engine
from fraud_detection.serving.workers.heartbeat import Heartbeat
from fraud_detection.serving.workers.ownership import Ownership, worker_path
from fraud_detection.serving.workers.replica import WorkerService
from fraud_detection.serving.workers.replication import Replicator
from fraud_detection.serving.workers.router import Router
from fraud_detection.serving.workers.routes import WorkerApi
from fraud_detection.serving.workers.settings import REFUSED, WorkerSettings

# It runs as `__main__`.
LOG = logging.getLogger("fraud_detection.serving.workers.worker")
FAILED = 1
LOOK_EVERY_S = 0.02
ORPHAN_ENDS_WITHIN_S = 30.0
PARENT = 0
"""The descriptor that closes when the supervisor ends."""


class Worker:
    """The process of one worker, from loading its state to its last response."""

    def __init__(self, settings: WorkerSettings, background: Background) -> None:
        """Load the model, and recover the state."""
        self.settings, self.background = settings, background
        self.heartbeat = Heartbeat(sys.stdout.fileno(), background)
        loaded = None if settings.registry is None else load_release(ReleaseRegistry(Path(settings.registry)))
        engine = _engine(settings) if loaded is None else loaded.engines[loaded.release.champion]
        self._shared_ids = [SharedIds(memory) for memory in settings.ids]
        self.ownership = Ownership(engine.project.schema, settings.workers)
        self.service = self._open(engine)
        self.releases = None
        if settings.registry is not None and loaded is not None:
            self.releases = ReleaseFollower(ReleaseRegistry(Path(settings.registry)), self.service, loaded)
        else:
            self.service.decide_with(engine)
        replicator = Replicator(self.service)
        access = Access(None if settings.keys is None else load_keys(Path(settings.keys)))
        self.requests = RequestBatcher(self.service, settings.max_queue)
        replicator.on_error = self.requests.health.defer
        self.requests.lags |= {
            f"worker-{other_worker}": partial(replicator.lag_s, other_worker)
            for other_worker in self.service.others
        }
        folder = Path(settings.folder)
        self.router = Router(self.requests, self.ownership, access, replicator, folder, self._shared_ids)
        with_keys = settings.keys is not None
        described = openapi(engine.project, version("fraud-detection-system"), with_keys=with_keys)
        self.api = WorkerApi(self.router, access, msgspec.json.encode(described))
        self.keys = None
        if settings.keys is not None:
            self.keys = KeysFollower(Path(settings.keys), access, background)
        self.replicator = replicator

    def run(self) -> None:
        """Serve until stopped, and save the state."""
        stop = Stop()
        try:
            # The server passes a signal on when it has stopped; other workers' calls are still to be served
            # then.
            look = log_no_keys if self.keys is None else self.keys.look_now
            with few_collections(), ending_on_signals(stop), on_hangup(look):
                if self.keys is not None:
                    self.keys.start()
                run_loop(self._serve(stop))
        finally:
            try:
                self.requests.close()
            finally:
                if self.releases is not None:
                    self.releases.close()
        decided = self.service.tally.decided
        message = "stopped: payments decided: %s"
        LOG.info(message, f"{decided:,}", extra={"event": "stopped", "decided": decided})

    async def _serve(self, stop: Stop) -> None:
        rpc, health = self.router.rpc, self.requests.health
        work = self.background.task
        tasks = [work("heartbeat", self.heartbeat.run_in_loop)]
        # Before any request: replicate what the others committed while this one was down.
        with health.guarded:
            await self.replicator.replicate_all()
        await rpc.open(self.background)
        tasks.append(work("commit-news", self.router.announce_commits))
        if await self._rpc_connected(stop):
            with health.guarded:
                await self.replicator.replicate_all()
            tasks.append(work("replication", self._replicate))
            await self._serve_requests(lambda: self._should_stop(stop))
        if stop.requested:
            # Otherwise this worker alone ends.
            await self.router.drain(GRACE_S)
        await rpc.close()
        for task in tasks:
            task.cancel()

    async def _replicate(self) -> None:
        with self.requests.health.guarded:
            await self.replicator.run()

    def _should_stop(self, stop: Stop) -> bool:
        """Return whether to end; polled, it also checks health and releases."""
        self.requests.health.look()
        if self.releases is not None:
            self.releases.look()
        broken = self.requests.health.broken is not None
        return stop.requested or broken

    async def _rpc_connected(self, stop: Stop) -> bool:
        """Wait until all workers are connected to one another; return False when stopped before."""
        while not stop.requested:
            if await self.router.rpc.all_connected():
                return True
            await asyncio.sleep(LOOK_EVERY_S)
        return False

    async def _serve_requests(self, should_stop: Callable[[], bool]) -> None:
        settings = self.settings
        listening = listen(settings.host, settings.port, shared=True)
        bundle = self.service.pipeline.decision_engine.champion.bundle
        LOG.info("serving bundle %s", bundle, extra={"event": "started", "bundle": bundle})
        self.heartbeat.write_line(bundle)
        await serve_on(
            listening,
            self.api,
            should_stop,
            certificate=None if settings.certificate is None else Path(settings.certificate),
            private_key=None if settings.private_key is None else Path(settings.private_key),
            max_connections=settings.max_connections,
        )

    def _open(self, engine: Engine) -> WorkerService:
        settings = self.settings
        paths = [
            worker_path(Path(settings.state), worker, settings.workers) for worker in range(settings.workers)
        ]
        state_file = StateFile(
            paths[settings.worker],
            synchronous=settings.synchronous,
            wait_s=WAIT_S,
            background=self.background,
            shared_ids=self._shared_ids[settings.worker],
        )
        others = {
            worker: StateFile(path, reading=True)
            for worker, path in enumerate(paths)
            if worker != settings.worker
        }
        counters = SharedCounters(Path(settings.folder), settings.worker, settings.workers)
        service = WorkerService(engine, settings.worker, state_file, others, counters=counters)
        service.limit_profile_memory(settings.profile_memory_mb * BYTES_A_MB)
        if service.recovered:
            log_recovered(service)
        return service


def main(arguments: Sequence[str]) -> int:
    """Run the worker of these settings; return 0, 1 after a failure, or 2 when it is misconfigured."""
    settings = msgspec.json.decode(arguments[1], type=WorkerSettings)
    configure_log(settings.log_format, settings.worker)
    background = Background()
    orphaned = _end_with_parent(background)
    try:
        Worker(settings, background).run()
    except FraudDetectionError as error:
        # The supervisor retries what may recover.
        refused = isinstance(error, ConfigError)
        LOG.critical("%s", error, extra={"event": "refused" if refused else "failed"})
        return REFUSED if refused else FAILED
    finally:
        if orphaned.is_set():
            shutil.rmtree(settings.folder, ignore_errors=True)
    return 0


def _end_with_parent(background: Background) -> threading.Event:
    """Watch the pipe from the supervisor; when it closes, end this process."""
    orphaned = threading.Event()

    def end_after_parent(_: BackgroundTask) -> None:
        with suppress(OSError):
            while os.read(PARENT, 1):
                pass
        orphaned.set()
        os.kill(os.getpid(), signal.SIGTERM)
        # There is no supervisor any more to kill a hanging worker; all returned decisions are committed.
        time.sleep(ORPHAN_ENDS_WITHIN_S)
        os.kill(os.getpid(), signal.SIGKILL)

    background.thread("parent", end_after_parent)
    return orphaned


def _engine(settings: WorkerSettings) -> Engine:
    project = None if settings.project is None else open_project(Path(settings.project))
    return load_engine(Path(settings.bundle), project)


if __name__ == "__main__":
    code = main(sys.argv)
    sys.stderr.flush()
    # All is closed by now.  Freeing millions of profiles would stop the heartbeat, and look like hanging.
    os._exit(code)
