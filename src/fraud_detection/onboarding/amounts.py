"""Infer which column is the amount of money, and how it is written."""

from __future__ import annotations

import re

import numpy as np

from fraud_detection.core.errors import ConfigError
from fraud_detection.core.project_schema import AmountSource, Costs
from fraud_detection.onboarding.column_assignment import ColumnAssignment, best
from fraud_detection.onboarding.column_keywords import AMOUNT, NOT_AMOUNT, name_tokens
from fraud_detection.onboarding.columns import Profile, means_missing

WHERE = "schema.amount"

_HALF = 0.5
_DEFAULT_LIMIT, _LARGE_LIMIT = 1e12, 1e15
"""Largest amounts that are accepted: by default, and the limit of exact sums of cents."""
_SAME = 1e-9
_ALMOST_ALL = 0.999
_PROBES = 50
_SUM = (
    r"[-+]?(?:\d+(?:\.\d+)?"  # 1234.50
    r"|\d{1,3}(?:[,'\u00a0\u202f]\d{3})+(?:\.\d+)?"  # 1,234.50
    r"|\d{1,3}(?:[.'\s]?\d{3})*,\d{1,2})"  # 1.234,50
)
_CURRENCY = r"(?:[$€£¥₹]|[A-Za-z]{3})"
_MONEY = re.compile(rf"-?\s*(?:[$€£¥₹]\s*|[A-Za-z]{{3}}\s+)?{_SUM}(?:\s*{_CURRENCY})?|\({_SUM}\)")


def infer_amount(columns: ColumnAssignment) -> AmountSource | None:
    """Assign the amount column, if there is one."""
    profile = _column(columns)
    if profile is None:
        _report_none(columns)
        return None
    if profile.kind != "number" or looks_like_money(profile):
        is_named = columns.overrides.amount is not None
        where = f"--amount {profile.name}" if is_named else f"{columns.origin}: the amount `{profile.name}`"
        raise ConfigError(f"{where}: {not_numbers(profile)}")
    low, high = float(profile.finite.min()), float(profile.finite.max())
    _check_sign(columns, profile)
    columns.assign(profile, WHERE, f"numbers from {low:,.10g} to {high:,.10g}{_unreadable(profile)}")
    if low < 0:
        columns.add_finding(
            f"{WHERE}.minimum",
            "some amounts are below zero, so that is allowed: refunds pass as payments",
            "likely",
        )
    bound = _LARGE_LIMIT if max(-low, high) > _DEFAULT_LIMIT / 10 else _DEFAULT_LIMIT
    return AmountSource(
        field=profile.name,
        decimals=_decimals(profile) if bound == _DEFAULT_LIMIT else 2,
        minimum=-bound if low < 0 else 0.0,
        maximum=bound,
    )


def _report_none(columns: ColumnAssignment) -> None:
    columns.add_finding(WHERE, "no column: windows count payments only; name one with --amount", "likely")
    defaults = Costs()
    columns.add_finding(
        "costs",
        f"without an amount every missed fraud costs {defaults.missed_fraud_fixed:g} and every review "
        f"{defaults.review:g}, and the cut-offs follow from that; write what they cost you",
        "unsure",
    )


def _check_sign(columns: ColumnAssignment, profile: Profile) -> None:
    """Check that most amounts are above zero: a missed fraud would cost less than nothing."""
    by_row = profile.by_row
    below = float((by_row[np.isfinite(by_row)] < 0).mean())
    if below > _HALF:
        raise ConfigError(
            f"{columns.origin}: {below:.0%} of the amounts in `{profile.name}` are below zero, as on a bank "
            "statement, but a payment must be above zero: turn the signs round (only refunds are below zero "
            f"then), or do without with --ignore {profile.name}"
        )


def _column(columns: ColumnAssignment) -> Profile | None:
    if columns.overrides.amount is not None:
        return columns.profiles[columns.overrides.amount]
    rivals = best((_fitness(profile), profile) for profile in columns.unassigned.values())
    return columns.pick(rivals, WHERE, "--amount", "the amount")


def _fitness(profile: Profile) -> float:
    tokens = name_tokens(profile.name)
    named = max((AMOUNT.get(token, 0) for token in tokens), default=0)
    if not named or NOT_AMOUNT & set(tokens) or profile.distinct < 2 or profile.missing > _HALF:  # noqa: PLR2004 - one value
        return 0.0
    money = profile.kind == "number" or looks_like_money(profile)
    return named - 0.01 * len(tokens) - 4 * profile.missing if money else 0.0


def looks_like_money(profile: Profile) -> bool:
    """Return whether the values that are no numbers are amounts all the same, written in another way."""
    strange = _strange(profile)
    return bool(strange) and all(_MONEY.fullmatch(text) for text in strange)


def not_numbers(profile: Profile) -> str:
    """Return what to change so that the values become numbers."""
    message = f"expected numbers, got {', '.join(repr(text[:30]) for text in _strange(profile)[:3])}"
    if looks_like_money(profile):
        return (
            f"{message}; write them plainly, with a decimal point and without currency or separators: 1234.50"
        )
    return f"{message}; {profile.numeric:.0%} of its values are numbers; repair it or name another column"


def _strange(profile: Profile) -> list[str]:
    """Return some of the values that are neither numbers nor markers of a missing value."""
    texts = [str(profile.values[index]).strip() for index in np.flatnonzero(~np.isfinite(profile.numbers))]
    return [text for text in texts if not means_missing(text)][:_PROBES]


def _decimals(profile: Profile) -> int:
    """Return how many digits after the point the amounts need: at least 2, at most 6."""
    sizes = np.abs(profile.finite)
    sizes = sizes[sizes < _DEFAULT_LIMIT]
    same = _SAME * np.maximum(sizes, 1)
    enough = (digits for digits in range(2, 6) if _nearly_all(np.abs(sizes - sizes.round(digits)) < same))
    return next(enough, 6)


def _nearly_all(true: np.ndarray) -> bool:
    return not len(true) or bool(true.mean() >= _ALMOST_ALL)


def _unreadable(profile: Profile) -> str:
    bad = profile.counts[~np.isfinite(profile.numbers)].sum() + profile.rows - profile.present
    return f"; {bad / profile.rows:.2%} of rows have none and will be quarantined" if bad else ""
