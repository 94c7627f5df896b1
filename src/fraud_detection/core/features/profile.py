"""Profile: the windows, distinct ids, and latest times and places of one card, terminal or device.

A profile is a function of the set of payments and labels that were added, not of their order.  Its size is
bounded by its plan: at most `bucket_count` buckets a window, three more for payments dated ahead of the
others, and `limit` distinct ids for each related entity.
"""

from __future__ import annotations

from typing import Final

from fraud_detection.core.errors import ConfigError
from fraud_detection.core.features.distinct_ids import DistinctIds
from fraud_detection.core.features.packed import ENCODER, Cursor, array_head
from fraud_detection.core.features.windows import Window, add_to_each, load_each, new_windows, pack_each

LAYOUT: Final = 2
"""Raised whenever `packed` writes another layout."""

PARTS: Final = 7

PROFILE_BYTES: Final = 1_000
PLACE_BYTES: Final = 130
WINDOW_BYTES: Final = 250
DISTINCT_IDS_BYTES: Final = 220
ID_BYTES: Final = 120
"""What the parts of a profile take in memory, rounded up; a test compares the sum with what Python counts."""

SPARE: Final = 4
"""How many of the latest times are kept.  Windows forget what is too old for the earliest of them, so
that up to three payments whose clock runs ahead of all others cannot make an entity forget."""


class Place:
    """Where the entity was at a time."""

    def __init__(self, time_ms: int, latitude: float, longitude: float) -> None:
        """Keep time and degrees."""
        self.time_ms: int = time_ms
        self.latitude: float = latitude
        self.longitude: float = longitude

    def is_before(self, other: Place) -> bool:
        """Return whether this place is the earlier; equal times are ordered by the coordinates."""
        own = (self.time_ms, self.latitude, self.longitude)
        return own < (other.time_ms, other.latitude, other.longitude)


class Latest:
    """The latest few times of an entity, whatever the order in which they came.

    >>> payment_times = Latest()
    >>> for time in (3, 9, 1, 7, 5):
    ...     payment_times.add(time)
    >>> payment_times.times, payment_times.until(8), payment_times.until(2), payment_times.settled()
    ([3, 5, 7, 9], 7, -1, 3)
    """

    def __init__(self) -> None:
        """Start empty."""
        self.times: list[int] = []

    def add(self, time_ms: int) -> None:
        """Keep the time, if it is one of the latest."""
        times = self.times
        if len(times) >= SPARE:
            if time_ms <= times[0]:
                return
            del times[0]
        index = len(times)
        while index > 0 and times[index - 1] > time_ms:
            index -= 1
        times.insert(index, time_ms)

    def until(self, time_ms: int) -> int:
        """Return the latest of them that is not after `time_ms`; -1 where there is none."""
        for index in range(len(self.times) - 1, -1, -1):
            if self.times[index] <= time_ms:
                return self.times[index]
        return -1

    def settled(self) -> int:
        """Return the earliest of them when all slots are taken, else -1."""
        return self.times[0] if len(self.times) >= SPARE else -1


class ProfilePlan:
    """The shape of a profile: which windows and distinct ids it keeps, and how many of each."""

    def __init__(
        self, windows: list[int], risk: list[int], related: int, bucket_count: int, limit: int
    ) -> None:
        """Lengths in ms; `related`: the entities whose ids are kept, at most `limit` ids of each."""
        self.windows: list[int] = windows
        self.risk: list[int] = risk
        self.related: int = related
        self.bucket_count: int = bucket_count
        self.limit: int = limit


class Profile:
    """One entity's windows over payments, windows over labels, distinct ids, and latest times and places."""

    def __init__(self, plan: ProfilePlan) -> None:
        """Start empty."""
        self.saved_at: int = 0
        # Kept by `resident_profiles`: whether it was used since it last looked, and counted as how much.
        self.used: bool = False
        self.counted_bytes: int = 0
        self.loaded_bytes: int = 0
        self.payment_times: Latest = Latest()
        self.label_times: Latest = Latest()
        self.places: list[Place] = []
        self.windows: list[Window] = new_windows(plan.windows, plan.bucket_count)
        self.risk: list[Window] = new_windows(plan.risk, plan.bucket_count)
        self.distinct_ids: list[DistinctIds] = [DistinctIds(plan.limit) for _ in range(plan.related)]

    def add_payment(self, time_ms: int, amount: int) -> None:
        """Count a payment of `amount` minor units."""
        self.payment_times.add(time_ms)
        add_to_each(self.windows, time_ms, amount, self.payment_times.settled())

    def add_place(self, time_ms: int, latitude: float, longitude: float) -> None:
        """Add the place, if it is one of the latest."""
        new, places = Place(time_ms, latitude, longitude), self.places
        index = len(places)
        while index > 0 and new.is_before(places[index - 1]):
            index -= 1
        places.insert(index, new)
        if len(places) > SPARE:
            del places[0]

    def place_until(self, time_ms: int) -> Place | None:
        """Return the latest place that is not after `time_ms`."""
        for index in range(len(self.places) - 1, -1, -1):
            if self.places[index].time_ms <= time_ms:
                return self.places[index]
        return None

    def add_label(self, known_at: int, fraud: int) -> None:
        """Count a label (1 fraud, 0 legitimate) at the moment it became known."""
        self.label_times.add(known_at)
        add_to_each(self.risk, known_at, fraud, self.label_times.settled())

    def subtract_label(self, known_at: int, fraud: int) -> None:
        """Count an earlier label no more, because it was corrected."""
        for window in self.risk:
            window.subtract(known_at, fraud)

    def memory_bytes(self) -> int:
        """Return about how many bytes it takes in memory."""
        size = PROFILE_BYTES + self.loaded_bytes + PLACE_BYTES * len(self.places)
        for window in self.windows:
            size += WINDOW_BYTES + window.end - window.start
        for window in self.risk:
            size += WINDOW_BYTES + window.end - window.start
        for distinct_ids in self.distinct_ids:
            size += DISTINCT_IDS_BYTES + ID_BYTES * len(distinct_ids.last_seen)
        return size

    def packed(self) -> bytes:
        """Return the whole content as it is stored."""
        places = [[place.time_ms, place.latitude, place.longitude] for place in self.places]
        return b"".join(
            [
                array_head(PARTS),
                ENCODER.encode(LAYOUT),
                ENCODER.encode(self.payment_times.times),
                ENCODER.encode(self.label_times.times),
                ENCODER.encode(places),
                pack_each(self.windows),
                pack_each(self.risk),
                array_head(len(self.distinct_ids)),
                *[distinct_ids.packed() for distinct_ids in self.distinct_ids],
            ]
        )

    def load(self, cursor: Cursor) -> None:
        """Read what `packed` returned; the profile must be new and of the same plan.

        Raises ConfigError where another version has written it.
        """
        if cursor.length() != PARTS or cursor.integer() != LAYOUT:
            raise ConfigError(
                "the profiles were saved by another version; make a new state file (`fraud state create`), "
                "or on AWS empty the profiles and run `fraud deploy backfill`"
            )
        self.loaded_bytes = len(cursor.content)
        self.payment_times.times = cursor.integers()
        self.label_times.times = cursor.integers()
        for _ in range(cursor.length()):
            cursor.length()
            self.places.append(Place(cursor.integer(), cursor.real(), cursor.real()))
        load_each(self.windows, cursor)
        load_each(self.risk, cursor)
        cursor.length()
        for distinct_ids in self.distinct_ids:
            distinct_ids.load(cursor)
