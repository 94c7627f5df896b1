"""Trailing windows over one entity's payments, in bounded memory and exact arithmetic.

A window of length W is cut into k equal buckets on a fixed grid.  Read at time t, it
covers the current bucket and the k - 1 before it: between W - W/k and W back.
Values are whole numbers, so sums are exact in any order, and a payment goes into the
bucket of its own event time.  The content is therefore a function of the *set* of
payments that were added, not of the order in which they came.

Most reads need no walk over the buckets: the aggregate of all of them is kept, and the buckets outside the
window at the time of the read are subtracted from it.  Count, sum and sum of squares are whole numbers, so
subtraction stays exact however often it is done, where floats would drift.  A minimum cannot be subtracted;
but removing a bucket that does not hold the extreme leaves it as it is, so only the bucket that holds it
costs a walk.

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

from fraud_detection.core.features.buckets import Bucket, Buckets
from fraud_detection.core.features.packed import Cursor, array_head


class Aggregate:
    """Count, sum, sum of squares and extremes of whole numbers; low and high mean nothing at count 0."""

    def __init__(self) -> None:
        """Start empty."""
        self.count: int = 0
        self.total: int = 0
        self.squares: int = 0
        self.low: int = 0
        self.high: int = 0


class Window(Buckets):
    """A trailing window of `length_ms`, in buckets; `forget` bounds how many are kept.

    Its content is a function of the set of added values and of the latest `forget`: a bucket that has
    expired is never filled again.
    """

    def __init__(self, length_ms: int, bucket_count: int) -> None:
        """Start empty; `length_ms` must be a multiple of `bucket_count`."""
        super().__init__()
        self.bucket_ms: int = length_ms // bucket_count
        self.bucket_count: int = bucket_count
        self.last_expired: int = -1
        # The number of the first kept bucket, and the aggregate of all, so that most reads need no walk.
        self.first: int = 0
        self.count: int = 0
        self.total: int = 0
        self.squares: int = 0
        self.low: int = 0
        self.high: int = 0

    def add(self, time_ms: int, value: int) -> None:
        """Put `value` into the bucket of `time_ms`, unless that bucket has expired."""
        number, newest = time_ms // self.bucket_ms, self.newest
        if number <= self.last_expired:
            return
        if self.count == 0 or number > newest.number:
            self.append(number, value)
        elif number == newest.number:
            newest.add(value)
        else:
            self._add_late(number, value)
            return
        if self.count == 0:
            self.first = number
            self.low = value
            self.high = value
        else:
            self.low = min(self.low, value)
            self.high = max(self.high, value)
        self.count += 1
        self.total += value
        self.squares += value * value

    def forget(self, time_ms: int) -> None:
        """Drop the buckets that no read at `time_ms` or later would count."""
        last_expired = time_ms // self.bucket_ms - self.bucket_count
        if last_expired <= self.last_expired:
            return
        self.last_expired = last_expired
        if self.count == 0 or self.first > last_expired:
            return
        self._clear()
        walk = self.walk()
        while walk.next():
            if walk.number > last_expired:
                self._include(walk)
            else:
                self.drop(walk)

    def subtract(self, time_ms: int, value: int) -> None:
        """Undo one `add` of the same time and value, unless that has already left the window.

        Extremes cannot be undone; they keep what was once seen.
        """
        number, buckets = time_ms // self.bucket_ms, self.copies()
        for bucket in buckets:
            if bucket.number == number:
                bucket.count -= 1
                bucket.total -= value
                bucket.squares -= value * value
                self._replace([bucket for bucket in buckets if bucket.count > 0])
                return

    def at(self, now_ms: int) -> Aggregate:
        """Return the aggregate as of `now_ms`, with nothing that is later."""
        result = Aggregate()
        self.read(now_ms, now_ms, result)
        return result

    def read(self, now_ms: int, until_ms: int, result: Aggregate) -> None:
        """Write the aggregate of the window that ends at `now_ms` into `result`, which may be reused.

        Values later than `now_ms` count too, up to the bucket of `until_ms`.
        """
        result.count = self.count
        result.total = self.total
        result.squares = self.squares
        result.low = self.low
        result.high = self.high
        if self.count == 0:
            return
        last_expired = now_ms // self.bucket_ms - self.bucket_count
        last = until_ms // self.bucket_ms
        newest = self.newest.number
        if newest <= last_expired:
            result.count = 0
            result.total = 0
            result.squares = 0
        elif self.first <= last_expired or newest > last:
            self._subtract_outside(last_expired, last, result)

    def packed_window(self) -> bytes:
        """Return the whole content as it is stored; its origin is the last expired bucket."""
        return self.packed(self.last_expired)

    def load_window(self, cursor: Cursor) -> None:
        """Read what `packed_window` returned; the window must be empty."""
        left = self.begin_loading(cursor)
        self.last_expired = self.before
        while left > 0:
            left = self.load_next(cursor, left)
            self._include(self.newest)

    def _subtract_outside(self, last_expired: int, last: int, result: Aggregate) -> None:
        """Subtract the buckets up to `last_expired` and those after `last` from `result`, which holds all."""
        walk, extreme = self.walk(), False
        while walk.next():
            if last_expired < walk.number <= last:
                if self.newest.number <= last:
                    break
            else:
                result.count -= walk.count
                result.total -= walk.total
                result.squares -= walk.squares
                # It may have held the extremes.
                extreme = extreme or walk.low == self.low or walk.high == self.high
        if extreme:
            self._extremes(last_expired, last, result)

    def _extremes(self, last_expired: int, last: int, result: Aggregate) -> None:
        """Put the extremes of the buckets after `last_expired` and up to `last` into `result`."""
        walk, found = self.walk(), False
        while walk.next():
            if last_expired < walk.number <= last:
                result.low = min(result.low, walk.low) if found else walk.low
                result.high = max(result.high, walk.high) if found else walk.high
                found = True

    def _clear(self) -> None:
        """Let the aggregate be that of no bucket."""
        self.count = 0
        self.total = 0
        self.squares = 0

    def _recompute(self) -> None:
        """Recompute the aggregate from the buckets."""
        self._clear()
        walk = self.walk()
        while walk.next():
            self._include(walk)

    def _include(self, bucket: Bucket) -> None:
        """Add a bucket to the aggregate; they come in order."""
        if self.count == 0:
            self.first = bucket.number
            self.low = bucket.low
            self.high = bucket.high
        else:
            self.low = min(self.low, bucket.low)
            self.high = max(self.high, bucket.high)
        self.count += bucket.count
        self.total += bucket.total
        self.squares += bucket.squares

    def _add_late(self, number: int, value: int) -> None:
        """Put a value into a bucket before the newest."""
        buckets, index = self.copies(), 0
        while buckets[index].number < number:
            index += 1
        if buckets[index].number == number:
            buckets[index].add(value)
        else:
            bucket = Bucket()
            bucket.begin(number, value)
            buckets.insert(index, bucket)
        self._replace(buckets)

    def _replace(self, buckets: list[Bucket]) -> None:
        """Hold these buckets and no others."""
        self.replace(buckets)
        self._recompute()


def new_windows(lengths_ms: list[int], bucket_count: int) -> list[Window]:
    """Return an empty window of each length."""
    return [Window(length, bucket_count) for length in lengths_ms]


def add_to_each(windows: list[Window], time_ms: int, value: int, settled_ms: int) -> None:
    """Add a value to each window, and drop the buckets that no read at `settled_ms` or later would count."""
    for window in windows:
        window.add(time_ms, value)
        window.forget(settled_ms)


def read_each(windows: list[Window], now_ms: int, until_ms: int, results: list[Aggregate]) -> None:
    """Put the aggregate of each window into the result of the same index, see `Window.read`."""
    for index, window in enumerate(windows):
        window.read(now_ms, until_ms, results[index])


def pack_each(windows: list[Window]) -> bytes:
    """Return the windows as they are stored: an array of theirs."""
    pieces = [array_head(len(windows))]
    for window in windows:
        pieces.append(window.packed_window())
    return b"".join(pieces)


def load_each(windows: list[Window], cursor: Cursor) -> None:
    """Read what `pack_each` returned; the windows must be empty, and of the same lengths."""
    if cursor.length() != len(windows):
        raise ValueError("a profile cannot be read: it has other windows than its plan")
    for window in windows:
        window.load_window(cursor)
