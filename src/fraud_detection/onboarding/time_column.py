"""Infer which column, or which date parts, are the time of the payment."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import cast

import msgspec
import numpy as np

from fraud_detection.core.errors import ConfigError
from fraud_detection.core.parse.times import TimeBounds
from fraud_detection.core.project_schema import TimeSource
from fraud_detection.onboarding.column_assignment import ColumnAssignment, Question, Unit
from fraud_detection.onboarding.column_keywords import EVENT, NOT_EVENT_TIME, TIME, name_tokens
from fraud_detection.onboarding.columns import Floats, Profile
from fraud_detection.onboarding.date_parts import find_date_parts, join
from fraud_detection.onboarding.times import COUNTED_FROM, Grain, Instants, grain, read

WHERE = "schema.event_time"
DAY_MS = 86_400_000

_FINE: dict[Grain, int] = {"second": 3, "minute": 3, "hour": 2, "day": 0}
_COUNTERS: dict[str, Unit] = {
    "step": "h",
    "hour": "h",
    "hours": "h",
    "day": "d",
    "days": "d",
    "minute": "m",
    "minutes": "m",
    "second": "s",
    "seconds": "s",
    "sec": "s",
    "time": "s",
    "dt": "s",
    "timestamp": "s",
}
_UNITS: dict[Unit, str] = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_WITHIN = {"hour": 24, "day": 32, "minute": 60, "second": 60}
"""Numbers below these are an hour of the day, a day of the month ..., and count nothing."""
_NEEDED = 0.5
_MIN_STEPS = 3


@dataclass(frozen=True, slots=True)
class TimeColumn:
    """The chosen time: its source, and milliseconds by row (NaN where there is none).

    counted: from an arbitrary origin, so that dates mean nothing.
    """

    source: TimeSource
    by_row: Floats
    counted: bool = False

    @property
    def grain(self) -> Grain:
        """Return the finest unit in which the times differ."""
        return grain(self.by_row)

    @property
    def days(self) -> float:
        """Return the length of the file in days."""
        times = self.by_row[np.isfinite(self.by_row)]
        return float(np.ptp(times)) / DAY_MS if len(times) else 0.0

    @property
    def span(self) -> tuple[dt.date, dt.date]:
        """Return the first and the last day of the file."""
        times = self.by_row[np.isfinite(self.by_row)]
        first, last = (
            dt.datetime.fromtimestamp(at / 1000, dt.UTC).date() for at in (times.min(), times.max())
        )
        return first, last


def infer_time(columns: ColumnAssignment) -> TimeColumn:
    """Infer the time of the payment, and assign its column; raise ConfigError with the flag to use."""
    if columns.overrides.time is not None:
        return _checked(columns, _named(columns, columns.profiles[columns.overrides.time]))
    time_column = _from_column(columns) or _from_date_parts(columns) or _from_counter(columns)
    if time_column is None:
        time_column = _named(columns, columns.profiles[columns.choose(_unknown(columns))])
    return _checked(columns, time_column)


def ignore_other_times(columns: ColumnAssignment, time_column: TimeColumn) -> None:
    """Ignore the times that remain: they say the same, or come later, or belong to something else."""
    for profile in list(columns.unassigned.values()):
        instants = columns.instants.get(profile.name)
        named = profile.kind == "text" or profile.is_time or TIME & set(name_tokens(profile.name))
        if instants is not None and named:
            columns.ignore(profile, _why_not(instants, time_column))


def _why_not(instants: Instants, time_column: TimeColumn) -> str:
    gap = _gap(instants.by_row, time_column.by_row)
    if len(gap) and np.ptp(gap) <= DAY_MS:
        return "says the same as the time of the payment"
    if len(gap) and (gap > 0).mean() > _NEEDED:
        return "a time after the payment: not known when it is decided"
    return "a second time; the model takes numbers, so give it as an age in days if it matters"


def _gap(first: Floats, second: Floats) -> Floats:
    gap = first - second
    finite: Floats = gap[np.isfinite(gap)]
    return finite


def _from_column(columns: ColumnAssignment) -> TimeColumn | None:
    """Use the column that looks most like the time; ask where two that differ look nearly alike."""
    usable = [
        p
        for p in columns.unassigned.values()
        if p.name in columns.instants and _usable(columns.instants[p.name])
    ]
    fits = [(_fitness(profile, columns.instants[profile.name]), profile) for profile in usable]
    fits = sorted((fit for fit in fits if fit[0] > 0), key=lambda fit: -fit[0])
    if not fits:
        return None
    highest, first = fits[0]
    rivals = [
        profile for fitness, profile in fits[1:] if highest - fitness < 1 and _differ(columns, first, profile)
    ]
    chosen = columns.pick([first, *rivals], WHERE, "--time", "the time of the payment") or first
    return _as_written(columns, chosen, columns.instants[chosen.name])


def _usable(instants: Instants) -> bool:
    return float(_in_bounds(instants.source, instants.by_row).mean()) > _NEEDED


def _fitness(profile: Profile, instants: Instants) -> float:
    tokens = set(name_tokens(profile.name))
    points = 2.0 + _FINE[instants.grain] + 4 * bool(tokens & EVENT) + 2 * bool(tokens & TIME)
    points -= 9 * bool(tokens & NOT_EVENT_TIME) + 10 * profile.missing
    return points + 0.5 * (profile.kind == "text" or profile.is_time) + (profile.distinct > 1)


def _differ(columns: ColumnAssignment, profile: Profile, rival: Profile) -> bool:
    gap = _gap(columns.instants[profile.name].by_row, columns.instants[rival.name].by_row)
    return not len(gap) or float(np.ptp(gap)) > DAY_MS


def _as_written(columns: ColumnAssignment, profile: Profile, instants: Instants) -> TimeColumn:
    """Use the column by the format that was found, or said, or is asked for."""
    if columns.overrides.time_format is not None:
        instants = _forced(profile, columns.overrides.time_format)
    elif instants.other is not None:
        instants = _day_or_month(columns, profile, instants)
    named = columns.overrides.time is not None or (EVENT | TIME) & set(name_tokens(profile.name))
    columns.assign(
        profile, WHERE, f"{instants.description}, to the {instants.grain}", "sure" if named else "likely"
    )
    return TimeColumn(instants.source, instants.by_row)


def _day_or_month(columns: ColumnAssignment, profile: Profile, instants: Instants) -> Instants:
    formats = (instants.source.format, instants.other or "")
    which = f"`{profile.name}` can be read as {formats[0]!r} and as {formats[1]!r}; which is right?"
    return _forced(profile, columns.choose(Question(WHERE, "--time-format", which, formats, formats[0])))


def _forced(profile: Profile, pattern: str) -> Instants:
    source = TimeSource(field=profile.name, format=pattern)
    instants = read(profile, source, f"dates written {pattern!r}")
    if instants is None:
        raise ConfigError(
            f"--time-format {pattern}: does not read `{profile.name}`, such as {profile.examples}"
        )
    return instants


def _named(columns: ColumnAssignment, profile: Profile) -> TimeColumn:
    """Use the column that the user names, as a time or else as a counter."""
    pattern, unit = columns.overrides.time_format, columns.overrides.time_unit
    instants = columns.instants.get(profile.name) if pattern is None else _forced(profile, pattern)
    if instants is not None and unit is None:
        return _as_written(columns, profile, instants)
    if profile.kind == "number":
        return _counted(columns, profile)
    raise ConfigError(
        f"--time {profile.name}: cannot be read as a time: {profile.examples}; write ISO 8601 "
        "(2026-01-31T12:00:00Z), or give the pattern, such as --time-format '%d/%m/%Y %H:%M'"
    )


def _from_counter(columns: ColumnAssignment) -> TimeColumn | None:
    counter = next((profile for profile in columns.unassigned.values() if _is_counter(profile)), None)
    return _counted(columns, counter) if counter is not None else None


def _is_counter(profile: Profile) -> bool:
    """Return whether the name speaks of nothing but time, and the values go beyond an hour of the day."""
    if profile.kind != "number" or profile.distinct < _MIN_STEPS or _unit_of(profile) is None:
        return False
    only_time = {*name_tokens(profile.name)} <= {*_COUNTERS, *EVENT, "elapsed"}
    return only_time and float(profile.finite.max()) >= _WITHIN.get(name_tokens(profile.name)[-1], 0)


def _counted(columns: ColumnAssignment, profile: Profile) -> TimeColumn:
    named_unit = columns.overrides.time_unit
    unit = named_unit or _unit_of(profile) or _ask_unit(columns, profile)
    source = TimeSource(field=profile.name, format="number", unit=unit, origin=COUNTED_FROM)
    instants = read(profile, source, f"a number, taken to count {_UNITS[unit]}")
    if instants is None:
        raise ConfigError(f"--time {profile.name}: too few values are numbers: {profile.examples}")
    reason = (
        f"{instants.description} (another unit: --time-unit) from an arbitrary origin, {COUNTED_FROM}; "
        "dates and weekdays mean nothing"
    )
    columns.assign(profile, WHERE, reason, "sure" if named_unit else "likely")
    return TimeColumn(source, instants.by_row, counted=True)


def _unit_of(profile: Profile) -> Unit | None:
    return next((_COUNTERS[word] for word in reversed(name_tokens(profile.name)) if word in _COUNTERS), None)


def _ask_unit(columns: ColumnAssignment, profile: Profile) -> Unit:
    question = Question(
        WHERE,
        "--time-unit",
        f"In which unit does `{profile.name}` count time: s, m, h or d?",
        tuple(_UNITS),
        refusal=f"`{profile.name}` counts from an unknown time: give its unit with --time-unit s, m, h or d",
    )
    return cast("Unit", columns.choose(question))


def _from_date_parts(columns: ColumnAssignment) -> TimeColumn | None:
    date_parts = find_date_parts(columns.unassigned)
    by_row = join(columns.profiles, date_parts) if date_parts is not None else np.empty(0)
    if date_parts is None or np.isfinite(by_row).mean() < _NEEDED:
        return None
    for name in msgspec.structs.astuple(date_parts):
        if name is not None:
            columns.assign(columns.profiles[name], WHERE, "a part of the date")
    return TimeColumn(TimeSource(date_parts=date_parts), by_row)


def _unknown(columns: ColumnAssignment) -> Question:
    return Question(
        WHERE,
        "--time",
        "No column looks like a time. Which column is the time of the payment?",
        tuple(columns.unassigned),
        refusal=(
            "no column looks like a time (ISO 8601, a count since 1970, date parts such as year and "
            "month, or a counter such as `step`); name it with --time COLUMN"
        ),
    )


def _checked(columns: ColumnAssignment, time_column: TimeColumn) -> TimeColumn:
    """Refuse if too few rows have a usable time."""
    source = time_column.source
    good = _in_bounds(source, time_column.by_row)
    if good.mean() < _NEEDED:
        raise ConfigError(
            f"{columns.origin}: only {good.mean():.0%} of rows have a time from {source.earliest} to "
            f"{source.latest}; name another column with --time, or give its format with --time-format"
        )
    return TimeColumn(
        time_column.source, np.where(good > 0, time_column.by_row, np.nan), counted=time_column.counted
    )


def _in_bounds(source: TimeSource, by_row: Floats) -> Floats:
    bounds = TimeBounds(source)
    first, last = bounds.earliest, bounds.latest
    with np.errstate(invalid="ignore"):
        return ((by_row >= first) & (by_row < last)).astype(np.float64)
