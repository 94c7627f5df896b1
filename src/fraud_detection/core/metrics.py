"""Latency histograms in bounded memory, and the times of a batch by stage.

Buckets grow by 2 %, so a percentile is within 2 % of the exact one, from a microsecond to hours.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Final

GROWTH: Final = 0.01980262729617973
"""The logarithm of 1.02; written out, so that a compiler knows it."""
MIN_RESOLUTION_S: Final = 1e-6


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
        self._buckets: list[int] = []

    def add(self, seconds: float, times: int = 1) -> None:
        """Count a duration; what is shorter than a microsecond counts as one."""
        bucket = int(math.log(seconds / MIN_RESOLUTION_S) / GROWTH + 0.5) if seconds > MIN_RESOLUTION_S else 0
        while len(self._buckets) <= bucket:
            self._buckets.append(0)
        self._buckets[bucket] += times
        self.count += times
        self.longest_s = max(self.longest_s, seconds)

    def cumulative(self, bounds_s: list[float]) -> tuple[list[int], float]:
        """Return how many durations are at most each bound, rising, and the sum of all in s, within 1 %.

        >>> latency = LatencyHistogram()
        >>> latency.add(0.002); latency.add(0.2, 2)
        >>> counts, total = latency.cumulative([0.001, 0.01, 1.0])
        >>> counts, round(total, 2)
        ([0, 1, 3], 0.4)
        """
        counts: list[int] = [0 for _ in bounds_s]
        total = 0.0
        for bucket, times in enumerate(self._buckets):
            seconds = MIN_RESOLUTION_S * math.exp(bucket * GROWTH)
            total += seconds * times
            for index, bound in enumerate(bounds_s):
                if seconds <= bound:
                    counts[index] += times
        return counts, total

    def percentile_ms(self, percent: float) -> float:
        """Return the duration in ms that `percent` of all do not exceed; NaN when nothing was counted.

        Never more than the longest one, which is known exactly, where a bucket is known by its middle.

        >>> latency = LatencyHistogram()
        >>> latency.add(1.374)
        >>> latency.percentile_ms(99)
        1374.0
        """
        rest = self.count * percent / 100
        for bucket, times in enumerate(self._buckets):
            rest -= times
            if times and rest <= 0:
                return 1000 * min(MIN_RESOLUTION_S * math.exp(bucket * GROWTH), self.longest_s)
        return math.nan


STAGES: Final = ("parse", "lookup", "features", "score", "decide", "reasons", "persist")
"""The stages that are timed, by index; the caller times `persist`."""
PARSE: Final = 0
LOOKUP: Final = 1
FEATURES: Final = 2
SCORE: Final = 3
DECIDE: Final = 4
REASONS: Final = 5
PERSIST: Final = 6


class StageTimes:
    """Time of each stage of a batch, counted for every payment of it, because each waits for the whole batch.

    The stages themselves read no clock; the caller reports when each has ended.

    >>> stages = StageTimes(["parse", "score"])
    >>> stages.begin(); stages.lap(0); stages.lap(1); stages.lap(0); stages.end(payments=3)
    >>> stages.histograms["parse"].count, stages.histograms["score"].count
    (3, 3)
    """

    def __init__(self, names: Sequence[str] = STAGES) -> None:
        """Take the names of the stages; a stage is given by its index in them."""
        self.histograms: dict[str, LatencyHistogram] = {name: LatencyHistogram() for name in names}
        self._ordered: list[LatencyHistogram] = list(self.histograms.values())
        self._spent: list[float] = [0.0 for _ in names]
        self._at = 0.0

    def begin(self) -> None:
        """Start a batch."""
        for stage in range(len(self._spent)):
            self._spent[stage] = 0.0
        self._at = time.perf_counter()

    def lap(self, stage: int) -> None:
        """Count what has passed since the last lap to `stage`."""
        now = time.perf_counter()
        self._spent[stage] += now - self._at
        self._at = now

    def end(self, payments: int) -> None:
        """Put the batch into the histograms, once for each of its payments."""
        if payments > 0:
            for stage, histogram in enumerate(self._ordered):
                histogram.add(self._spent[stage], payments)
