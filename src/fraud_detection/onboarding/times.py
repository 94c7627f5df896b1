"""Find out whether a column holds times, and how they are written; the parser's own readers decide."""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from fraud_detection.core.errors import RejectError
from fraud_detection.core.parse.times import time_reader
from fraud_detection.core.project_schema import TimeSource
from fraud_detection.onboarding.column_keywords import ID, TIME, entity_of, name_tokens
from fraud_detection.onboarding.columns import Floats, Profile, values_by_row

Grain = Literal["second", "minute", "hour", "day"]

GRAIN_MS: dict[Grain, int] = {"day": 86_400_000, "hour": 3_600_000, "minute": 60_000, "second": 1}
COUNTED_FROM = dt.date(2001, 1, 1)
"""A Monday, after the earliest time that the schema allows."""

_READABLE = 0.95
_PROBES = 40
_DATES = (
    "%d/%m/%Y",
    "%m/%d/%Y",
    "%d-%m-%Y",
    "%m-%d-%Y",
    "%d.%m.%Y",
    "%Y/%m/%d",
    "%Y.%m.%d",
    "%d/%m/%y",
    "%m/%d/%y",
    "%d.%m.%y",
    "%d %b %Y",
    "%d-%b-%Y",
    "%d-%b-%y",
    "%b %d %Y",
    "%b %d, %Y",
    "%d %B %Y",
    "%B %d, %Y",
    "%d%b%Y",
)
_CLOCKS = ("", " %H:%M:%S", " %H:%M", " %I:%M:%S %p", " %I:%M %p", " %H:%M:%S.%f", ":%H:%M:%S", ", %H:%M:%S")
PATTERNS = tuple(date + clock for date, clock in itertools.product(_DATES, _CLOCKS))
_COMPACT = {8: "%Y%m%d", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}
_MIN_LENGTH, _MAX_LENGTH = 6, 40
_MIN_DIGITS = 3
_EPOCHS = {1: "seconds", 1_000: "milliseconds", 1_000_000: "microseconds", 1_000_000_000: "nanoseconds"}
_FIRST_S, _LAST_S = 631_152_000, 2_524_608_000  # 1990 and 2050
_RECENT_S, _DECADES_S = 946_684_800, 30 * 366 * 86_400
_SORTED = 0.99


@dataclass(frozen=True, slots=True)
class Instants:
    """How a column writes times, and what they are: milliseconds by row, NaN where unreadable.

    other: a second format that reads everything too, where days and months cannot be distinguished.
    """

    source: TimeSource
    by_row: Floats
    description: str
    other: str | None = None

    @property
    def grain(self) -> Grain:
        """Return the finest unit in which the times differ."""
        return grain(self.by_row)


def grain(by_row: Floats) -> Grain:
    """Return the coarsest unit that all times are multiples of.

    >>> grain(np.array([0.0, 86_400_000.0])), grain(np.array([np.nan, 90_000_000.0])), grain(np.array([61e3]))
    ('day', 'hour', 'second')
    """
    times = by_row[np.isfinite(by_row)]
    return next(name for name, size in GRAIN_MS.items() if not (times % size).any() or name == "second")


def find_instants(profile: Profile) -> Instants | None:
    """Return how the column writes times, None where it holds none.

    >>> from fraud_detection.onboarding.columns import profile as column
    >>> examples = ("2026-01-31", "31/01/2026", 1767225600)
    >>> [find_instants(column("t", [value])).description for value in examples]
    ['ISO dates and times', "dates written '%d/%m/%Y'", 'seconds since 1970']
    """
    if profile.is_time:
        return read(profile, TimeSource(field=profile.name), "times, by the file's own declaration")
    if profile.kind == "number":
        return _compact(profile) or _epoch(profile)
    return _textual(profile) if profile.kind == "text" else None


def read(
    profile: Profile, source: TimeSource, description: str, alternative: str | None = None
) -> Instants | None:
    """Read all values by a format; return None if too few can be read."""
    by_value = _read_all(profile.values, source)
    weight = profile.counts[np.isfinite(by_value)].sum() / max(profile.present, 1)
    if weight < _READABLE:
        return None
    return Instants(source, values_by_row(by_value, profile.codes), description, alternative)


def _textual(profile: Profile) -> Instants | None:
    texts = profile.texts
    probes = [text.strip() for text in texts[:: max(len(texts) // _PROBES, 1)]]
    if not all(map(_may_be_time, probes[:3])):
        return None
    iso = TimeSource(field=profile.name)
    if _reads(probes[:3], iso):
        return read(profile, iso, "ISO dates and times")
    fitting = [pattern for pattern in PATTERNS if _reads(probes, _patterned(profile, pattern))]
    candidates = [
        read(profile, _patterned(profile, pattern), f"dates written {pattern!r}") for pattern in fitting
    ]
    return _most_plausible([instants for instants in candidates if instants is not None])


def _most_plausible(candidates: list[Instants]) -> Instants | None:
    """Prefer the reading in which the file is sorted by time; else keep a second one for a question."""
    if not candidates:
        return None
    best, *others = sorted(candidates, key=lambda instants: -sortedness(instants.by_row))
    rivals = [
        instants for instants in others if not np.array_equal(instants.by_row, best.by_row, equal_nan=True)
    ]
    if not rivals or sortedness(best.by_row) >= _SORTED > sortedness(rivals[0].by_row):
        return best
    return replace(best, other=rivals[0].source.format)


def sortedness(by_row: Floats) -> float:
    """Return the share of steps from row to row that do not go back in time."""
    steps = np.diff(by_row[np.isfinite(by_row)])
    return float((steps >= 0).mean()) if len(steps) else 1.0


def _may_be_time(text: str) -> bool:
    digits = sum(character.isdigit() for character in text)
    return _MIN_LENGTH <= len(text) <= _MAX_LENGTH and digits >= _MIN_DIGITS


def _compact(profile: Profile) -> Instants | None:
    """Read whole numbers such as 20260131."""
    low, high = _bounds(profile)
    pattern = _COMPACT.get(len(f"{low:.0f}")) if profile.is_integer and low > 0 else None
    if pattern is None or len(f"{low:.0f}") != len(f"{high:.0f}"):
        return None
    if not 1900 <= int(f"{low:.0f}"[:4]) <= int(f"{high:.0f}"[:4]) < 2100:  # noqa: PLR2004 - years
        return None
    return read(profile, _patterned(profile, pattern), f"dates written {pattern!r}")


def _epoch(profile: Profile) -> Instants | None:
    """Read counts since 1970, if all are plausible, and the name or the narrow range supports it."""
    low, high = _bounds(profile)
    scale = next((s for s in _EPOCHS if _FIRST_S * s <= low and high < _LAST_S * s), None)
    if scale is None:
        return None
    named = TIME & set(name_tokens(profile.name))
    recent = low >= _RECENT_S * scale and high - low < _DECADES_S * scale and profile.is_integer
    if not named and (not recent or ID & set(name_tokens(profile.name)) or entity_of(profile.name)):
        return None
    return read(profile, TimeSource(field=profile.name), f"{_EPOCHS[scale]} since 1970")


def _bounds(profile: Profile) -> tuple[float, float]:
    numbers = profile.finite
    return float(numbers.min()), float(numbers.max())


def _patterned(profile: Profile, pattern: str) -> TimeSource:
    return TimeSource(field=profile.name, format=pattern)


def _reads(texts: Sequence[str], source: TimeSource) -> bool:
    return bool(texts) and all(np.isfinite(time) for time in _lazily(texts, source))


def _read_all(values: Iterable[object], source: TimeSource) -> Floats:
    return np.fromiter(_lazily(values, source), np.float64)


def _lazily(values: Iterable[object], source: TimeSource) -> Iterator[float]:
    reader = time_reader(source)
    for value in values:
        try:
            yield float(reader(value))
        except (RejectError, OverflowError):
            yield np.nan
