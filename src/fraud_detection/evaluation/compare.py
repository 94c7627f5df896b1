"""Compare two sides' answers to the same payments: one call, one record.

A backtest, the shadow of live traffic and the gate before a promotion ask this and nothing else,
so that their figures mean the same.
"""

from __future__ import annotations

import itertools

import numpy as np

from fraud_detection.core.errors import ConfigError
from fraud_detection.core.project_schema import Costs
from fraud_detection.evaluation.cases import examples, reasons
from fraud_detection.evaluation.comparison import Comparison
from fraud_detection.evaluation.cost_table import Ledger
from fraud_detection.evaluation.evaluation_set import Answers, Coded, Traffic
from fraud_detection.evaluation.measures import DAY_MS
from fraud_detection.evaluation.slices import Summing, everything, iso, mature_only, segment, weeks
from fraud_detection.evaluation.unobserved_outcomes import unseen

MAX_VALUES = 10
"""Of a segment; what is rarer goes together."""

AMOUNT = "amount"
BAND_QUANTILES = (0.25, 0.5, 0.75, 0.95)


def compare(traffic: Traffic, first: Answers, second: Answers, costs: Costs, seed: int = 7) -> Comparison:
    """Judge the second side beside the first on the same payments.

    Raises ConfigError without a payment, or when a side has not answered each of them once.
    """
    sides = (first, second)
    _refuse_misfit(traffic, sides)
    by_week = weeks(traffic)
    total, days = mature_only(by_week, "all weeks whose labels are in")
    summing = Summing(traffic, sides, Ledger.of(traffic, sides, costs), seed)
    (whole,) = summing.parts(everything(traffic, "all payments"))
    judged = summing.parts(total, days)
    segments = {AMOUNT: amount_bands(traffic.amount), **traffic.segments}
    return Comparison(
        first=first.name,
        second=second.name,
        as_of=iso(traffic.as_of),
        label_delay_days=traffic.delay_ms / DAY_MS,
        capacity_per_day=(first.capacity, second.capacity),
        weighted=traffic.weight is not None,
        traffic=whole,
        total=judged[0] if judged else None,
        unseen=unseen(traffic, sides, total, costs) if judged else None,
        weeks=tuple(summing.parts(by_week)),
        segments={
            name: tuple(summing.parts(segment(coded, total, MAX_VALUES), days))
            for name, coded in segments.items()
        },
        actions=_cross(first, second),
        reasons=reasons(traffic, sides, total),
        examples=examples(traffic, sides, total),
    )


def amount_bands(amount: np.ndarray) -> Coded:
    """Part payments by amount, at round numbers near the quartiles and near the largest 5 %.

    >>> bands = amount_bands(np.array([3.0, 12.0, 31.0, 48.0, 900.0, np.nan]))
    >>> [bands.name(row) for row in range(6)]
    ['under 10', '10 to 30', '30 to 50', '30 to 50', 'from 700', None]
    """
    known = amount[np.isfinite(amount)]
    if not known.size:
        return Coded(np.full(amount.size, -1), ())
    edges = sorted({_round(float(edge)) for edge in np.quantile(known, BAND_QUANTILES)})
    middle = [f"{low:,g} to {high:,g}" for low, high in itertools.pairwise(edges)]
    names = (f"under {edges[0]:,g}", *middle, f"from {edges[-1]:,g}")
    codes = np.searchsorted(np.array(edges), amount, side="right")
    return Coded(np.where(np.isfinite(amount), codes, -1), names, ordered=True)


def _round(value: float) -> float:
    """Return a value with one significant digit."""
    return float(f"{value:.0e}")


def _cross(first: Answers, second: Answers) -> tuple[tuple[int, int, int], ...]:
    counts = np.bincount(first.action * np.int64(3) + second.action, minlength=9).reshape(3, 3)
    return tuple((int(a), int(b), int(c)) for a, b, c in counts)


def _refuse_misfit(traffic: Traffic, sides: tuple[Answers, Answers]) -> None:
    if not len(traffic):
        raise ConfigError("there is no payment to judge in that time")
    for side in sides:
        if side.action.size != len(traffic):
            raise ConfigError(f"{side.name}: {side.action.size} answers to {len(traffic)} payments")
