"""Supervisor of worker processes: starts them, restarts those that die or hang, and stops all of them.

This process decides nothing and holds no state of payments: it reserves the port, owns the folder of the
workers' sockets, and receives the signals.
"""

from __future__ import annotations

import logging
import os
import secrets
import selectors
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, cast

import msgspec

from fraud_detection.adapters.host.stopping import Stop
from fraud_detection.adapters.http.server import reserve
from fraud_detection.adapters.sqlite.dedup.shared_ids import shared_memory
from fraud_detection.core.errors import ConfigError
from fraud_detection.serving.workers.ownership import check_shards
from fraud_detection.serving.workers.settings import REFUSED, WorkerSettings

LOOK_EVERY_S = 0.1
MAX_DEATHS = 5
"""A worker that dies so many times in a row within `STEADY_S` of its start will not live the next time."""
STEADY_S = 10.0
INITIAL_BACKOFF_S = 0.1
END_WITHIN_S = 30.0
HANGS_AFTER_S = 5.0
"""Without a heartbeat; longer than a worker is silent while its commit waits, or the system is busy."""
STARTS_WITHIN_S = 300.0
"""The same until it is ready: loading is slow on a cold disk, and a restart would not be faster."""
MAX_STDERR_BYTES = 1 << 16

LOG = logging.getLogger(__name__)


class WorkerProcess:
    """One worker's process, and how often it has died right after a start.

    restart_at: when it is to be started again, None while it runs.  bundle: the bundle it serves, empty until
    it is ready.  silent_s: time since its last heartbeat.
    """

    def __init__(self, settings: WorkerSettings, hash_seed: str) -> None:
        """Start it; `hash_seed` is that of all, see `shared_ids`."""
        self.settings, self.deaths, self._hash_seed = settings, 0, hash_seed
        self.process = self.start()

    def start(self) -> subprocess.Popen[bytes]:
        """Start a process, with pipes to this one."""
        settings = msgspec.json.encode(self.settings).decode()
        self.restart_at: float | None = None
        self.bundle, self.silent_s, self.started_at = "", 0.0, time.monotonic()
        # A session of its own: Ctrl-C reaches this process alone, which asks the workers to stop.
        self.process = subprocess.Popen(  # noqa: S603 - our own module
            [sys.executable, "-m", "fraud_detection.serving.workers.worker", settings],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
            pass_fds=self.settings.ids,
            env=os.environ | {"PYTHONHASHSEED": self._hash_seed},
        )
        return self.process

    @property
    def output(self) -> IO[bytes]:
        """Return the pipe of its heartbeats."""
        return cast("IO[bytes]", self.process.stdout)

    def heard(self, output: bytes) -> None:
        """Handle its output: heartbeats, and once the name of its bundle."""
        self.silent_s = 0.0
        self.bundle = output.decode().strip() or self.bundle

    def hangs(self, passed_s: float) -> bool:
        """Add the time passed; return whether its heartbeat is overdue."""
        self.silent_s += passed_s
        return self.silent_s > (HANGS_AFTER_S if self.bundle else STARTS_WITHIN_S)

    def kill(self) -> str:
        """Kill it, even if it is stopped, and return why; its end is handled as any other."""
        silent_s, self.silent_s = self.silent_s, 0.0
        self.process.kill()
        return f"worker {self.settings.worker} has sent no heartbeat for {silent_s:.0f} s: it is killed"

    def reap(self, now: float) -> str:
        """Collect its exit code and schedule a restart; raise ConfigError when a restart cannot help."""
        code, worker = self.process.wait(), self.settings.worker
        self.close()
        self.deaths = self.deaths + 1 if now - self.started_at < STEADY_S else 1
        if code == REFUSED:
            raise ConfigError(f"worker {worker} refused to start; its reason stands above")
        if self.deaths >= MAX_DEATHS:
            raise ConfigError(
                f"worker {worker} died {self.deaths} times, each within {STEADY_S:.0f} s of its start, at "
                f"last with code {code}; what it printed stands above. No decision is lost: start again when "
                "the cause is gone"
            )
        pause_s = INITIAL_BACKOFF_S * 2 ** (self.deaths - 1)
        self.restart_at = now + pause_s
        if code == -signal.SIGBUS:
            why = "its state file was cut short while it was mapped; the next start says more"
            return f"worker {worker} was ended by SIGBUS: {why}; it is started again in {pause_s:.1f} s"
        return f"worker {worker} ended with code {code}; it is started again in {pause_s:.1f} s"

    def close(self) -> None:
        """Close the pipes to a process that has ended."""
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()


class Hangups:
    """A SIGHUP that was not forwarded to the workers yet."""

    def __init__(self) -> None:
        """Start without one."""
        self._came = False

    def __call__(self) -> None:
        """Take note of one."""
        self._came = True

    def take(self) -> bool:
        """Return whether one came, once."""
        came, self._came = self._came, False
        return came


class Supervisor:
    """Runs the workers of one port, from their start to their end."""

    def __init__(self, settings: WorkerSettings) -> None:
        """Start them; `settings` are those of the first."""
        ids = tuple(shared_memory(worker) for worker in range(settings.workers))
        numbered = [
            msgspec.structs.replace(settings, worker=worker, ids=ids) for worker in range(settings.workers)
        ]
        hash_seed = str(secrets.randbelow(1 << 32))
        self._start_logged, self._looked_at = False, time.monotonic()
        self._selector = selectors.DefaultSelector()
        self.workers: list[WorkerProcess] = []
        for worker_settings in numbered:
            self.workers.append(WorkerProcess(worker_settings, hash_seed))
            self._monitor(self.workers[-1])

    def run(self, stop: Stop, address: str, hangups: Hangups) -> None:
        """Keep them running until stopped; log the address when all are ready."""
        while not stop.requested:
            self._look(LOOK_EVERY_S)
            if hangups.take():
                self._hand_on_hangup()
            bundles = [worker.bundle for worker in self.workers]
            if not self._start_logged and all(bundles):
                self._start_logged = True
                message = "bundle %s serves at %s, %d workers"
                extra = {"event": "started", "bundle": bundles[0], "address": address}
                LOG.info(message, bundles[0], address, len(bundles), extra=extra)

    def end(self) -> None:
        """End all, and wait until they have ended; what takes too long is killed."""
        running = [worker.process for worker in self.workers if worker.restart_at is None]
        for process in running:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        until = time.monotonic() + END_WITHIN_S
        for process in running:
            try:
                process.wait(max(until - time.monotonic(), 0.0))
            except subprocess.TimeoutExpired:
                message = "process %d did not end within %.0f s: it is killed"
                LOG.warning(message, process.pid, END_WITHIN_S, extra={"event": "worker_killed"})
                process.kill()
                process.wait()
        for worker in self.workers:
            worker.close()
        self._selector.close()

    def _hand_on_hangup(self) -> None:
        """Forward SIGHUP to ready workers; a starting one reads the keys anyway, and SIGHUP would end it."""
        for worker in self.workers:
            if worker.restart_at is None and worker.bundle and worker.process.poll() is None:
                worker.process.send_signal(signal.SIGHUP)

    def _monitor(self, worker: WorkerProcess) -> None:
        self._selector.register(worker.output, selectors.EVENT_READ, worker)

    def _look(self, wait_s: float) -> None:
        for key, _ in self._selector.select(wait_s):
            worker: WorkerProcess = key.data
            output = os.read(key.fd, MAX_STDERR_BYTES)
            if output:
                worker.heard(output)
                continue
            self._selector.unregister(worker.output)
            message = worker.reap(time.monotonic())
            LOG.warning(message, extra={"event": "worker_ended", "worker": worker.settings.worker})
        # Time in which this process itself was blocked does not count as silence.
        passed_s = min(time.monotonic() - self._looked_at, 2 * wait_s)
        self._looked_at = time.monotonic()
        for worker in self.workers:
            if worker.restart_at is None:
                if worker.hangs(passed_s):
                    message = worker.kill()
                    LOG.warning(message, extra={"event": "worker_killed", "worker": worker.settings.worker})
            elif time.monotonic() >= worker.restart_at:
                worker.start()
                self._monitor(worker)


def serve_with_workers(settings: WorkerSettings, stop: Stop, hangups: Hangups) -> None:
    """Serve with several workers until stopped; raise ConfigError when they cannot run."""
    state = Path(settings.state)
    with ExitStack() as stack:
        port = stack.enter_context(reserve(settings.host, settings.port))
        check_shards(state, settings.workers)
        folder = stack.enter_context(TemporaryDirectory(prefix="fraud-workers-", ignore_cleanup_errors=True))
        at = port.getsockname()[1]
        supervisor = Supervisor(msgspec.structs.replace(settings, folder=folder, port=at))
        stack.callback(supervisor.end)
        scheme = "http" if settings.certificate is None else "https"
        supervisor.run(stop, f"{scheme}://{settings.host}:{at}", hangups)
