"""Stop work on request: a signal, or a caller."""

from __future__ import annotations

import faulthandler
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


class Stop:
    """Becomes true on a request to stop: a signal, or a caller."""

    def __init__(self) -> None:
        """Start in the running state."""
        self.requested = False

    def __call__(self, *_: object) -> None:
        """Ask to end after the batch in hand."""
        self.requested = True


@contextmanager
def ending_on_signals(stop: Stop) -> Iterator[None]:
    """Let Ctrl-C and SIGTERM end the work after the batch in hand.

    What kills the process at once, such as SIGBUS where a mapped file is cut short, leaves a word behind.
    """
    if not faulthandler.is_enabled():
        faulthandler.enable()
    previous_handlers: dict[signal.Signals, Callable[[int, FrameType | None], object] | int | None] = {}
    for number in (signal.SIGINT, signal.SIGTERM):
        previous_handlers[number] = signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in previous_handlers.items():
            signal.signal(number, handler)
