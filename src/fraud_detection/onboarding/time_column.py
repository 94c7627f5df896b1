"""Guess which column, or which pieces, are the time of the payment."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import cast

import msgspec
import numpy as np

from fraud_detection.core.errors import ConfigError
from fraud_detection.core.parse.times import TimeBounds
from fraud_detection.core.project_schema import TimeSource
from fraud_detection.onboarding.column_assignment import Board, Question, Unit
from fraud_detection.onboarding.column_keywords import EVENT, NOT_EVENT_TIME, TIME, words
from fraud_detection.onboarding.columns import Floats, Profile
from fraud_detection.onboarding.date_parts import find_parts, join
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
class When:
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


def guess_time(board: Board) -> When:
    """Take the time of the payment off the board; raise ConfigError with the flag where there is none."""
    if board.overrides.time is not None:
        return _checked(board, _named(board, board.profiles[board.overrides.time]))
    when = _from_column(board) or _from_pieces(board) or _from_counter(board)
    if when is None:
        when = _named(board, board.profiles[board.choose(_unknown(board))])
    return _checked(board, when)


def ignore_other_times(board: Board, when: When) -> None:
    """Ignore the times that remain: they say the same, or come later, or belong to something else."""
    for profile in list(board.free.values()):
        instants = board.instants.get(profile.name)
        named = profile.kind == "text" or profile.is_time or TIME & set(words(profile.name))
        if instants is not None and named:
            board.ignore(profile, _why_not(instants, when))


def _why_not(instants: Instants, when: When) -> str:
    gap = _gap(instants.by_row, when.by_row)
    if len(gap) and np.ptp(gap) <= DAY_MS:
        return "says the same as the time of the payment"
    if len(gap) and (gap > 0).mean() > _NEEDED:
        return "a time after the payment: not known when it is decided"
    return "a second time; the model takes numbers, so give it as an age in days if it matters"


def _gap(one: Floats, other: Floats) -> Floats:
    gap = one - other
    finite: Floats = gap[np.isfinite(gap)]
    return finite


def _from_column(board: Board) -> When | None:
    """Use the column that looks most like the time; ask where two that differ look nearly alike."""
    usable = [p for p in board.free.values() if p.name in board.instants and _usable(board.instants[p.name])]
    fits = [(_fitness(profile, board.instants[profile.name]), profile) for profile in usable]
    fits = sorted((fit for fit in fits if fit[0] > 0), key=lambda fit: -fit[0])
    if not fits:
        return None
    highest, first = fits[0]
    rivals = [one for fitness, one in fits[1:] if highest - fitness < 1 and _differ(board, first, one)]
    chosen = board.pick([first, *rivals], WHERE, "--time", "the time of the payment") or first
    return _as_written(board, chosen, board.instants[chosen.name])


def _usable(instants: Instants) -> bool:
    return float(_in_bounds(instants.source, instants.by_row).mean()) > _NEEDED


def _fitness(profile: Profile, instants: Instants) -> float:
    parts = set(words(profile.name))
    points = 2.0 + _FINE[instants.grain] + 4 * bool(parts & EVENT) + 2 * bool(parts & TIME)
    points -= 9 * bool(parts & NOT_EVENT_TIME) + 10 * profile.missing
    return points + 0.5 * (profile.kind == "text" or profile.is_time) + (profile.distinct > 1)


def _differ(board: Board, one: Profile, other: Profile) -> bool:
    gap = _gap(board.instants[one.name].by_row, board.instants[other.name].by_row)
    return not len(gap) or float(np.ptp(gap)) > DAY_MS


def _as_written(board: Board, profile: Profile, instants: Instants) -> When:
    """Use the column by the format that was found, or said, or is asked for."""
    if board.overrides.time_format is not None:
        instants = _forced(profile, board.overrides.time_format)
    elif instants.other is not None:
        instants = _day_or_month(board, profile, instants)
    told = board.overrides.time is not None or (EVENT | TIME) & set(words(profile.name))
    board.take(profile, WHERE, f"{instants.words}, to the {instants.grain}", "sure" if told else "likely")
    return When(instants.source, instants.by_row)


def _day_or_month(board: Board, profile: Profile, instants: Instants) -> Instants:
    formats = (instants.source.format, instants.other or "")
    which = f"`{profile.name}` can be read as {formats[0]!r} and as {formats[1]!r}; which is right?"
    return _forced(profile, board.choose(Question(WHERE, "--time-format", which, formats, formats[0])))


def _forced(profile: Profile, pattern: str) -> Instants:
    source = TimeSource(field=profile.name, format=pattern)
    instants = read(profile, source, f"dates written {pattern!r}")
    if instants is None:
        raise ConfigError(
            f"--time-format {pattern}: does not read `{profile.name}`, such as {profile.examples}"
        )
    return instants


def _named(board: Board, profile: Profile) -> When:
    """Use the column that the user names, as a time or else as a counter."""
    pattern, unit = board.overrides.time_format, board.overrides.time_unit
    instants = board.instants.get(profile.name) if pattern is None else _forced(profile, pattern)
    if instants is not None and unit is None:
        return _as_written(board, profile, instants)
    if profile.kind == "number":
        return _counted(board, profile)
    raise ConfigError(
        f"--time {profile.name}: cannot be read as a time: {profile.examples}; write ISO 8601 "
        "(2026-01-31T12:00:00Z), or give the pattern, such as --time-format '%d/%m/%Y %H:%M'"
    )


def _from_counter(board: Board) -> When | None:
    counter = next((profile for profile in board.free.values() if _is_counter(profile)), None)
    return _counted(board, counter) if counter is not None else None


def _is_counter(profile: Profile) -> bool:
    """Tell whether the name speaks of nothing but time, and the values go beyond an hour of the day."""
    if profile.kind != "number" or profile.distinct < _MIN_STEPS or _unit_of(profile) is None:
        return False
    only_time = {*words(profile.name)} <= {*_COUNTERS, *EVENT, "elapsed"}
    return only_time and float(profile.finite.max()) >= _WITHIN.get(words(profile.name)[-1], 0)


def _counted(board: Board, profile: Profile) -> When:
    said = board.overrides.time_unit
    unit = said or _unit_of(profile) or _ask_unit(board, profile)
    source = TimeSource(field=profile.name, format="number", unit=unit, origin=COUNTED_FROM)
    instants = read(profile, source, f"a number, taken to count {_UNITS[unit]}")
    if instants is None:
        raise ConfigError(f"--time {profile.name}: too few values are numbers: {profile.examples}")
    reason = (
        f"{instants.words} (another unit: --time-unit) from an arbitrary origin, {COUNTED_FROM}; "
        "dates and weekdays mean nothing"
    )
    board.take(profile, WHERE, reason, "sure" if said else "likely")
    return When(source, instants.by_row, counted=True)


def _unit_of(profile: Profile) -> Unit | None:
    return next((_COUNTERS[word] for word in reversed(words(profile.name)) if word in _COUNTERS), None)


def _ask_unit(board: Board, profile: Profile) -> Unit:
    question = Question(
        WHERE,
        "--time-unit",
        f"In which unit does `{profile.name}` count time: s, m, h or d?",
        tuple(_UNITS),
        refusal=f"`{profile.name}` counts from an unknown time: give its unit with --time-unit s, m, h or d",
    )
    return cast("Unit", board.choose(question))


def _from_pieces(board: Board) -> When | None:
    parts = find_parts(board.free)
    by_row = join(board.profiles, parts) if parts is not None else np.empty(0)
    if parts is None or np.isfinite(by_row).mean() < _NEEDED:
        return None
    for name in msgspec.structs.astuple(parts):
        if name is not None:
            board.take(board.profiles[name], WHERE, "a piece of the date")
    return When(TimeSource(parts=parts), by_row)


def _unknown(board: Board) -> Question:
    return Question(
        WHERE,
        "--time",
        "No column looks like a time. Which column is the time of the payment?",
        tuple(board.free),
        refusal=(
            "no column looks like a time (ISO 8601, a count since 1970, a date in pieces such as year and "
            "month, or a counter such as `step`); name it with --time COLUMN"
        ),
    )


def _checked(board: Board, when: When) -> When:
    """Refuse if too few rows have a usable time."""
    good = _in_bounds(when.source, when.by_row)
    if good.mean() < _NEEDED:
        raise ConfigError(
            f"{board.origin}: only {good.mean():.0%} of rows have a time from {when.source.earliest} to "
            f"{when.source.latest}; name another column with --time, or give its format with --time-format"
        )
    return When(when.source, np.where(good > 0, when.by_row, np.nan), counted=when.counted)


def _in_bounds(source: TimeSource, by_row: Floats) -> Floats:
    bounds = TimeBounds(source)
    first, last = bounds.earliest, bounds.latest
    with np.errstate(invalid="ignore"):
        return ((by_row >= first) & (by_row < last)).astype(np.float64)
