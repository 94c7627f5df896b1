"""An event source mapping: delivers a Kinesis stream to a function as Lambda's own does.

It stands in for the mapping of a local stack, which is made disabled there, and takes its settings.  One
thread polls each shard, and each shard has a function of its own, so no shard waits for another.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self

from fraud_detection.adapters.aws.kinesis_consumer import Shard, ShardReader, list_shards
from fraud_detection.core.errors import ConfigError
from tools.local_aws.invocation import Function
from tools.local_aws.mapping_settings import MappingSettings
from tools.local_aws.shard_poller import FOR_GOOD, NEVER, PollIntervals, ShardPoller, ShardProgress

MAX_SHARDS = 200


class EventSourceMapping:
    """Delivers from `start` to `stop`, or for as long as a `with` block lasts.

    functions: makes the function of a shard, given its name.
    on_failure: takes messages about records that were dead-lettered; without it they are only counted.
    checkpoints: where to go on, by shard, as `checkpoints` gave them before.
    """

    def __init__(
        self,
        settings: MappingSettings,
        kinesis: Any,  # noqa: ANN401 - botocore's client has no type
        functions: Callable[[str], Function],
        on_failure: Callable[[bytes], object] | None = None,
        *,
        intervals: PollIntervals | None = None,
        checkpoints: Mapping[str, str] | None = None,
    ) -> None:
        """Take botocore's client; nothing is read yet."""
        self.settings = settings
        self.pollers: dict[str, ShardPoller] = {}
        self._kinesis, self._functions, self._on_failure = kinesis, functions, on_failure
        self._intervals, self._resumed = intervals or PollIntervals(), dict(checkpoints or {})
        self._stopping = threading.Event()
        self._changed = threading.Condition()
        self._made: dict[str, Function] = {}
        self._threads = ThreadPoolExecutor(MAX_SHARDS, thread_name_prefix="shard")
        self._running: dict[str, Future[None]] = {}
        self._first: set[str] = set()

    def __enter__(self) -> Self:
        """Start."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop."""
        self.stop()

    @property
    def progress(self) -> dict[str, ShardProgress]:
        """Return what every shard has come to."""
        return {shard: poller.progress for shard, poller in list(self.pollers.items())}

    @property
    def checkpoints(self) -> dict[str, str]:
        """Return the number of the last record of each shard that is done, for the shards that have one."""
        checkpoints = {shard: progress.checkpoint for shard, progress in self.progress.items()}
        return {shard: number for shard, number in checkpoints.items() if number is not None}

    def start(self) -> None:
        """Begin to deliver every shard whose parents are not still being delivered."""
        with self._changed:
            if self._stopping.is_set():
                return
            shards = list_shards(self._kinesis, self.settings.stream_arn)
            if len(shards) > MAX_SHARDS:
                raise ConfigError(f"{self.settings.stream_arn}: {len(shards)} shards, more than {MAX_SHARDS}")
            self._first = self._first or {shard.name for shard in shards}
            unfinished = {shard.name for shard in shards} - self._finished()
            for shard in shards:
                if shard.name not in self._running and unfinished.isdisjoint(shard.parents):
                    self._begin(shard)

    def drained(self, timeout_s: float) -> bool:
        """Wait until all that was in the stream at this moment is done; False when that takes too long.

        A poller that failed raises its error here.
        """
        requested_at, until = time.monotonic(), time.monotonic() + timeout_s
        with self._changed:
            while not self._all_idle_since(requested_at):
                if not self._changed.wait(until - time.monotonic()) and time.monotonic() >= until:
                    return False
        return True

    def stop(self) -> None:
        """Finish the invocations that are under way, end the functions, and raise what made a poller fail.

        What was not done is not lost: it lies behind the checkpoints.
        """
        with self._changed:
            self._stopping.set()
        self._threads.shutdown(wait=True)
        for function in self._made.values():
            function.close()
        for future in self._running.values():
            future.result()

    def _begin(self, shard: Shard) -> None:
        settings, after = self.settings, self._resumed.get(shard.name)
        reader = ShardReader(
            self._kinesis,
            settings.stream_arn,
            shard.name,
            # What a shard became since the mapping began is read from its beginning, wherever that was.
            start=settings.starting_position if shard.name in self._first else "TRIM_HORIZON",
            start_s=settings.starting_s,
            after=after,
        )
        self._made[shard.name] = function = self._functions(shard.name)
        self.pollers[shard.name] = poller = ShardPoller(
            settings,
            shard.name,
            reader,
            function,
            self._on_failure,
            intervals=self._intervals,
            stopping=self._stopping,
            progress=ShardProgress(after),
        )
        self._running[shard.name] = future = self._threads.submit(self._run, poller)
        future.add_done_callback(lambda _: self._notify())

    def _run(self, poller: ShardPoller) -> None:
        poller.run(self._notify)
        if poller.idle_s == FOR_GOOD and not self._stopping.is_set():
            self.start()

    def _notify(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _finished(self) -> set[str]:
        return {shard for shard, poller in self.pollers.items() if poller.idle_s == FOR_GOOD}

    def _all_idle_since(self, moment: float) -> bool:
        for future in self._running.values():
            if future.done():
                future.result()
        return all(self._idle(shard) >= moment for shard in self.pollers)

    def _idle(self, shard: str) -> float:
        """Return since when a shard is idle; one that ended is, once those that follow it have begun."""
        since = self.pollers[shard].idle_s
        return NEVER if since == FOR_GOOD and not self._running[shard].done() else since
