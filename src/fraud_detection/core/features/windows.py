"""Trailing windows over one entity's payments, in bounded memory and exact arithmetic.

A window of length W is cut into k equal panes on a fixed grid.  Asked at time t it
answers for the current pane and the k - 1 before it: between W - W/k and W back.
Values are whole numbers, so sums are exact in any order, and a payment goes into the
pane of its own event time.  The content is therefore a function of the *set* of
payments that were added, not of the order in which they came.

Most readings need no walk over the panes: the aggregate of all of them is kept, and what does not count at
the time of the reading is left out of it.  For count, sum and sum of squares that is subtraction, exact in
whole numbers however often it is done, where floats would drift.  A minimum cannot be subtracted from; but
a pane that has not the extreme of all does not change it by going, so only the one that has it costs a walk.

Nothing here reads a clock, and reading changes nothing:

>>> hour = Window(3_600_000, 24)
>>> hour.add(0, 500)
>>> hour.add(60_000, 700)
>>> aggregate = hour.at(120_000)
>>> aggregate.count, aggregate.total, aggregate.low, aggregate.high
(2, 1200, 500, 700)
>>> hour.at(30 * 86_400_000).count
0
"""

from __future__ import annotations

from typing import Final

_LOW_BITS: Final = (1 << 62) - 1
_SINGLE: Final = 0
"""Stands in a dump for the count of a pane with one value."""


class Aggregate:
    """Count, sum, sum of squares and extremes of whole numbers; low and high mean nothing at count 0."""

    def __init__(self) -> None:
        """Start empty."""
        self.count: int = 0
        self.total: int = 0
        self.squares: int = 0
        self.low: int = 0
        self.high: int = 0


class Pane:
    """What fell into one pane of the grid."""

    def __init__(self, number: int, value: int) -> None:
        """Start with the first value."""
        self.number: int = number
        self.count: int = 1
        self.total: int = value
        self.squares: int = value * value
        self.low: int = value
        self.high: int = value

    def add(self, value: int) -> None:
        """Count one more value."""
        self.count += 1
        self.total += value
        self.squares += value * value
        self.low = min(self.low, value)
        self.high = max(self.high, value)


class Window:
    """A trailing window of `length_ms`, in panes; `forget` bounds how many are kept.

    What is kept is a function of the set of what was added and of the latest `forget`, because what is
    forgotten once is not taken in again.
    """

    def __init__(self, length_ms: int, panes: int) -> None:
        """Start empty; `length_ms` must be a multiple of `panes`."""
        self.pane_ms: int = length_ms // panes
        self.panes: int = panes
        self.gone: int = -1
        self.kept: list[Pane] = []
        # The aggregate of all kept panes, so that most readings need not walk over them.
        self.count: int = 0
        self.total: int = 0
        self.squares: int = 0
        self.low: int = 0
        self.high: int = 0

    def add(self, time_ms: int, value: int) -> None:
        """Put `value` into the pane of `time_ms`, unless that has been forgotten."""
        number = time_ms // self.pane_ms
        if number <= self.gone:
            return
        if self.count == 0:
            self.low = value
            self.high = value
        else:
            self.low = min(self.low, value)
            self.high = max(self.high, value)
        self.count += 1
        self.total += value
        self.squares += value * value
        kept = self.kept
        size = len(kept)
        if size > 0 and kept[size - 1].number == number:
            kept[size - 1].add(value)
        elif size == 0 or kept[size - 1].number < number:
            kept.append(Pane(number, value))
        else:
            self._add_late(number, value)

    def forget(self, time_ms: int) -> None:
        """Forget for good what no reading at `time_ms` or later would count."""
        gone = time_ms // self.pane_ms - self.panes
        if gone <= self.gone:
            return
        self.gone = gone
        kept = self.kept
        if len(kept) == 0 or kept[0].number > gone:
            return
        expired = 0
        for pane in kept:
            if pane.number > gone:
                break
            expired += 1
        del kept[:expired]
        self._sum_up()

    def take_back(self, time_ms: int, value: int) -> None:
        """Undo one `add` of the same time and value, unless that has already left the window.

        Extremes cannot be undone; they keep what was once seen.
        """
        number = time_ms // self.pane_ms
        for place, pane in enumerate(self.kept):
            if pane.number == number:
                pane.count -= 1
                pane.total -= value
                pane.squares -= value * value
                if pane.count == 0:
                    del self.kept[place]
                self._sum_up()
                return

    def at(self, now_ms: int) -> Aggregate:
        """Return the aggregate as of `now_ms`, with nothing that is later."""
        result = Aggregate()
        self.read(now_ms, now_ms, result)
        return result

    def read(self, now_ms: int, until_ms: int, result: Aggregate) -> None:
        """Put the aggregate of the window that ends at `now_ms` into `result`, which may be used again.

        What is later than `now_ms` counts too, up to the pane of `until_ms`.
        """
        result.count = self.count
        result.total = self.total
        result.squares = self.squares
        result.low = self.low
        result.high = self.high
        if self.count == 0:
            return
        gone = now_ms // self.pane_ms - self.panes
        last = until_ms // self.pane_ms
        kept = self.kept
        newest = kept[len(kept) - 1].number
        if newest <= gone:
            result.count = 0
            result.total = 0
            result.squares = 0
        elif kept[0].number <= gone or newest > last:
            self._leave_out(gone, last, result)

    def _leave_out(self, gone: int, last: int, result: Aggregate) -> None:
        """Take the panes up to number `gone` and those after `last` out of `result`, which holds all."""
        kept = self.kept
        first, end = 0, len(kept)
        extreme = False
        while first < end and kept[first].number <= gone:
            extreme = self._take_out(kept[first], result) or extreme
            first += 1
        while end > first and kept[end - 1].number > last:
            end -= 1
            extreme = self._take_out(kept[end], result) or extreme
        if extreme:
            self._extremes(first, end, result)

    def _take_out(self, pane: Pane, result: Aggregate) -> bool:
        """Take one pane out; return whether the extremes may have been in it."""
        result.count -= pane.count
        result.total -= pane.total
        result.squares -= pane.squares
        return pane.low == self.low or pane.high == self.high

    def _extremes(self, first: int, end: int, result: Aggregate) -> None:
        """Put the extremes of the panes from place `first` to before `end` into `result`."""
        kept = self.kept
        if first < end:
            result.low = kept[first].low
            result.high = kept[first].high
            for place in range(first + 1, end):
                pane = kept[place]
                result.low = min(result.low, pane.low)
                result.high = max(result.high, pane.high)

    def dump(self) -> list[int]:
        """Return the whole content as a flat list of 64-bit integers.

        Most panes hold one value, which says all of them; their numbers are told as distances.
        """
        flat = [self.gone]
        before = self.gone
        for pane in self.kept:
            flat.append(pane.number - before)
            before = pane.number
            # One that has lost another by `take_back` still has the other's extremes.
            if pane.count == 1 and pane.low == pane.high:
                flat.append(_SINGLE)
                flat.append(pane.total)
            else:
                flat.append(pane.count)
                flat.append(pane.low)
                flat.append(pane.high)
                # Sums of large amounts need more than 64 bits, so they are stored in two halves.
                flat.append(pane.total >> 62)
                flat.append(pane.total & _LOW_BITS)
                flat.append(pane.squares >> 62)
                flat.append(pane.squares & _LOW_BITS)
        return flat

    def restore(self, flat: list[int]) -> None:
        """Take back what `dump` returned; the window must be new."""
        self.gone = flat[0]
        before = self.gone
        at = 1
        while at < len(flat):
            before += flat[at]
            count = flat[at + 1]
            pane = Pane(before, flat[at + 2])
            at += 3
            if count != _SINGLE:
                pane.count = count
                pane.high = flat[at]
                pane.total = (flat[at + 1] << 62) | flat[at + 2]
                pane.squares = (flat[at + 3] << 62) | flat[at + 4]
                at += 5
            self.kept.append(pane)
        self._sum_up()

    def _sum_up(self) -> None:
        """Make the aggregate anew from the panes."""
        whole = Aggregate()
        for pane in self.kept:
            whole.count += pane.count
            whole.total += pane.total
            whole.squares += pane.squares
        self._extremes(0, len(self.kept), whole)
        self.count = whole.count
        self.total = whole.total
        self.squares = whole.squares
        self.low = whole.low
        self.high = whole.high

    def _add_late(self, number: int, value: int) -> None:
        kept = self.kept
        place = len(kept)
        while place > 0 and kept[place - 1].number > number:
            place -= 1
        if place > 0 and kept[place - 1].number == number:
            kept[place - 1].add(value)
        else:
            kept.insert(place, Pane(number, value))


def new_windows(lengths_ms: list[int], panes: int) -> list[Window]:
    """Return an empty window of each length."""
    return [Window(length, panes) for length in lengths_ms]


def add_to_each(windows: list[Window], time_ms: int, value: int, settled_ms: int) -> None:
    """Add a value to each window, and forget what no reading at `settled_ms` or later would count."""
    for window in windows:
        window.add(time_ms, value)
        window.forget(settled_ms)


def read_each(windows: list[Window], now_ms: int, until_ms: int, results: list[Aggregate]) -> None:
    """Put the aggregate of each window into the result of the same place, see `Window.read`."""
    for place, window in enumerate(windows):
        window.read(now_ms, until_ms, results[place])


def dump_each(windows: list[Window]) -> list[list[int]]:
    """Return the content of each window."""
    return [window.dump() for window in windows]


def restore_each(windows: list[Window], flats: list[list[int]]) -> None:
    """Take back what `dump_each` returned; the windows must be new."""
    for window, flat in zip(windows, flats, strict=True):
        window.restore(flat)
