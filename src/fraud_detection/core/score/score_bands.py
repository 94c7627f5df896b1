"""Four bands of scores, from usual to rare: enough to see, in a minute's counts, that a model has changed.

Training says which share of the payments lies in each band; serving counts. The distance of the two is
the population stability index.
"""

from __future__ import annotations

import itertools
import math
from bisect import bisect_left
from collections.abc import Iterable, Sequence

import msgspec

from fraud_detection.core.score.reference import Distribution

TARGETS = (0.5, 0.9, 0.99)
MIN_SHARE = 1e-4
"""A band that was empty in training is given so much, so that the index stays finite."""


class Bands(msgspec.Struct, frozen=True):
    """cuts: upper ends of the first three bands.  shares: of the payments in training, for all four."""

    cuts: tuple[float, float, float]
    shares: tuple[float, float, float, float]

    @classmethod
    def of(cls, scores: Distribution) -> Bands:
        """Return the bands whose ends come nearest to the median, 90 % and 99 % of the scores.

        >>> Bands.of(Distribution((0.1, 0.2, 0.3, 0.9), (0.5, 0.2, 0.2, 0.09, 0.01)))
        Bands(cuts=(0.1, 0.3, 0.9), shares=(0.5, 0.4, 0.09, 0.01))
        """
        below = list(itertools.accumulate(scores.shares))[:-1]
        if not below:
            return cls((0.0, 0.5, 1.0), (0.25, 0.25, 0.25, 0.25))
        ends = [min(range(len(below)), key=lambda at: abs(below[at] - target)) for target in TARGETS]
        shares = [
            later - sooner for sooner, later in itertools.pairwise([0.0, *(below[at] for at in ends), 1.0])
        ]
        first, second, third, rest = (round(max(share, MIN_SHARE), 6) for share in shares)
        low, middle, high = (scores.edges[at] for at in ends)
        return cls((low, middle, high), (first, second, third, rest))

    def count(self, scores: Iterable[float]) -> list[int]:
        """Return how many of the scores lie in each band; what is not a number lies in none.

        >>> Bands((0.1, 0.3, 0.9), (0.5, 0.4, 0.09, 0.01)).count([0.1, 0.11, 0.95, float("nan")])
        [1, 1, 0, 1]
        """
        counts = [0] * len(self.shares)
        for score in scores:
            if not math.isnan(score):
                counts[bisect_left(self.cuts, score)] += 1
        return counts

    def drift(self, counts: Sequence[int]) -> float:
        """Return the population stability index of the counts: 0 when nothing changed, .25 is a lot.

        >>> Bands((0.1, 0.3, 0.9), (0.5, 0.4, 0.09, 0.01)).drift([500, 400, 90, 10]) < 0.001
        True
        """
        total = sum(counts) + len(counts) * SMOOTHING
        shares = [(count + SMOOTHING) / total for count in counts]
        return sum((now - then) * math.log(now / then) for now, then in zip(shares, self.shares, strict=True))


SMOOTHING = 0.5
"""Added to each count: an empty band is a surprise, not an infinite one."""
