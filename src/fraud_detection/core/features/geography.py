"""Places on earth: their distance, and the speed between two payments."""

from __future__ import annotations

import math
from typing import Final

from fraud_detection.core.features.profile import Place

HOUR_MS: Final = 3_600_000
EARTH_KM: Final = 6371.0
MIN_TRIP_H: Final = 1 / 60


def distance_km(latitude: float, longitude: float, to_latitude: float, to_longitude: float) -> float:
    """Return the great-circle distance between two places given in degrees.

    >>> round(distance_km(52.52, 13.40, 48.86, 2.35))
    877
    """
    north, to_north = math.radians(latitude), math.radians(to_latitude)
    half_north = math.sin((to_north - north) / 2)
    half_east = math.sin(math.radians(to_longitude - longitude) / 2)
    chord = half_north * half_north + math.cos(north) * math.cos(to_north) * half_east * half_east
    return 2 * EARTH_KM * math.asin(math.sqrt(min(chord, 1.0)))


def speed_kmh(last: Place | None, now: int, place: tuple[float, float] | None) -> float:
    """Return the speed needed to get from the last place to this one; NaN where one is not known."""
    if last is None or place is None:
        return math.nan
    # Two payments within a minute, or in the wrong order, would give absurd speeds for tiny distances.
    hours = max((now - last.time_ms) / HOUR_MS, MIN_TRIP_H)
    return distance_km(last.latitude, last.longitude, place[0], place[1]) / hours
