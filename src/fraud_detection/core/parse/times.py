"""Read the time of a payment, however it is written, as integer milliseconds since 1970 UTC."""

from __future__ import annotations

import datetime as dt
import math
import re
from collections.abc import Callable, Sequence
from typing import Final

from fraud_detection.core.errors import RejectError
from fraud_detection.core.project_schema import DateParts, TimeSource

_UNIT_MS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
_WEEKDAYS = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MILLISECOND = dt.timedelta(milliseconds=1)

# Between 1980 and 2100 the four ways to count from the epoch do not overlap.
_SECONDS_BELOW = 10_000_000_000
_MILLISECONDS_BELOW = 10_000_000_000_000
_MICROSECONDS_BELOW = 10_000_000_000_000_000
_DIGITS_OF_A_DATE = 8
"""'20260101' is a day; other digits count from the epoch."""
_MORE_THAN_A_DATE = _DIGITS_OF_A_DATE + 1
_CLOCK: Final = re.compile(
    r"(\d{4}-?\d\d-?\d\d)[Tt ](\d\d):?([0-5]\d)(?::?(\d\d)([.,]\d+)?)?(?: ?([Zz])|([+-]\d\d(?::?[0-5]\d)?))?"
)
"""A time of which Python's reader, or that of an older Python, refuses a part that ISO 8601 allows."""
_MINUTE: Final = 60
_DAY_HOURS: Final = 24
TOO_FAR_IN_FUTURE: Final = "more than `schema.event_time.max_future_skew` later than the clock"
"""So ends the reason of a time that is impossible only because it has not come yet."""
_UTC = " UTC"
"""How databases write the zone when they export a time; ISO 8601 writes +00:00."""
_MAX_NUMBER = 1e19
"""Beyond the nanoseconds that the schema allows."""


def time_reader(source: TimeSource) -> Callable[[object], int]:
    """Return a function from a field's value to ms since 1970 UTC; it raises RejectError.

    >>> read = time_reader(TimeSource(field="t"))
    >>> read("2026-01-01T00:00:00Z") == read(1767225600) == read(1767225600000) == read("1767225600")
    True
    >>> read("2026-01-01 00:00:00 UTC") == read(1767225600 * 10**9) == read("1767225600000.0")
    True
    """
    zone = dt.timezone(dt.timedelta(hours=source.utc_offset_hours))
    if source.format == "number":
        start = _to_ms(dt.datetime.combine(source.origin, dt.time(), zone))
        unit = _UNIT_MS[source.unit]
        return lambda value: start + round(_number(value) * unit)
    if "%" in source.format:
        return lambda value: _to_ms(_with_zone(_strptime(value, source.format), zone))
    return lambda value: _auto(value, zone)


class TimeBounds:
    """Between which times an event is possible, in ms."""

    def __init__(self, source: TimeSource) -> None:
        """Take the declared bounds; the clock bounds nothing before `arrived` is called."""
        self.earliest: int = _to_ms(dt.datetime.combine(source.earliest, dt.time(), dt.UTC))
        self.latest: int = _to_ms(dt.datetime.combine(source.latest, dt.time(), dt.UTC))
        self.max_future_skew_ms: int = -1 if source.max_future_skew is None else source.max_future_skew.ms
        self.clock_end: int = self.latest

    def arrived(self, now_ms: int) -> None:
        """Take note of the clock at which events arrive: none can be much later than that."""
        if self.max_future_skew_ms >= 0:
            self.clock_end = now_ms + self.max_future_skew_ms + 1

    def check(self, time_ms: int, field: str, value: object) -> None:
        """Raise RejectError when the time, which the field gave as `value`, is impossible."""
        if not self.earliest <= time_ms < self.latest:
            raise RejectError(f"an impossible time: {value!r:.60}", f"$.{field}")
        if time_ms >= self.clock_end:
            raise RejectError(f"an impossible time: {value!r:.60} is {TOO_FAR_IN_FUTURE}", f"$.{field}")


def number_ranges(source: TimeSource) -> list[tuple[float, float]]:
    """Return as which numbers a time between the declared bounds is written: from one to below another.

    They are half a millisecond before the bounds, because times are rounded.

    >>> number_ranges(TimeSource(field="t"))[:2]
    [(315532799.9995, 4102444799.9995), (315532799999.5, 4102444799999.5)]
    """
    bounds = TimeBounds(source)
    first, end = bounds.earliest - 0.5, bounds.latest - 0.5
    if source.format == "number":
        zone = dt.timezone(dt.timedelta(hours=source.utc_offset_hours))
        start, unit = _to_ms(dt.datetime.combine(source.origin, dt.time(), zone)), _UNIT_MS[source.unit]
        return [((first - start) / unit, (end - start) / unit)]
    return [
        (first / 1000, end / 1000),
        (max(first, _SECONDS_BELOW), end),
        (max(first * 1000, _MILLISECONDS_BELOW), end * 1000),
        (max(first * 1_000_000, _MICROSECONDS_BELOW), end * 1_000_000),
    ]


def date_part_columns(date_parts: DateParts) -> tuple[str | None, ...]:
    """Return the fields that hold the parts of a date, in the order of `date_of`."""
    return (
        date_parts.year,
        date_parts.month,
        date_parts.day,
        date_parts.week_of_month,
        date_parts.day_of_week,
    )


def date_of(values: Sequence[object], field: str, utc_offset_hours: float) -> int:
    """Return midnight of the day of these pieces; raise RejectError, at `field`, where there is none."""
    zone = dt.timezone(dt.timedelta(hours=utc_offset_hours))
    try:
        return from_parts(values[0], values[1], values[2], values[3], values[4], zone)
    except (RejectError, ValueError, OverflowError) as error:
        raise RejectError(f"no date can be made of {values!r:.100}: {error}", f"$.{field}") from None


def from_parts(
    year: object, month: object, day: object, week: object, weekday: object, zone: dt.timezone
) -> int:
    """Return midnight of a day given in pieces; a missing day is made of week of month and weekday.

    >>> by_week = from_parts("1994", "Dec", None, "5", "Wednesday", dt.UTC)
    >>> by_week == from_parts(1994, 12, 28, None, None, dt.UTC)
    True
    """
    first = dt.date(round(_number(year)), _named(month, _MONTHS, 1), 1)
    date = _day_in_week(first, week, weekday) if day is None else first.replace(day=round(_number(day)))
    return _to_ms(dt.datetime.combine(date, dt.time(), zone))


def _day_in_week(first: dt.date, week: object, weekday: object) -> dt.date:
    """Return the weekday in the n-th calendar week (Monday first) of the month, kept inside the month."""
    number = 1 if week is None else round(_number(week))
    monday = first - dt.timedelta(days=first.weekday()) + dt.timedelta(weeks=number - 1)
    date = monday + dt.timedelta(days=0 if weekday is None else _named(weekday, _WEEKDAYS, 0))
    last = (first + dt.timedelta(days=31)).replace(day=1) - dt.timedelta(days=1)
    return min(max(date, first), last)


def _auto(value: object, zone: dt.timezone) -> int:
    if isinstance(value, str):
        text = value.strip()
        # Python's ISO reader takes '1768082170000.0' for a day of 1768, so digits are looked at first.
        if text[:_MORE_THAN_A_DATE].isdigit() and len(text) != _DIGITS_OF_A_DATE:
            return _epoch(_number(text))
        if text.endswith(_UTC):
            text = text[: -len(_UTC)] + "+00:00"
        try:
            return _to_ms(_with_zone(dt.datetime.fromisoformat(text), zone))
        except ValueError:
            unusual = _unusual(text, zone)
            return _epoch(_number(text)) if unusual is None else unusual
    return _epoch(_number(value))


def _unusual(text: str, zone: dt.timezone) -> int | None:
    """Read a z in lower case, hour 24 as the end of its day, and second 60 as the end of its minute.

    None where the text is no such time.
    """
    match = _CLOCK.fullmatch(text)
    if match is None:
        return None
    date, hour, minute, second, fraction, utc, offset = match.groups()
    seconds, rest = int(second or 0), (fraction or "").strip(".,0")
    is_hour_24 = int(hour) == _DAY_HOURS and int(minute) == seconds == 0 and not rest
    leap = seconds == _MINUTE
    if int(hour) >= _DAY_HOURS and not is_hour_24:
        return None
    iso = f"{date}T{'00' if is_hour_24 else hour}:{minute}:{'59' if leap else f'{seconds:02}'}"
    iso += f"{fraction or ''}{'+00:00' if utc else offset or ''}"
    try:
        moment = _with_zone(dt.datetime.fromisoformat(iso), zone)
        if leap:
            moment = moment.replace(microsecond=0) + dt.timedelta(seconds=1)
        return _to_ms(moment + dt.timedelta(days=is_hour_24))
    except (ValueError, OverflowError):
        return None


def _epoch(number: float) -> int:
    if abs(number) < _SECONDS_BELOW:
        return round(number * 1000)
    if abs(number) < _MILLISECONDS_BELOW:
        return round(number)
    return round(number / 1000) if abs(number) < _MICROSECONDS_BELOW else round(number / 1_000_000)


def _strptime(value: object, pattern: str) -> dt.datetime:
    try:
        return dt.datetime.strptime(str(value).strip(), pattern)  # noqa: DTZ007 - the zone is added by the caller
    except ValueError as error:
        raise RejectError(str(error)) from None


def _with_zone(moment: dt.datetime, zone: dt.timezone) -> dt.datetime:
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=zone)


def _to_ms(moment: dt.datetime) -> int:
    return (moment - _EPOCH) // _MILLISECOND


def _named(value: object, names: list[str], base: int) -> int:
    text = str(value).strip().lower()
    if text[:3] in names:
        return names.index(text[:3]) + base
    number = round(_number(value))
    if not base <= number < base + len(names):
        message = f"expected a name or a number from {base} to {base + len(names) - 1}, got {value!r}"
        raise RejectError(message)
    return number


def _number(value: object) -> float:
    if isinstance(value, (int, float, str)) and not isinstance(value, bool):
        try:
            number = float(value)
        except (ValueError, OverflowError):
            number = math.nan
        if abs(number) < _MAX_NUMBER:
            return number
    message = f"expected a time, got {value!r:.60}"
    raise RejectError(message)
