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

from typing import Final

_LOW_BITS: Final = (1 << 62) - 1
_SINGLE: Final = 0
"""Stands in the list form for the count of a bucket with one value."""


class Aggregate:
    """Count, sum, sum of squares and extremes of whole numbers; low and high mean nothing at count 0."""

    def __init__(self) -> None:
        """Start empty."""
        self.count: int = 0
        self.total: int = 0
        self.squares: int = 0
        self.low: int = 0
        self.high: int = 0


class Bucket:
    """Aggregate of the values in one bucket of the grid."""

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
    """A trailing window of `length_ms`, in buckets; `forget` bounds how many are kept.

    Its content is a function of the set of added values and of the latest `forget`: a bucket that has
    expired is never filled again.
    """

    def __init__(self, length_ms: int, bucket_count: int) -> None:
        """Start empty; `length_ms` must be a multiple of `bucket_count`."""
        self.bucket_ms: int = length_ms // bucket_count
        self.bucket_count: int = bucket_count
        self.last_expired: int = -1
        self.buckets: list[Bucket] = []
        # The aggregate of all kept buckets, so that most reads need no walk over them.
        self.count: int = 0
        self.total: int = 0
        self.squares: int = 0
        self.low: int = 0
        self.high: int = 0

    def add(self, time_ms: int, value: int) -> None:
        """Put `value` into the bucket of `time_ms`, unless that bucket has expired."""
        number = time_ms // self.bucket_ms
        if number <= self.last_expired:
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
        buckets = self.buckets
        size = len(buckets)
        if size > 0 and buckets[size - 1].number == number:
            buckets[size - 1].add(value)
        elif size == 0 or buckets[size - 1].number < number:
            buckets.append(Bucket(number, value))
        else:
            self._add_late(number, value)

    def forget(self, time_ms: int) -> None:
        """Drop the buckets that no read at `time_ms` or later would count."""
        last_expired = time_ms // self.bucket_ms - self.bucket_count
        if last_expired <= self.last_expired:
            return
        self.last_expired = last_expired
        buckets = self.buckets
        if len(buckets) == 0 or buckets[0].number > last_expired:
            return
        expired = 0
        for bucket in buckets:
            if bucket.number > last_expired:
                break
            expired += 1
        del buckets[:expired]
        self._recompute()

    def subtract(self, time_ms: int, value: int) -> None:
        """Undo one `add` of the same time and value, unless that has already left the window.

        Extremes cannot be undone; they keep what was once seen.
        """
        number = time_ms // self.bucket_ms
        for index, bucket in enumerate(self.buckets):
            if bucket.number == number:
                bucket.count -= 1
                bucket.total -= value
                bucket.squares -= value * value
                if bucket.count == 0:
                    del self.buckets[index]
                self._recompute()
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
        buckets = self.buckets
        newest = buckets[len(buckets) - 1].number
        if newest <= last_expired:
            result.count = 0
            result.total = 0
            result.squares = 0
        elif buckets[0].number <= last_expired or newest > last:
            self._subtract_outside(last_expired, last, result)

    def _subtract_outside(self, last_expired: int, last: int, result: Aggregate) -> None:
        """Subtract the buckets up to `last_expired` and those after `last` from `result`, which holds all."""
        buckets = self.buckets
        first, end = 0, len(buckets)
        extreme = False
        while first < end and buckets[first].number <= last_expired:
            extreme = self._subtract(buckets[first], result) or extreme
            first += 1
        while end > first and buckets[end - 1].number > last:
            end -= 1
            extreme = self._subtract(buckets[end], result) or extreme
        if extreme:
            self._extremes(first, end, result)

    def _subtract(self, bucket: Bucket, result: Aggregate) -> bool:
        """Subtract one bucket; return whether it may have held the extremes."""
        result.count -= bucket.count
        result.total -= bucket.total
        result.squares -= bucket.squares
        return bucket.low == self.low or bucket.high == self.high

    def _extremes(self, first: int, end: int, result: Aggregate) -> None:
        """Put the extremes of the buckets from index `first` to before `end` into `result`."""
        buckets = self.buckets
        if first < end:
            result.low = buckets[first].low
            result.high = buckets[first].high
            for index in range(first + 1, end):
                bucket = buckets[index]
                result.low = min(result.low, bucket.low)
                result.high = max(result.high, bucket.high)

    def to_list(self) -> list[int]:
        """Return the whole content as a flat list of 64-bit integers.

        A bucket of one value is stored as that value; bucket numbers are stored as differences.
        """
        flat = [self.last_expired]
        previous = self.last_expired
        for bucket in self.buckets:
            flat.append(bucket.number - previous)
            previous = bucket.number
            # A bucket that lost a value to `subtract` still has that value's extremes.
            if bucket.count == 1 and bucket.low == bucket.high:
                flat.append(_SINGLE)
                flat.append(bucket.total)
            else:
                flat.append(bucket.count)
                flat.append(bucket.low)
                flat.append(bucket.high)
                # Sums of large amounts need more than 64 bits, so they are stored in two halves.
                flat.append(bucket.total >> 62)
                flat.append(bucket.total & _LOW_BITS)
                flat.append(bucket.squares >> 62)
                flat.append(bucket.squares & _LOW_BITS)
        return flat

    def load_list(self, flat: list[int]) -> None:
        """Load what `to_list` returned; the window must be empty."""
        self.last_expired = flat[0]
        previous = self.last_expired
        at = 1
        while at < len(flat):
            previous += flat[at]
            count = flat[at + 1]
            bucket = Bucket(previous, flat[at + 2])
            at += 3
            if count != _SINGLE:
                bucket.count = count
                bucket.high = flat[at]
                bucket.total = (flat[at + 1] << 62) | flat[at + 2]
                bucket.squares = (flat[at + 3] << 62) | flat[at + 4]
                at += 5
            self.buckets.append(bucket)
        self._recompute()

    def _recompute(self) -> None:
        """Recompute the aggregate from the buckets."""
        total = Aggregate()
        for bucket in self.buckets:
            total.count += bucket.count
            total.total += bucket.total
            total.squares += bucket.squares
        self._extremes(0, len(self.buckets), total)
        self.count = total.count
        self.total = total.total
        self.squares = total.squares
        self.low = total.low
        self.high = total.high

    def _add_late(self, number: int, value: int) -> None:
        buckets = self.buckets
        index = len(buckets)
        while index > 0 and buckets[index - 1].number > number:
            index -= 1
        if index > 0 and buckets[index - 1].number == number:
            buckets[index - 1].add(value)
        else:
            buckets.insert(index, Bucket(number, value))


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


def to_lists(windows: list[Window]) -> list[list[int]]:
    """Return the content of each window."""
    return [window.to_list() for window in windows]


def load_lists(windows: list[Window], flats: list[list[int]]) -> None:
    """Take back what `to_lists` returned; the windows must be empty."""
    for window, flat in zip(windows, flats, strict=True):
        window.load_list(flat)
