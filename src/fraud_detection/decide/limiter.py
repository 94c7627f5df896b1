"""How many payments may be declined, so that one bad rule or model cannot stop a business.

It counts over a trailing interval of event time, cut into equal parts that are forgotten one at a time.
Nothing here reads a clock.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from fraud_detection.answering import LimiterSettings

PARTS: Final = 60


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
        self.payments = self.declines = 0
        self._part_ms = max(settings.interval.ms // PARTS, 1)
        self._parts: dict[int, tuple[int, int]] = {}
        self._latest = 0
        count = "" if settings.count is None else f" and {settings.count:,}"
        self.words = (
            f"would be declined, but no more than {100 * settings.share:.3g} %{count} of the payments in "
            f"{settings.interval} may be"
        )

    def admits(self, time_ms: int) -> bool:
        """Tell whether a payment of that time may be declined."""
        self._forget(time_ms)
        settings = self.settings
        if settings.count is not None and self.declines >= settings.count:
            return False
        return self.declines + 1 <= settings.share * max(self.payments + 1, settings.least)

    def note(self, time_ms: int, *, declined: bool) -> None:
        """Count a payment; one that is older than the interval counts nowhere."""
        self._forget(time_ms)
        part = time_ms // self._part_ms
        if part <= self._latest - PARTS:
            return
        payments, declines = self._parts.get(part, (0, 0))
        self._parts[part] = (payments + 1, declines + declined)
        self.payments += 1
        self.declines += declined

    def _forget(self, time_ms: int) -> None:
        part = time_ms // self._part_ms
        if part <= self._latest:
            return
        self._latest = part
        for old in [one for one in self._parts if one <= part - PARTS]:
            payments, declines = self._parts.pop(old)
            self.payments -= payments
            self.declines -= declines
