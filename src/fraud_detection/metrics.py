"""Latency histograms in bounded memory.

Buckets grow by 2 %, so a percentile is within 2 % of the exact one, from a microsecond to hours.
"""

from __future__ import annotations

import math

GROWTH = math.log(1.02)
SMALLEST_S = 1e-6


class LatencyHistogram:
    """Counts of durations.

    >>> latency = LatencyHistogram()
    >>> for ms in range(1, 1001):
    ...     latency.add(ms / 1000)
    >>> round(latency.percentile_ms(50), -1), round(latency.percentile_ms(99), -1), latency.count
    (500.0, 990.0, 1000)
    """

    def __init__(self) -> None:
        """Start with nothing counted."""
        self.count = 0
        self.longest_s = 0.0
        self._buckets: dict[int, int] = {}

    def add(self, seconds: float, times: int = 1) -> None:
        """Count a duration; what is shorter than a microsecond counts as one."""
        bucket = round(math.log(max(seconds, SMALLEST_S) / SMALLEST_S) / GROWTH)
        self._buckets[bucket] = self._buckets.get(bucket, 0) + times
        self.count += times
        self.longest_s = max(self.longest_s, seconds)

    def percentile_ms(self, percent: float) -> float:
        """Return the duration in ms that `percent` of all do not exceed; NaN when nothing was counted."""
        rest = self.count * percent / 100
        for bucket in sorted(self._buckets):
            rest -= self._buckets[bucket]
            if rest <= 0:
                return 1000 * SMALLEST_S * math.exp(bucket * GROWTH)
        return math.nan
