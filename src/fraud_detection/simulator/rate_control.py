"""Rate control: send each event when it is due, however slow the receiver is.  Only this part sleeps.

Three threads share the work, so that none holds up another: `Prefetcher` makes events before
they are due, `keep_rate` waits until each is due and hands it on, `Outbox` writes.  Between the
last two stands a queue without a bound: a slow receiver finds its events waiting, late.
"""

from __future__ import annotations

import contextlib
import itertools
import queue
import threading
import time
from typing import TYPE_CHECKING, Generic, Protocol, Self, TypeVar

from fraud_detection.core.errors import FraudDetectionError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from fraud_detection.simulator.messages import Timed

T = TypeVar("T")

_PREFETCH_ITEMS = 32
_EVENTS_A_WRITE = 1_024
_POLL_S = 0.2
_BLOCKED_S = 10.0


class Clock(Protocol):
    """Returns the time, and lets it pass."""

    def now(self) -> float:
        """Return seconds since 1970."""

    def sleep(self, seconds: float) -> None:
        """Return after so many seconds."""


class Receiver(Protocol):
    """Where events go; `write` may take as long as it likes."""

    def write(self, data: bytes) -> None:
        """Take whole lines; raise BrokenPipeError when nobody reads them any more."""

    def close(self) -> None:
        """Take note that nothing follows."""


class SystemClock:
    """The machine's clock; set once, so that it never jumps."""

    def __init__(self) -> None:
        """Note the difference between the wall clock and the steady one."""
        self._offset = time.time() - time.monotonic()

    def now(self) -> float:
        """Return seconds since 1970."""
        return self._offset + time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Return after so many seconds."""
        time.sleep(seconds)


class FakeClock:
    """A clock for tests: time passes only in sleep.

    >>> clock = FakeClock(100.0)
    >>> clock.sleep(2.5)
    >>> clock.now()
    102.5
    """

    def __init__(self, now: float = 0.0) -> None:
        """Start at `now`."""
        self._now = now

    def now(self) -> float:
        """Return seconds since 1970."""
        return self._now

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self._now += seconds


class FakeReceiver:
    """A receiver for tests: keeps lines, can be held up, and can go away after some writes."""

    def __init__(self, leaves_after: int | None = None) -> None:
        """Accept everything, or break after so many writes."""
        self.lines: list[bytes] = []
        self.closed = False
        self.flowing = threading.Event()
        self.flowing.set()
        self._writes_left = leaves_after

    def write(self, data: bytes) -> None:
        """Keep the lines, once the flow is free."""
        if self._writes_left == 0:
            raise BrokenPipeError
        if self._writes_left is not None:
            self._writes_left -= 1
        self.flowing.wait(_BLOCKED_S)
        self.lines += data.splitlines()

    def close(self) -> None:
        """Take note."""
        self.closed = True


class Outbox:
    """An unbounded queue of events, and the thread that writes them.

    After the `with` block everything is written, unless the receiver went away or
    `timeout_s` ran out.
    """

    def __init__(self, receiver: Receiver, clock: Clock, began: float, timeout_s: float = 1e9) -> None:
        """Take where to write, and when the schedule began."""
        self.gone = False
        self.max_lag_s = 0.0
        self.max_queue_events = 0
        self.timeout_s = timeout_s
        self._receiver, self._clock, self._began = receiver, clock, began
        self._queue: queue.SimpleQueue[Timed | None] = queue.SimpleQueue()
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="outbox", daemon=True)

    def put(self, event: Timed) -> None:
        """Hand on an event; never waits."""
        self._queue.put(event)
        self.max_queue_events = max(self.max_queue_events, self._queue.qsize())

    def __enter__(self) -> Self:
        """Start writing."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Write what waits, and raise what went wrong in writing."""
        self._queue.put(None)
        self._thread.join(self.timeout_s)
        if self._failure is not None:
            raise self._failure

    def _run(self) -> None:
        try:
            for events in iter(self._take, []):
                self._receiver.write(b"".join([event.data + b"\n" for event in events]))
                self.max_lag_s = max(self.max_lag_s, self._clock.now() - self._began - events[0].due_s)
            self._receiver.close()
        except BrokenPipeError:
            self.gone = True
        except (OSError, FraudDetectionError) as error:
            self.gone, self._failure = True, error

    def _take(self) -> list[Timed]:
        """Return what waits, at least one event; nothing at the end."""
        events: list[Timed] = []
        while len(events) < _EVENTS_A_WRITE and not (events and self._queue.empty()):
            event = self._queue.get()
            if event is None:
                self._queue.put(None)  # for the next time: this one may have found events before it
                break
            events.append(event)
        return events


class Prefetcher(Generic[T]):
    """Runs an iteration in a thread of its own, some items ahead of its reader.

    >>> with Prefetcher(range(3)) as items:
    ...     list(items)
    [0, 1, 2]
    """

    def __init__(self, items: Iterable[T]) -> None:
        """Take what to iterate."""
        self._items = items
        self._queue: queue.Queue[tuple[T] | None] = queue.Queue(_PREFETCH_ITEMS)
        self._stopped = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="prefetch", daemon=True)

    def __enter__(self) -> Prefetcher[T]:
        """Start iterating."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop iterating."""
        self._stopped.set()
        self._thread.join()

    def __iter__(self) -> Iterator[T]:
        """Yield the items; an error of the iteration is raised after them."""
        while (item := self._queue.get()) is not None:
            yield item[0]
        if self._failure is not None:
            raise self._failure

    def _run(self) -> None:
        try:
            for item in self._items:
                self._put((item,))
                if self._stopped.is_set():
                    return
        except BaseException as error:  # noqa: BLE001 - raised again in the reader's thread
            self._failure = error
        self._put(None)

    def _put(self, item: tuple[T] | None) -> None:
        while not self._stopped.is_set():
            with contextlib.suppress(queue.Full):
                self._queue.put(item, timeout=_POLL_S)
                return


def keep_rate(chunks: Iterable[list[Timed]], clock: Clock, began: float, outbox: Outbox) -> Iterator[Timed]:
    """Hand each event on when it is due, and yield it; end early when the receiver is gone."""
    for event in itertools.chain.from_iterable(chunks):
        while (wait := began + event.due_s - clock.now()) > 0 and not outbox.gone:
            clock.sleep(min(wait, _POLL_S))
        if outbox.gone:
            return
        outbox.put(event)
        yield event
