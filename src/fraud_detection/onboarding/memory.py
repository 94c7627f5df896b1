"""Propose which features to make: windows that suit how dense and how long the history is."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from fraud_detection.core.decoding import Duration, decode
from fraud_detection.core.errors import ConfigError
from fraud_detection.core.project_schema import EntityFeatures, Features, Split, Statistic
from fraud_detection.onboarding.column_assignment import Board
from fraud_detection.onboarding.entity_candidates import Party
from fraud_detection.onboarding.time_column import DAY_MS, When

Part = Literal["hour", "weekday", "night"]

_BY_TIME = ("5m", "1h", "1d", "7d", "30d")
_BY_TIME_SHORT = ("5m", "1h", "6h", "1d", "3d")
_BY_DATE = ("1d", "7d", "30d", "90d")
_NEIGHBOURS = ("1d", "7d", "30d")
_RISK = ("1d", "7d", "30d")
_RISK_SHORT = ("6h", "1d", "3d")
_SHORT_DAYS = 14
_LONG_DAYS = 100
_MANY_ROWS = 50_000
_WITH_AMOUNT: tuple[Statistic, ...] = ("count", "sum", "mean", "std", "max", "zscore")
_MAX_NEIGHBOURS = 4
_SELDOM = 0.002
"""A window that holds another payment of the same id more seldom than this is left out."""


@dataclass(frozen=True, slots=True)
class Ground:
    """What features can be made of: the times, and whether there is an amount, a label, a place."""

    when: When
    amount: bool
    label: bool
    place: bool


def propose_features(ground: Ground, parties: list[Party]) -> Features:
    """Return the features: history of every entity that comes back, and the calendar the times allow."""
    returning = [party for party in parties if party.returns]
    entities = {party.name: _memory(ground, party, returning) for party in returning}
    return Features(entities=entities, calendar=_calendar(ground.when))


def _memory(ground: Ground, party: Party, returning: list[Party]) -> EntityFeatures:
    """Return the memory of one entity; the first also remembers which others it met."""
    when, leader = ground.when, returning[0]
    first = party is leader
    met = [other.name for other in returning[1:]][:_MAX_NEIGHBOURS] if first else []
    counted = met if first else [leader.name]
    risk = _RISK_SHORT if when.days < _SHORT_DAYS else _RISK
    return EntityFeatures(
        windows=windows(when, party),
        statistics=_WITH_AMOUNT if ground.amount else ("count",),
        distinct={other: fitting(_NEIGHBOURS, when.days)[:2] for other in counted},
        first_seen=tuple(met),
        speed=first and ground.place,
        risk=fitting(risk, when.days) if ground.label else (),
    )


def windows(when: When, party: Party) -> tuple[Duration, ...]:
    """Return windows no finer than the times, no longer than the file, and not always empty.

    Only those who pay get the shortest one: it is there to see a burst on one card.
    """
    if when.grain == "day":
        return fitting(_BY_DATE, when.days)
    steps = _BY_TIME_SHORT if when.days < _SHORT_DAYS else _BY_TIME
    ladder = steps[0 if party.pays and when.grain != "hour" else 1 :]
    seldom = _SELDOM * when.days * DAY_MS / max(party.repeats, _SELDOM)
    lively = tuple(span for span in fitting(ladder, when.days) if span.ms >= seldom)
    return lively or fitting(ladder[-2:], when.days)


def fitting(ladder: Iterable[str], days: float) -> tuple[Duration, ...]:
    """Return the windows that the file is at least one and a half times as long as; one at least.

    >>> fitting(["1h", "1d", "7d"], 5), fitting(["1d", "7d"], 0.1)
    ((Duration('1h'), Duration('1d')), (Duration('1d'),))
    """
    spans = [Duration.parse(text) for text in ladder]
    return tuple(span for span in spans if 1.5 * span.ms <= days * DAY_MS) or tuple(spans[:1])


def _calendar(when: When) -> tuple[Part, ...]:
    if when.grain == "day":
        return ("weekday",)
    return ("hour", "weekday") if when.counted else ("hour", "weekday", "night")


def propose_split(board: Board, when: When, parties: list[Party]) -> Split:
    """Return the split; a long history first fills its windows before it is learned from."""
    settings: dict[str, object] = {}
    if when.days >= _LONG_DAYS and board.rows >= _MANY_ROWS and any(party.returns for party in parties):
        settings["burn_in"] = "30d"
        board.say("split.burn_in", "30d: the first month only fills the windows")
    if board.overrides.test_from is not None:
        settings["test_from"] = _test_from(when, board.overrides.test_from)
    return decode(settings, Split, "split")


def _test_from(when: When, text: str) -> str:
    """Return the day; refuse one that leaves nothing to learn from, or nothing to judge by."""
    try:
        day = dt.date.fromisoformat(text)
    except ValueError:
        raise ConfigError(f"--test-from: expected a date such as 2026-01-31, got {text!r}") from None
    first, last = when.span
    if not first < day <= last:
        raise ConfigError(
            f"--test-from {text}: the payments are from {first} to {last}; "
            "name a day after the first one, and no later than the last"
        )
    return str(day)
