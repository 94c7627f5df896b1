"""Reads one shard and delivers it to one function, one batch at a time, in order, until it is asked to stop.

A checkpoint moves only behind records that succeeded, or were sent to the on-failure destination.  A
poller that is stopped or dies starts again behind its checkpoint.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from itertools import takewhile
from typing import Protocol

import msgspec

from fraud_detection.adapters.aws.kinesis_consumer import MAX_RECORDS, Reading
from fraud_detection.core.errors import RetryError
from fraud_detection.core.metrics import LatencyHistogram
from tools.local_aws.delivery import Delivery, RecordRange, records_done
from tools.local_aws.invocation import Function, Invocation
from tools.local_aws.kinesis_event import (
    AGED,
    FAILED,
    DeadLetter,
    EventShape,
    Waiting,
    event_of,
    fitting,
)
from tools.local_aws.mapping_settings import FOREVER, MappingSettings

NEVER, FOR_GOOD = float("-inf"), float("inf")


class Reader(Protocol):
    """What reads a shard from where it left off."""

    def read(self, limit: int) -> Reading:
        """Return the next records; raise RetryError when that fails."""


class PollIntervals(msgspec.Struct, frozen=True):
    """How often a shard is read, and how long a failure waits; AWS reads once a second.

    catch_up_s: pause between two reads while there is more to read: Kinesis allows five a second.
    """

    poll_s: float = 1.0
    lagging_poll_s: float = 0.2
    initial_backoff_s: float = 0.1
    max_backoff_s: float = 10.0

    def pause_s(self, failures: int) -> float:
        """Return how long to wait after so many failures in a row.

        >>> [PollIntervals().pause_s(failures) for failures in (1, 2, 3, 100)]
        [0.1, 0.2, 0.4, 10.0]
        """
        return float(min(self.max_backoff_s, self.initial_backoff_s * 2.0 ** min(failures - 1, 60)))


class ShardProgress:
    """What a shard has come to.

    records: done.  invocations, retries, splits: of the function.  given_up: records sent to the on-failure
    destination, or dropped where there is none.  behind_ms: how far reading is behind the shard's end.
    since_put: from a record's arrival in the stream to its first invocation.
    """

    def __init__(self, checkpoint: str | None = None) -> None:
        """Start behind a checkpoint."""
        self.checkpoint = checkpoint
        self.records = self.invocations = self.retries = self.splits = self.dead_lettered = 0
        self.throttled = self.lag_ms = 0
        self.since_put = LatencyHistogram()


class ShardPoller:
    """The poller of one shard; `run` is the work of a thread."""

    def __init__(  # noqa: PLR0913 - what it joins
        self,
        settings: MappingSettings,
        shard: str,
        reader: Reader,
        function: Function,
        on_failure: Callable[[bytes], object] | None,
        *,
        intervals: PollIntervals,
        stopping: threading.Event,
        progress: ShardProgress,
    ) -> None:
        """Take the ends; `on_failure` takes messages about records that were dead-lettered."""
        self.progress = progress
        self.idle_s = NEVER
        """When the last read began that found nothing, with nothing left to deliver."""
        self._settings, self._reader, self._function, self._on_failure = (
            settings,
            reader,
            function,
            on_failure,
        )
        self._intervals, self._stopping = intervals, stopping
        self._shape = EventShape(settings, shard)
        self._waiting: list[Waiting] = []
        self._window_s = 0.0
        self._closed = False
        self._next_read_s = NEVER

    def run(self, changed: Callable[[], object]) -> None:
        """Read and deliver until asked to stop, or to the end of a closed shard."""
        while not self._stopping.is_set():
            if self._due():
                self._deliver(self._take())
            elif self._closed:
                self.idle_s = FOR_GOOD
                break
            elif not self._read():
                changed()
        changed()

    def _due(self) -> bool:
        """Say whether a batch is full, or its window is over."""
        if len(self._waiting) >= self._settings.batch_size or fitting(self._waiting) < len(self._waiting):
            return True
        over = self._closed or time.monotonic() >= self._window_s + self._settings.window_s
        return bool(self._waiting) and over

    def _take(self) -> list[Waiting]:
        count = fitting(self._waiting[: self._settings.batch_size])
        batch, self._waiting = self._waiting[:count], self._waiting[count:]
        return batch

    def _read(self) -> bool:
        """Wait until it is time, then read; return False when all that there was is done."""
        if not self._wait_to_read():
            return True
        began = time.monotonic()
        reading = self._try_to_read()
        if reading is None:
            return True
        lags = reading.records or reading.lag_ms or self._waiting
        self.idle_s = NEVER if lags else began
        if reading.records and not self._waiting:
            self._window_s = max(self._window_s, began)
        self._waiting += [self._shape.waiting(record) for record in reading.records]
        self._closed, self.progress.lag_ms = reading.closed, reading.lag_ms
        pause = self._intervals.poll_s
        self._next_read_s = began + (min(pause, self._intervals.lagging_poll_s) if reading.lag_ms else pause)
        return self.idle_s == NEVER

    def _wait_to_read(self) -> bool:
        """Wait for the next read; return False when a window ends before that."""
        window_s = self._window_s + self._settings.window_s if self._waiting else FOR_GOOD
        self._stopping.wait(max(0.0, min(self._next_read_s, window_s) - time.monotonic()))
        return window_s > self._next_read_s

    def _try_to_read(self) -> Reading | None:
        failures = 0
        while not self._stopping.is_set():
            try:
                return self._reader.read(MAX_RECORDS)
            except RetryError:
                failures += 1
                self.progress.throttled += 1
                self._stopping.wait(self._intervals.pause_s(failures))
        return None

    def _deliver(self, batch: list[Waiting]) -> None:
        """Deliver a batch to its end, or to where it was stopped."""
        delivery = Delivery(len(batch), self._settings)
        last: Invocation | None = None
        while (record_range := delivery.next) is not None and not self._stopping.is_set():
            aged = self._aged(batch[record_range.start : record_range.stop])
            if aged:
                old = delivery.expired(aged)
                self._dead_letter(
                    batch, old, DeadLetter(AGED, old.invocations, last if old.invocations else None)
                )
                continue
            last = self._invoke(batch, record_range)
            numbers = [record.number for record in batch[record_range.start : record_range.stop]]
            step = delivery.delivered(records_done(last, numbers, self._settings))
            self._done(batch, record_range.start, step.checkpoint)
            if step.dead_lettered is not None:
                self._dead_letter(
                    batch, step.dead_lettered, DeadLetter(FAILED, step.dead_lettered.invocations, last)
                )
            elif step.retry:
                self.progress.retries += 1
                self._stopping.wait(self._intervals.pause_s(step.left[0].retries))
            else:
                self.progress.splits += len(step.left) > 0
        self._window_s = time.monotonic()

    def _invoke(self, batch: list[Waiting], record_range: RecordRange) -> Invocation:
        records = batch[record_range.start : record_range.stop]
        if not record_range.invocations:
            now = time.time()
            for record in records:
                self.progress.since_put.add(now - record.arrived_s)
        self.progress.invocations += 1
        return self._function.invoke(event_of(records))

    def _aged(self, records: list[Waiting]) -> int:
        """Return how many of the first records are older than allowed."""
        if self._settings.maximum_record_age_s == FOREVER:
            return 0
        oldest = time.time() - self._settings.maximum_record_age_s
        return sum(1 for _ in takewhile(lambda record: record.arrived_s < oldest, records))

    def _done(self, batch: list[Waiting], start: int, stop: int) -> None:
        if stop > start:
            self.progress.records += stop - start
            self.progress.checkpoint = batch[stop - 1].number

    def _dead_letter(self, batch: list[Waiting], record_range: RecordRange, why: DeadLetter) -> None:
        """Dead-letter records, then go on after them; stopped before that, they are not dead-lettered."""
        message = self._shape.failure(batch[record_range.start : record_range.stop], why, time.time())
        failures = 0
        while not self._delivered(message):
            failures += 1
            if self._stopping.wait(self._intervals.pause_s(failures)):
                return
        self.progress.dead_lettered += record_range.stop - record_range.start
        self.progress.checkpoint = batch[record_range.stop - 1].number

    def _delivered(self, message: bytes) -> bool:
        try:
            if self._on_failure is not None:
                self._on_failure(message)
        except RetryError:
            return False
        return True
