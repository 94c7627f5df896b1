"""How many payments may be declined, so that one bad rule or model cannot stop a business.

Each payment is counted in the interval that ends with it, in event time, cut into equal buckets.  So one that
comes late, or whose clock runs ahead, is counted by its own time, and frees no other.  Nothing here reads
a clock.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from fraud_detection.core.decision_settings import DeclineCapSettings

BUCKETS: Final = 60
MAX_BUCKETS: Final = 8 * BUCKETS
"""So many buckets are kept; of more, two are merged."""
Buckets = dict[int, tuple[int, int]]
"""Payments and declines by the number of their bucket of event time."""


class DeclineCounts(msgspec.Struct, frozen=True, array_like=True):
    """The state of a decline cap, small enough to be stored with every batch.

    bucket_ms: the length of a bucket; 0 where nothing was ever counted.
    """

    bucket_ms: int = 0
    buckets: Buckets = {}


NOTHING: Final = DeclineCounts()


def merged(counts: Iterable[DeclineCounts], bucket_ms: int) -> Buckets:
    """Return the sum of what several decline caps have counted, in buckets of one length.

    Buckets of another length are counted where they end, so that nothing leaves the interval too early.

    >>> one, other = DeclineCounts(60, {5: (10, 2)}), DeclineCounts(60, {5: (1, 1), 6: (4, 0)})
    >>> merged([one, other], 60)
    {5: (11, 3), 6: (4, 0)}
    >>> merged([one, other], 120)
    {2: (11, 3), 3: (4, 0)}
    """
    total: Buckets = {}
    for counted in counts:
        for bucket, (payments, declines) in counted.buckets.items():
            at = (
                bucket
                if counted.bucket_ms == bucket_ms
                else ((bucket + 1) * counted.bucket_ms - 1) // bucket_ms
            )
            summed = total.get(at, (0, 0))
            total[at] = (summed[0] + payments, summed[1] + declines)
    return total


class DeclineCap:
    """Counts payments and declines, and decides whether one more decline is within bounds.

    >>> from fraud_detection.core.decision_settings import DeclineCapSettings
    >>> decline_cap = DeclineCap(DeclineCapSettings(share=0.5, min_payments=4))
    >>> given = []
    >>> for time_ms in range(6):
    ...     given.append(decline_cap.allows(time_ms))
    ...     decline_cap.add(time_ms, declined=given[-1])
    >>> given
    [True, True, False, False, False, True]

    An hour later the interval is empty again:

    >>> decline_cap.allows(4_000_000)
    True
    """

    def __init__(self, settings: DeclineCapSettings, counts: DeclineCounts = NOTHING) -> None:
        """Go on from what was counted before."""
        self.settings = settings
        self.bucket_ms = max(settings.interval.ms // BUCKETS, 1)
        self._buckets = merged([counts], self.bucket_ms)
        count = "" if settings.count is None else f" and {settings.count:,}"
        self.message = (
            f"would be declined, but no more than {100 * settings.share:.3g} %{count} of the payments in "
            f"{settings.interval} may be"
        )

    def allows(self, time_ms: int) -> bool:
        """Return whether a payment of that time may be declined."""
        payments, declines = self.counted(time_ms)
        settings = self.settings
        if settings.count is not None and declines >= settings.count:
            return False
        return declines + 1 <= settings.share * max(payments + 1, settings.min_payments)

    def counted(self, time_ms: int) -> tuple[int, int]:
        """Return how many payments, and how many declines, are in the interval that ends at a time."""
        return self._counted(self._buckets, time_ms)

    def counts(self) -> DeclineCounts:
        """Return all that was counted here, to be kept."""
        return DeclineCounts(self.bucket_ms, dict(self._buckets))

    def add(self, time_ms: int, *, declined: bool) -> None:
        """Count a payment."""
        bucket = time_ms // self.bucket_ms
        payments, declines = self._buckets.get(bucket, (0, 0))
        self._buckets[bucket] = (payments + 1, declines + declined)
        if len(self._buckets) > MAX_BUCKETS:
            self._merge_two(bucket)

    def _merge_two(self, here: int) -> None:
        """Count two buckets where the later of them ends: adjacent and close for how far away they are.

        Nothing is ever forgotten, since whoever dates a few hundred payments apart would choose what.  The
        buckets of an interval that is busy lie next to one another, so they merge among themselves long
        before they merge with what is hours away, and near the current payment they stay as they are.
        """
        ordered = sorted(self._buckets)
        first, then = min(
            itertools.pairwise(ordered),
            key=lambda pair: (pair[1] - pair[0]) / (1 + min(abs(pair[0] - here), abs(pair[1] - here))),
        )
        earlier, later = self._buckets.pop(first), self._buckets[then]
        self._buckets[then] = (earlier[0] + later[0], earlier[1] + later[1])

    def _counted(self, buckets: Buckets, time_ms: int) -> tuple[int, int]:
        last = time_ms // self.bucket_ms
        payments = declines = 0
        for bucket in range(last - BUCKETS + 1, last + 1):
            counted = buckets.get(bucket)
            if counted is not None:
                payments += counted[0]
                declines += counted[1]
        return payments, declines


class SharedDeclineCap(DeclineCap):
    """One of several decline caps with one bound: it counts its own payments, and adds what the others have.

    Each is exact for itself.  What others decide while a batch runs is not seen by it: so of n of them,
    no more than the declines of n - 1 batches come on top of the bound.
    """

    def __init__(
        self,
        settings: DeclineCapSettings,
        counts: DeclineCounts = NOTHING,
        others: Iterable[DeclineCounts] = (),
    ) -> None:
        """Go on from the own counts, and from those of the others."""
        super().__init__(settings, counts)
        self._others = merged(others, self.bucket_ms)

    def counted(self, time_ms: int) -> tuple[int, int]:
        """Return how many payments and declines of all are in the interval that ends at a time."""
        payments, declines = super().counted(time_ms)
        more = self._counted(self._others, time_ms)
        return payments + more[0], declines + more[1]


def joined(settings: DeclineCapSettings, counts: Iterable[DeclineCounts]) -> DeclineCap:
    """Return one decline cap that goes on from what several have counted."""
    bucket_ms = DeclineCap(settings).bucket_ms
    return DeclineCap(settings, DeclineCounts(bucket_ms, merged(counts, bucket_ms)))
