"""The memory of one entity: what is remembered of a card, a terminal, a device.

A profile is a function of the set of payments and labels that it took in, not of their
order.  Its size is bounded by its plan: at most `panes` panes a window and `neighbours`
ids a kind of neighbour.
"""

from __future__ import annotations

from typing import Any

from fraud_detection.features.windows import Neighbours, Window


class Place:
    """Where the entity was at its latest payment that said so."""

    def __init__(self, time_ms: int, latitude: float, longitude: float) -> None:
        """Keep time and degrees."""
        self.time_ms: int = time_ms
        self.latitude: float = latitude
        self.longitude: float = longitude


class ProfilePlan:
    """The shape of a profile: which windows and neighbours it keeps, and how much of each."""

    def __init__(self, windows: list[int], risk: list[int], neighbours: int, panes: int, limit: int) -> None:
        """Lengths in ms; `neighbours` is the number of kinds of neighbours, `limit` the ids kept of each."""
        self.windows: list[int] = windows
        self.risk: list[int] = risk
        self.neighbours: int = neighbours
        self.panes: int = panes
        self.limit: int = limit


class Profile:
    """One entity's windows over payments, windows over labels, neighbours, and last time and place."""

    def __init__(self, plan: ProfilePlan) -> None:
        """Start with nothing seen."""
        self.saved_at: int = 0
        self.latest: int = -1
        self.latest_label: int = -1
        self.place: Place | None = None
        self.windows: list[Window] = [Window(length, plan.panes) for length in plan.windows]
        self.risk: list[Window] = [Window(length, plan.panes) for length in plan.risk]
        self.neighbours: list[Neighbours] = [Neighbours(plan.limit) for _ in range(plan.neighbours)]

    def add_payment(self, time_ms: int, amount: int) -> None:
        """Count a payment of `amount` minor units."""
        for window in self.windows:
            window.add(time_ms, amount)
        self.latest = max(self.latest, time_ms)

    def add_place(self, time_ms: int, latitude: float, longitude: float) -> None:
        """Remember the place if it is the latest; equal times are settled by the larger coordinates."""
        place = self.place
        if place is None or (time_ms, latitude, longitude) > (place.time_ms, place.latitude, place.longitude):
            self.place = Place(time_ms, latitude, longitude)

    def add_label(self, known_at: int, fraud: int) -> None:
        """Count a label (1 fraud, 0 legitimate) at the moment it became known."""
        for window in self.risk:
            window.add(known_at, fraud)
        self.latest_label = max(self.latest_label, known_at)

    def take_back_label(self, known_at: int, fraud: int) -> None:
        """Count an earlier label no more, because it was corrected."""
        for window in self.risk:
            window.take_back(known_at, fraud)

    def dump(self) -> list[object]:
        """Return the whole content as plain lists and numbers."""
        place = self.place
        return [
            self.latest,
            self.latest_label,
            None if place is None else [place.time_ms, place.latitude, place.longitude],
            [window.dump() for window in self.windows],
            [window.dump() for window in self.risk],
            [sorted(neighbours.last_seen.items()) for neighbours in self.neighbours],
        ]

    def restore(self, content: list[Any]) -> None:
        """Take back what `dump` returned; the profile must be new and of the same plan."""
        self.latest = content[0]
        self.latest_label = content[1]
        place = content[2]
        if place is not None:
            self.place = Place(place[0], place[1], place[2])
        for window, flat in zip(self.windows, content[3], strict=True):
            window.restore(flat)
        for window, flat in zip(self.risk, content[4], strict=True):
            window.restore(flat)
        for neighbours, pairs in zip(self.neighbours, content[5], strict=True):
            neighbours.last_seen = dict(pairs)
