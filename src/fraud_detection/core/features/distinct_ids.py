"""The distinct ids that an entity was seen with, such as the merchants of a card, in bounded memory."""

from __future__ import annotations

from fraud_detection.core.features.packed import ENCODER, Cursor


class DistinctIds:
    """The latest `limit` distinct ids that an entity was seen with, each with its latest time.

    Ids are kept as 32-bit checksums.  Keeping the latest `limit` is the same in any order of
    arrival, because an id's last time only ever grows.

    >>> merchants = DistinctIds(limit=2)
    >>> for time, merchant in [(1, 11), (2, 22), (3, 33)]:
    ...     merchants.add(time, merchant)
    >>> merchants.knows(11), merchants.since(0), merchants.since(2)
    (False, 2, 1)

    last_seen: the ids that were seen since these were loaded, or all of them.  The others stay packed as they
    were loaded, `packed_ids` of them; of an id that is in both, the time in `last_seen` is the later one.
    """

    def __init__(self, limit: int) -> None:
        """Start empty."""
        self.limit: int = limit
        self.last_seen: dict[int, int] = {}
        self.packed_ids: int = 0
        self.latest: int = 0
        self.content: bytes = b""
        self.start: int = 0

    def add(self, time_ms: int, key: int) -> None:
        """Record that the id `key` was seen at `time_ms`."""
        last_seen = self.last_seen
        if self.packed_ids > 0 and key not in last_seen:
            if self._packed_time(key) >= time_ms:
                return
            if self.packed_ids + len(last_seen) >= self.limit:
                # One of them may have to be forgotten.
                self._unpack()
        if last_seen.get(key, -1) < time_ms:
            last_seen[key] = time_ms
            if self.packed_ids == 0 and len(last_seen) > self.limit:
                self._forget_oldest()

    def knows(self, key: int) -> bool:
        """Return whether `key` is among the kept ids."""
        return key in self.last_seen or self._packed_time(key) >= 0

    def since(self, time_ms: int) -> int:
        """Return how many of the kept ids were seen after `time_ms`."""
        return self.since_each([time_ms])[0]

    def since_each(self, times_ms: list[int]) -> list[int]:
        """Return the same for several times, in one walk."""
        counts = [0] * len(times_ms)
        last_seen = self.last_seen
        for seen in last_seen.values():
            _count(counts, times_ms, seen)
        if self.packed_ids > 0:
            cursor, newer = Cursor(self.content, self.start), len(last_seen) > 0
            for _ in range(self.packed_ids):
                key = cursor.integer()
                seen = self.latest - cursor.integer()
                if not (newer and key in last_seen):
                    _count(counts, times_ms, seen)
        return counts

    def times(self) -> dict[int, int]:
        """Return the kept ids, each with its latest time."""
        self._unpack()
        return self.last_seen

    def packed(self) -> bytes:
        """Return what is stored: the latest time, then by id how long before that each was seen."""
        last_seen = self.times()
        latest = 0
        for seen in last_seen.values():
            latest = max(latest, seen)
        flat = [latest]
        for key in sorted(last_seen):
            flat.append(key)
            flat.append(latest - last_seen[key])
        encoded: bytes = ENCODER.encode(flat)
        self.last_seen = {}
        self.load(Cursor(encoded, 0))
        return encoded

    def load(self, cursor: Cursor) -> None:
        """Read what `packed` returned; there must be no ids yet."""
        self.packed_ids = (cursor.length() - 1) // 2
        self.latest = cursor.integer()
        self.content, self.start = cursor.content, cursor.at
        for _ in range(2 * self.packed_ids):
            cursor.integer()

    def _packed_time(self, key: int) -> int:
        """Return when an id was seen last as these were loaded; -1 where it is not among them."""
        cursor = Cursor(self.content, self.start)
        for _ in range(self.packed_ids):
            found = cursor.integer()
            before = cursor.integer()
            if found == key:
                return self.latest - before
        return -1

    def _unpack(self) -> None:
        """Let `last_seen` have all of them."""
        cursor, last_seen = Cursor(self.content, self.start), self.last_seen
        for _ in range(self.packed_ids):
            key = cursor.integer()
            seen = self.latest - cursor.integer()
            if key not in last_seen:
                last_seen[key] = seen
        self.packed_ids, self.content = 0, b""

    def _forget_oldest(self) -> None:
        oldest, oldest_time = -1, -1
        for key, seen in self.last_seen.items():
            if oldest < 0 or seen < oldest_time or (seen == oldest_time and key < oldest):
                oldest, oldest_time = key, seen
        del self.last_seen[oldest]


def _count(counts: list[int], times_ms: list[int], seen: int) -> None:
    for index, time_ms in enumerate(times_ms):
        if seen > time_ms:
            counts[index] += 1
