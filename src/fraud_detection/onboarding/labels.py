"""Infer the label: its column, its values, and when it becomes known."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from fraud_detection.core.decoding import Duration
from fraud_detection.core.errors import ConfigError
from fraud_detection.core.project_schema import LabelSource
from fraud_detection.onboarding.column_assignment import ColumnAssignment, best
from fraud_detection.onboarding.column_keywords import LABEL, LABEL_TIME, NOT_LABEL, name_tokens
from fraud_detection.onboarding.columns import Floats, Profile
from fraud_detection.onboarding.label_values import (
    MAX_VALUES,
    NEGATIVE,
    POSITIVE,
    UNKNOWN,
    WHERE,
    LabelValues,
    find_label_values,
    lowered,
)
from fraud_detection.onboarding.time_column import DAY_MS, TimeColumn
from fraud_detection.onboarding.times import Instants

DEFAULT_DELAY = "7d"
_SHORTER = ("3d", "1d", "12h", "6h", "1h", "10m", "1m", "1s")
_SHARE_OF_FILE = 10
_LATER = 0.9


@dataclass(frozen=True, slots=True)
class LabelColumn:
    """The chosen label, and by row 1 for fraud, 0 for legitimate, NaN for unlabelled."""

    source: LabelSource
    by_row: Floats


def infer_label(columns: ColumnAssignment, time_column: TimeColumn) -> LabelColumn | None:
    """Assign the label column; None where the file has none."""
    profile = _column(columns)
    if profile is None:
        _report_none(columns)
        return None
    label_values = find_label_values(columns, profile)
    by_row = label_values.by_row(profile)
    columns.assign(profile, WHERE, _label_finding(by_row, label_values))
    known_at = _known_at(columns, time_column, by_row)
    delay = _delay(columns, time_column, by_row, known_at)
    source = LabelSource(
        field=profile.name,
        positive=label_values.positive,
        negative=label_values.negative,
        known_at=known_at[0] if known_at is not None else None,
        delay=delay,
    )
    return LabelColumn(source, by_row)


def _report_none(columns: ColumnAssignment) -> None:
    """Report that there is no label, and why; raise ConfigError for flags about one."""
    if columns.overrides.label_positive or columns.overrides.label_negative:
        raise ConfigError(
            f"--label-positive, --label-negative: {columns.origin} has no column that looks like a label; "
            "name it with --label"
        )
    empty = next((p.name for p in columns.unassigned.values() if p.kind == "empty" and _named(p) > 1), None)
    why = "no column looks like a label" if empty is None else f"`{empty}` never has a value"
    columns.add_finding(WHERE, f"{why}: nothing can be trained; name a column with --label", "likely")


def _column(columns: ColumnAssignment) -> Profile | None:
    if columns.overrides.label is not None:
        return columns.profiles[columns.overrides.label]
    if columns.overrides.no_label:
        return None
    rivals = best((_fitness(profile), profile) for profile in columns.unassigned.values())
    return columns.pick(rivals, WHERE, "--label", "the label")


def _fitness(profile: Profile) -> float:
    """Return how much a column looks like a label: by its name, and by two values of known meaning."""
    named = _named(profile)
    if not named or not 0 < profile.distinct <= MAX_VALUES:
        return 0.0
    texts = {*lowered(profile.texts)}
    known = texts & POSITIVE and texts & NEGATIVE and texts <= POSITIVE | NEGATIVE | UNKNOWN
    if not (known or texts <= NEGATIVE or named > 1):
        return 0.0
    return named + 0.5 * bool(known) - 0.01 * len(name_tokens(profile.name))


def _named(profile: Profile) -> int:
    tokens = name_tokens(profile.name)
    return 0 if NOT_LABEL & set(tokens) else max((LABEL.get(token, 0) for token in tokens), default=0)


def _label_finding(by_row: Floats, values: LabelValues) -> str:
    labelled = np.isfinite(by_row)
    share = f"{np.nanmean(by_row):.2%}" if labelled.any() else "none"
    none = f"; {1 - labelled.mean():.0%} of rows are unlabelled" if not labelled.all() else ""
    finding = (
        f"{'/'.join(values.positive)} means fraud ({share}), {'/'.join(values.negative)} legitimate{none}"
    )
    return (
        finding if np.nansum(by_row) else f"{finding}; the sample holds no fraud, so check that the file does"
    )


def _known_at(
    columns: ColumnAssignment, time_column: TimeColumn, by_row: Floats
) -> tuple[str, Floats] | None:
    """Return the column that says when the label became known, and the delays of the frauds."""
    named = columns.overrides.label_known_at
    candidates = (
        [named] if named else [name for name in columns.unassigned if LABEL_TIME & set(name_tokens(name))]
    )
    for name in candidates:
        instants = columns.instants.get(name)
        if instants is not None:
            delays = (instants.by_row - time_column.by_row)[by_row == 1]
            if _is_known_at(columns, name, instants, delays[np.isfinite(delays)], time_column):
                return name, delays[np.isfinite(delays)]
    if named:
        raise ConfigError(
            f"--label-known-at {named}: {columns.origin} holds no times there that the schema can read"
        )
    return None


def _is_known_at(
    columns: ColumnAssignment, name: str, instants: Instants, delays: Floats, time_column: TimeColumn
) -> bool:
    profile = columns.profiles[name]
    if instants.source.format != time_column.source.format:
        columns.ignore(profile, "a time of the label, but written otherwise than the time of the payment")
        return False
    if columns.overrides.label_known_at is None and not (len(delays) and (delays > 0).mean() >= _LATER):
        columns.ignore(
            profile,
            "a time of the label, but no later than the payment: labels would seem to be known at once",
        )
        return False
    columns.assign(profile, f"{WHERE}.known_at", "when the label became known")
    return True


def _delay(
    columns: ColumnAssignment, time_column: TimeColumn, by_row: Floats, known_at: tuple[str, Floats] | None
) -> Duration:
    if columns.overrides.label_delay is not None:
        return _declared_delay(columns, time_column, columns.overrides.label_delay)
    if known_at is not None and len(known_at[1]):
        days = max(1, math.ceil(float(np.quantile(known_at[1], 0.9)) / DAY_MS))
        columns.add_finding(f"{WHERE}.delay", f"{days}d: nine of ten frauds were known by then")
        return Duration.parse(f"{days}d")
    delay = fitting_delay(time_column.days)
    if delay != DEFAULT_DELAY:
        columns.add_finding(
            f"{WHERE}.delay",
            f"the file is only {time_column.days:.1f} days long, so labels are assumed known after {delay}; "
            "say how late they really are with --label-delay",
            "unsure",
        )
    elif np.isfinite(by_row).any():
        columns.add_finding(
            f"{WHERE}.delay",
            f"nothing says when labels become known; {delay} assumed (--label-delay)",
            "likely",
        )
    return Duration.parse(delay)


def fitting_delay(days: float) -> str:
    """Return the default label delay, or a shorter one that leaves a short file something to train on.

    >>> fitting_delay(365), fitting_delay(5)
    ('7d', '12h')
    """
    room = days * DAY_MS / _SHARE_OF_FILE
    fitting = (text for text in (DEFAULT_DELAY, *_SHORTER) if Duration.parse(text).ms <= room)
    return next(fitting, _SHORTER[-1])


def _declared_delay(columns: ColumnAssignment, time_column: TimeColumn, text: str) -> Duration:
    try:
        delay = Duration.parse(text)
    except ValueError as error:
        raise ConfigError(f"--label-delay: {error}") from None
    if 3 * delay.ms > time_column.days * DAY_MS:
        room = f"{text} is long for a file of {time_column.days:.1f} days: little is left to learn from"
        columns.add_finding(f"{WHERE}.delay", room, "unsure")
    return delay
