"""The buckets of a window: packed as they are stored, but for the newest, into which most values go.

Nothing has to be built when a profile is loaded, and hardly anything written when it is saved: the buckets
that did not change are the bytes that were loaded.
"""

from __future__ import annotations

from typing import Final

from fraud_detection.core.features.packed import Cursor, array_head, items

LOW_BITS: Final = (1 << 62) - 1
SINGLE: Final = 0
"""Stands for the count of a bucket with one value, of which nothing follows but the value."""
INTEGERS_OF_SINGLE: Final = 3
INTEGERS: Final = 8
"""So many integers are stored of a bucket, its distance from the one before included."""


class Bucket:
    """Aggregate of the values in one bucket; `number` is its place on the grid."""

    def __init__(self) -> None:
        """Start empty."""
        self.number: int = 0
        self.count: int = 0
        self.total: int = 0
        self.squares: int = 0
        self.low: int = 0
        self.high: int = 0

    def begin(self, number: int, value: int) -> None:
        """Start anew with one value."""
        self.number = number
        self.count = 1
        self.total = value
        self.squares = value * value
        self.low = value
        self.high = value

    def add(self, value: int) -> None:
        """Count one more value."""
        self.count += 1
        self.total += value
        self.squares += value * value
        self.low = min(self.low, value)
        self.high = max(self.high, value)

    def copy(self) -> Bucket:
        """Return another one that holds the same."""
        other = Bucket()
        other.number = self.number
        other.count = self.count
        other.total = self.total
        other.squares = self.squares
        other.low = self.low
        other.high = self.high
        return other

    def read(self, cursor: Cursor) -> int:
        """Read the bucket that follows the one read before; return of how many integers."""
        self.number += cursor.integer()
        count = cursor.integer()
        value = cursor.integer()
        self.low = value
        if count == SINGLE:
            self.count = 1
            self.total = value
            self.squares = value * value
            self.high = value
            return INTEGERS_OF_SINGLE
        self.count = count
        self.high = cursor.integer()
        # Sums of large amounts need more than 64 bits, so they are stored in two halves.
        self.total = (cursor.integer() << 62) | cursor.integer()
        self.squares = (cursor.integer() << 62) | cursor.integer()
        return INTEGERS

    def integers(self, previous: int) -> list[int]:
        """Return what is stored of it behind the bucket with the number `previous`."""
        # A bucket that lost a value to `subtract` still has that value's extremes.
        if self.count == 1 and self.low == self.high:
            return [self.number - previous, SINGLE, self.total]
        return [
            self.number - previous,
            self.count,
            self.low,
            self.high,
            self.total >> 62,
            self.total & LOW_BITS,
            self.squares >> 62,
            self.squares & LOW_BITS,
        ]


class Walk(Bucket):
    """Goes over buckets: those packed in `content` from `start` to before `end`, and then the newest.

    After each `next` it holds that bucket, and `integers_read` says how many integers of it are packed.
    """

    def __init__(self, content: bytes, start: int, end: int, before: int, newest: Bucket) -> None:
        """Start before the first bucket; `before` is what its distance counts from."""
        super().__init__()
        self.number = before
        self.cursor: Cursor = Cursor(content, start)
        self.end: int = end
        self.newest: Bucket = newest
        self.newest_is_left: bool = newest.count > 0
        self.integers_read: int = 0

    def next(self) -> bool:
        """Go to the next bucket; return whether there is one."""
        if self.cursor.at < self.end:
            self.integers_read = self.read(self.cursor)
            return True
        if not self.newest_is_left:
            return False
        self.newest_is_left = False
        self.integers_read = 0
        newest = self.newest
        self.number = newest.number
        self.count = newest.count
        self.total = newest.total
        self.squares = newest.squares
        self.low = newest.low
        self.high = newest.high
        return True


class Buckets:
    """Buckets in the order of their numbers.

    newest: the last one, empty where there is none.  The older ones are packed in `content` from `start` to
    before `end`, as `older_integers` integers; `before` is what the distance of the first one counts from,
    `previous` the number of the last one.
    """

    def __init__(self) -> None:
        """Start without any."""
        self.newest: Bucket = Bucket()
        self.content: bytes = b""
        self.start: int = 0
        self.end: int = 0
        self.older_integers: int = 0
        self.before: int = 0
        self.previous: int = 0

    def walk(self) -> Walk:
        """Return what goes over them, the first one first."""
        return Walk(self.content, self.start, self.end, self.before, self.newest)

    def copies(self) -> list[Bucket]:
        """Return copies of them."""
        copies: list[Bucket] = []
        walk = self.walk()
        while walk.next():
            copies.append(walk.copy())
        return copies

    def append(self, number: int, value: int) -> None:
        """Add a bucket of one value after all others."""
        newest = self.newest
        if newest.count > 0:
            if self.start == self.end:
                self.before = self.previous = 0
                self.older_integers = 0
            integers = newest.integers(self.previous)
            self.content = self.content[self.start : self.end] + items(integers)
            self.start, self.end = 0, len(self.content)
            self.older_integers += len(integers)
            self.previous = newest.number
        newest.begin(number, value)

    def drop(self, walk: Walk) -> None:
        """Drop the bucket that a walk over these holds, and all before it."""
        if walk.integers_read == 0:
            self.newest.count = 0
            return
        self.before = walk.number
        self.start = walk.cursor.at
        self.older_integers -= walk.integers_read

    def replace(self, buckets: list[Bucket]) -> None:
        """Hold these, in the order of their numbers, and no others."""
        self.newest = Bucket()
        self.start = self.end = 0
        for bucket in buckets:
            self.append(bucket.number, 0)
            self.newest = bucket

    def packed(self, origin: int) -> bytes:
        """Return `origin` and the buckets as they are stored: one array of integers.

        They are `origin`, then of each bucket its distance from the one before, or from `origin`, and 0 and
        its value where it has one value, else count, low, high, and total and squares in two halves each.
        """
        newest = self.newest
        if newest.count == 0:
            return array_head(1) + items([origin])
        if self.start == self.end:
            integers = newest.integers(origin)
            return array_head(1 + len(integers)) + items([origin, *integers])
        integers = newest.integers(self.previous)
        first = Cursor(self.content, self.start)
        distance = self.before + first.integer() - origin
        return b"".join(
            [
                array_head(1 + self.older_integers + len(integers)),
                items([origin, distance]),
                self.content[first.at : self.end],
                items(integers),
            ]
        )

    def begin_loading(self, cursor: Cursor) -> int:
        """Read the origin of what `packed` returned, and take it as `before`; there must be no buckets yet.

        Returns how many integers follow.
        """
        left = cursor.length() - 1
        self.before = self.newest.number = cursor.integer()
        self.content = cursor.content
        self.start = self.end = cursor.at
        return left

    def load_next(self, cursor: Cursor, left: int) -> int:
        """Read the next bucket, as the newest so far; return how many integers are left."""
        self.previous, self.end = self.newest.number, cursor.at
        size = self.newest.read(cursor)
        if left > size:
            self.older_integers += size
        return left - size
