"""A wall clock that never jumps back, for the bound on payments from the future (maximum future skew)."""

from __future__ import annotations

import time


class SteadyClock:
    """Ms since 1970: the wall clock, or the start plus the time since, whichever is later.

    A clock set back by hours would make every honest payment look as if it came from the future, and have it
    set aside.  A clock that jumps ahead is believed while it does: that refuses nothing, and is over when it
    is set right.
    """

    def __init__(self) -> None:
        """Start from the wall clock."""
        self._wall_s, self._began_s = time.time(), time.monotonic()

    def now_ms(self) -> int:
        """Return the time of day in ms."""
        passed_s = time.monotonic() - self._began_s
        return int(1000 * max(time.time(), self._wall_s + passed_s))
