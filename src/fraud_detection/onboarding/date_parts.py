"""Detect a date that is split over several columns: year, month, and day or week and weekday."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping

import msgspec
import numpy as np

from fraud_detection.core.errors import RejectError
from fraud_detection.core.parse.times import from_parts
from fraud_detection.core.project_schema import DateParts
from fraud_detection.onboarding.column_keywords import name_tokens
from fraud_detection.onboarding.columns import Floats, Profile

_SPELLINGS = {
    "year": "year",
    "yr": "year",
    "month": "month",
    "day": "day",
    "day of month": "day",
    "dayofmonth": "day",
    "week of month": "week_of_month",
    "weekofmonth": "week_of_month",
    "day of week": "day_of_week",
    "dayofweek": "day_of_week",
    "weekday": "day_of_week",
}


def find_date_parts(names: Iterable[str]) -> DateParts | None:
    """Find the columns whose names differ only in the part of the date that they name.

    >>> find_date_parts(["Month", "MonthClaimed", "DayOfWeek", "DayOfWeekClaimed", "AgeOfVehicle", "Year"])
    DateParts(year='Year', month='Month', day=None, week_of_month=None, day_of_week='DayOfWeek')
    >>> find_date_parts(["tx_year", "amount"]) is None
    True
    """
    dates: dict[str, dict[str, str]] = {}
    for name in names:
        for part, rest in _readings(name):
            dates.setdefault(rest, {}).setdefault(part, name)
    complete = [
        date_parts for _, date_parts in sorted(dates.items()) if {"year", "month"} <= date_parts.keys()
    ]
    return DateParts(**complete[0]) if complete else None


def join(profiles: Mapping[str, Profile], date_parts: DateParts) -> Floats:
    """Return the day of each row in milliseconds, NaN where the parts make no date."""
    columns = [
        None if name is None else _by_row(profiles[name]) for name in msgspec.structs.astuple(date_parts)
    ]
    count = profiles[date_parts.year].rows
    rows = zip(*(column if column is not None else [None] * count for column in columns), strict=True)
    return np.array([_day(values) for values in rows])


def _readings(name: str) -> list[tuple[str, str]]:
    """Return the date part that the name may mean, with the remaining words of the name."""
    joined = f" {' '.join(name_tokens(name))} "
    longest = max((s for s in _SPELLINGS if f" {s} " in joined), key=len, default=None)
    if longest is None:
        return []
    rest = " ".join(joined.replace(f" {longest} ", " ", 1).split())
    return [(_SPELLINGS[longest], rest)]


def _by_row(profile: Profile) -> list[object]:
    values = [*profile.values, None]
    return [values[code] for code in profile.codes]


def _day(values: tuple[object, ...]) -> float:
    year, month, day, week, weekday = values
    try:
        return float(from_parts(year, month, day, week, weekday, dt.UTC))
    except (RejectError, ValueError, OverflowError):
        return np.nan
