"""Profile: the windows, distinct ids, and latest times and places of one card, terminal or device.

A profile is a function of the set of payments and labels that were added, not of their order.  Its size is
bounded by its plan: at most `bucket_count` buckets a window, three more for payments dated ahead of the
others, and `limit` distinct ids for each related entity.
"""

from __future__ import annotations

from typing import Any, Final

from fraud_detection.core.errors import ConfigError
from fraud_detection.core.features.distinct_ids import DistinctIds
from fraud_detection.core.features.windows import Window, add_to_each, load_lists, new_windows, to_lists

LAYOUT: Final = 2
"""Raised whenever `to_list` writes another layout."""

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

    def to_list(self) -> list[object]:
        """Return the whole content as plain lists and numbers."""
        return [
            LAYOUT,
            self.payment_times.times,
            self.label_times.times,
            [[place.time_ms, place.latitude, place.longitude] for place in self.places],
            to_lists(self.windows),
            to_lists(self.risk),
            [distinct_ids.to_list() for distinct_ids in self.distinct_ids],
        ]

    def load_list(self, content: list[Any]) -> None:
        """Load what `to_list` returned; the profile must be new and of the same plan.

        Raises ConfigError where another version has written it.
        """
        if content[0] != LAYOUT:
            raise ConfigError(
                "the profiles were saved by another version; make a new state file (`fraud state create`), "
                "or on AWS empty the profiles and run `fraud deploy backfill`"
            )
        self.payment_times.times = content[1]
        self.label_times.times = content[2]
        self.places = [Place(place[0], place[1], place[2]) for place in content[3]]
        load_lists(self.windows, content[4])
        load_lists(self.risk, content[5])
        for distinct_ids, flat in zip(self.distinct_ids, content[6], strict=True):
            distinct_ids.load_list(flat)
