"""How many payments may be declined, so that one bad rule or model cannot stop a business.

Each payment is judged by the interval that ends with it, in event time, cut into equal parts.  So one that
comes late, or whose clock runs ahead, is judged by its own time, and frees nobody else.  Nothing here reads
a clock.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from fraud_detection.answering import LimiterSettings

PARTS: Final = 60
MOST_PARTS: Final = 8 * PARTS
"""So many parts are kept, those nearest to the latest payment."""


class DeclineLimiter:
    """Counts payments and declines, and tells whether one more decline is within bounds.

    >>> from fraud_detection.answering import LimiterSettings
    >>> limiter = DeclineLimiter(LimiterSettings(share=0.5, least=4))
    >>> given = []
    >>> for time_ms in range(6):
    ...     given.append(limiter.admits(time_ms))
    ...     limiter.note(time_ms, declined=given[-1])
    >>> given
    [True, True, False, False, False, True]

    An hour later the interval is empty again:

    >>> limiter.admits(4_000_000)
    True
    """

    def __init__(self, settings: LimiterSettings) -> None:
        """Start with an empty interval."""
        self.settings = settings
        self._part_ms = max(settings.interval.ms // PARTS, 1)
        self._parts: dict[int, tuple[int, int]] = {}
        count = "" if settings.count is None else f" and {settings.count:,}"
        self.words = (
            f"would be declined, but no more than {100 * settings.share:.3g} %{count} of the payments in "
            f"{settings.interval} may be"
        )

    def admits(self, time_ms: int) -> bool:
        """Tell whether a payment of that time may be declined."""
        payments, declines = self.counted(time_ms)
        settings = self.settings
        if settings.count is not None and declines >= settings.count:
            return False
        return declines + 1 <= settings.share * max(payments + 1, settings.least)

    def counted(self, time_ms: int) -> tuple[int, int]:
        """Return how many payments, and how many declines, are in the interval that ends at a time."""
        last = time_ms // self._part_ms
        payments = declines = 0
        for part in range(last - PARTS + 1, last + 1):
            noted = self._parts.get(part)
            if noted is not None:
                payments += noted[0]
                declines += noted[1]
        return payments, declines

    def note(self, time_ms: int, *, declined: bool) -> None:
        """Count a payment."""
        part = time_ms // self._part_ms
        payments, declines = self._parts.get(part, (0, 0))
        self._parts[part] = (payments + 1, declines + declined)
        if len(self._parts) > MOST_PARTS:
            del self._parts[max(self._parts, key=lambda one: abs(one - part))]
