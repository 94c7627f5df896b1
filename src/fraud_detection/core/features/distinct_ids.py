"""The distinct ids that an entity was seen with, such as the merchants of a card, in bounded memory."""

from __future__ import annotations


class DistinctIds:
    """The latest `limit` distinct ids that an entity was seen with, each with its latest time.

    Ids are kept as 32-bit checksums.  Keeping the latest `limit` is the same in any order of
    arrival, because an id's last time only ever grows.

    >>> merchants = DistinctIds(limit=2)
    >>> for time, merchant in [(1, 11), (2, 22), (3, 33)]:
    ...     merchants.add(time, merchant)
    >>> merchants.knows(11), merchants.since(0), merchants.since(2)
    (False, 2, 1)
    """

    def __init__(self, limit: int) -> None:
        """Start empty."""
        self.limit: int = limit
        self.last_seen: dict[int, int] = {}

    def add(self, time_ms: int, key: int) -> None:
        """Record that the id `key` was seen at `time_ms`."""
        last_seen = self.last_seen
        if last_seen.get(key, -1) < time_ms:
            last_seen[key] = time_ms
            if len(last_seen) > self.limit:
                self._forget_oldest()

    def knows(self, key: int) -> bool:
        """Return whether `key` is among the kept ids."""
        return key in self.last_seen

    def since(self, time_ms: int) -> int:
        """Return how many of the kept ids were seen after `time_ms`."""
        return self.since_each([time_ms])[0]

    def since_each(self, times_ms: list[int]) -> list[int]:
        """Return the same for several times, in one walk."""
        counts = [0] * len(times_ms)
        for seen in self.last_seen.values():
            for index, time_ms in enumerate(times_ms):
                if seen > time_ms:
                    counts[index] += 1
        return counts

    def to_list(self) -> list[int]:
        """Return the latest time, then each id with how long before that it was seen, by id."""
        latest = 0
        for seen in self.last_seen.values():
            latest = max(latest, seen)
        flat = [latest]
        for key in sorted(self.last_seen):
            flat.append(key)
            flat.append(latest - self.last_seen[key])
        return flat

    def load_list(self, flat: list[int]) -> None:
        """Load what `to_list` returned; the set must be empty."""
        for at in range(1, len(flat), 2):
            self.last_seen[flat[at]] = flat[0] - flat[at + 1]

    def _forget_oldest(self) -> None:
        oldest, oldest_time = -1, -1
        for key, seen in self.last_seen.items():
            if oldest < 0 or seen < oldest_time or (seen == oldest_time and key < oldest):
                oldest, oldest_time = key, seen
        del self.last_seen[oldest]
