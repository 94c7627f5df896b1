"""Propose features: windows that suit the length and density of the history."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from fraud_detection.core.decoding import Duration, decode
from fraud_detection.core.errors import ConfigError
from fraud_detection.core.project_schema import EntityFeatures, Features, Split, Statistic
from fraud_detection.onboarding.column_assignment import ColumnAssignment
from fraud_detection.onboarding.entity_candidates import EntityCandidate
from fraud_detection.onboarding.time_column import DAY_MS, TimeColumn

CalendarFeature = Literal["hour", "weekday", "night"]

_BY_TIME = ("5m", "1h", "1d", "7d", "30d")
_BY_TIME_SHORT = ("5m", "1h", "6h", "1d", "3d")
_BY_DATE = ("1d", "7d", "30d", "90d")
_DISTINCT = ("1d", "7d", "30d")
_RISK = ("1d", "7d", "30d")
_RISK_SHORT = ("6h", "1d", "3d")
_SHORT_DAYS = 14
_LONG_DAYS = 100
_MANY_ROWS = 50_000
_WITH_AMOUNT: tuple[Statistic, ...] = ("count", "sum", "mean", "std", "max", "zscore")
_MAX_RELATED = 4
_SELDOM = 0.002
"""A window that holds another payment of the same id more seldom than this is left out."""


@dataclass(frozen=True, slots=True)
class FeatureInputs:
    """What features can be computed from: the times, and whether there is an amount, a label, a place."""

    time_column: TimeColumn
    amount: bool
    label: bool
    place: bool


def propose_features(inputs: FeatureInputs, entities: list[EntityCandidate]) -> Features:
    """Return the features: history of every entity that comes back, and the calendar the times allow."""
    returning = [entity for entity in entities if entity.returns]
    settings = {entity.name: _entity_features(inputs, entity, returning) for entity in returning}
    return Features(entities=settings, calendar=_calendar(inputs.time_column))


def _entity_features(
    inputs: FeatureInputs, entity: EntityCandidate, returning: list[EntityCandidate]
) -> EntityFeatures:
    """Return the windows of one entity; the first also counts the distinct ids of the others."""
    time_column, leader = inputs.time_column, returning[0]
    first = entity is leader
    related = [entity.name for entity in returning[1:]][:_MAX_RELATED] if first else []
    counted = related if first else [leader.name]
    risk = _RISK_SHORT if time_column.days < _SHORT_DAYS else _RISK
    return EntityFeatures(
        windows=windows(time_column, entity),
        statistics=_WITH_AMOUNT if inputs.amount else ("count",),
        distinct={entity_name: fitting(_DISTINCT, time_column.days)[:2] for entity_name in counted},
        first_seen=tuple(related),
        speed=first and inputs.place,
        risk=fitting(risk, time_column.days) if inputs.label else (),
    )


def windows(time_column: TimeColumn, entity: EntityCandidate) -> tuple[Duration, ...]:
    """Return windows no finer than the times, no longer than the file, and not always empty.

    Only those who pay get the shortest one: it is there to see a burst on one card.
    """
    if time_column.grain == "day":
        return fitting(_BY_DATE, time_column.days)
    steps = _BY_TIME_SHORT if time_column.days < _SHORT_DAYS else _BY_TIME
    ladder = steps[0 if entity.pays and time_column.grain != "hour" else 1 :]
    seldom = _SELDOM * time_column.days * DAY_MS / max(entity.repeats, _SELDOM)
    lively = tuple(span for span in fitting(ladder, time_column.days) if span.ms >= seldom)
    return lively or fitting(ladder[-2:], time_column.days)


def fitting(ladder: Iterable[str], days: float) -> tuple[Duration, ...]:
    """Return the windows that the file is at least one and a half times as long as; one at least.

    >>> fitting(["1h", "1d", "7d"], 5), fitting(["1d", "7d"], 0.1)
    ((Duration('1h'), Duration('1d')), (Duration('1d'),))
    """
    spans = [Duration.parse(text) for text in ladder]
    return tuple(span for span in spans if 1.5 * span.ms <= days * DAY_MS) or tuple(spans[:1])


def _calendar(time_column: TimeColumn) -> tuple[CalendarFeature, ...]:
    if time_column.grain == "day":
        return ("weekday",)
    return ("hour", "weekday") if time_column.counted else ("hour", "weekday", "night")


def propose_split(
    columns: ColumnAssignment, time_column: TimeColumn, entities: list[EntityCandidate]
) -> Split:
    """Return the split; a long history first fills its windows before it is learned from."""
    settings: dict[str, object] = {}
    if (
        time_column.days >= _LONG_DAYS
        and columns.rows >= _MANY_ROWS
        and any(entity.returns for entity in entities)
    ):
        settings["burn_in"] = "30d"
        columns.add_finding("split.burn_in", "30d: the first month only fills the windows")
    if columns.overrides.test_from is not None:
        settings["test_from"] = _test_from(time_column, columns.overrides.test_from)
    return decode(settings, Split, "split")


def _test_from(time_column: TimeColumn, text: str) -> str:
    """Return the day; refuse one that leaves nothing to train on, or nothing to test on."""
    try:
        day = dt.date.fromisoformat(text)
    except ValueError:
        raise ConfigError(f"--test-from: expected a date such as 2026-01-31, got {text!r}") from None
    first, last = time_column.span
    if not first < day <= last:
        raise ConfigError(
            f"--test-from {text}: the payments are from {first} to {last}; "
            "name a day after the first one, and no later than the last"
        )
    return str(day)
