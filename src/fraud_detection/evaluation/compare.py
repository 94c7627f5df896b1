"""Compare the decisions of two arms on the same payments.

Backtest, shadow comparison and promotion gate all use this function, so their figures mean the same.
"""

from __future__ import annotations

import itertools

import numpy as np

from fraud_detection.core.errors import ConfigError
from fraud_detection.core.project_schema import Costs
from fraud_detection.evaluation.cases import examples, reasons
from fraud_detection.evaluation.comparison import Comparison
from fraud_detection.evaluation.cost_table import CostTable
from fraud_detection.evaluation.evaluation_set import ArmDecisions, Categorical, EvaluationSet
from fraud_detection.evaluation.measures import DAY_MS
from fraud_detection.evaluation.slices import MetricsTable, all_payments, iso, mature_weeks, segment, weeks
from fraud_detection.evaluation.unobserved_outcomes import unobserved_outcomes

MAX_VALUES = 10
"""Values shown of a segment; rarer ones are combined."""

AMOUNT = "amount"
BAND_QUANTILES = (0.25, 0.5, 0.75, 0.95)


def compare(
    evaluation_set: EvaluationSet, baseline: ArmDecisions, variant: ArmDecisions, costs: Costs, seed: int = 7
) -> Comparison:
    """Evaluate the variant against the baseline on the same payments.

    Raises ConfigError without a payment, or when an arm has not decided each of them once.
    """
    arms = (baseline, variant)
    _check_sizes(evaluation_set, arms)
    by_week = weeks(evaluation_set)
    total, days = mature_weeks(by_week, "all weeks with mature labels")
    table = MetricsTable(evaluation_set, arms, CostTable.of(evaluation_set, arms, costs), seed)
    (whole,) = table.metrics(all_payments(evaluation_set, "all payments"))
    mature = table.metrics(total, days)
    segments = {AMOUNT: amount_bands(evaluation_set.amount), **evaluation_set.segments}
    return Comparison(
        baseline=baseline.name,
        variant=variant.name,
        as_of=iso(evaluation_set.as_of),
        label_delay_days=evaluation_set.delay_ms / DAY_MS,
        capacity_per_day=(baseline.capacity, variant.capacity),
        weighted=evaluation_set.weight is not None,
        all_payments=whole,
        total=mature[0] if mature else None,
        unobserved=unobserved_outcomes(evaluation_set, arms, total, costs) if mature else None,
        weeks=tuple(table.metrics(by_week)),
        segments={
            name: tuple(table.metrics(segment(categorical, total, MAX_VALUES), days))
            for name, categorical in segments.items()
        },
        actions=_action_counts(baseline, variant),
        reasons=reasons(evaluation_set, arms, total),
        examples=examples(evaluation_set, arms, total),
    )


def amount_bands(amount: np.ndarray) -> Categorical:
    """Group payments by amount, with edges at round numbers near quartiles and the 95 % quantile.

    >>> bands = amount_bands(np.array([3.0, 12.0, 31.0, 48.0, 900.0, np.nan]))
    >>> [bands.name(row) for row in range(6)]
    ['under 10', '10 to 30', '30 to 50', '30 to 50', 'from 700', None]
    """
    known = amount[np.isfinite(amount)]
    if not known.size:
        return Categorical(np.full(amount.size, -1), ())
    edges = sorted({_round(float(edge)) for edge in np.quantile(known, BAND_QUANTILES)})
    middle = [f"{low:,g} to {high:,g}" for low, high in itertools.pairwise(edges)]
    names = (f"under {edges[0]:,g}", *middle, f"from {edges[-1]:,g}")
    codes = np.searchsorted(np.array(edges), amount, side="right")
    return Categorical(np.where(np.isfinite(amount), codes, -1), names, ordered=True)


def _round(value: float) -> float:
    """Return a value with one significant digit."""
    return float(f"{value:.0e}")


def _action_counts(baseline: ArmDecisions, variant: ArmDecisions) -> tuple[tuple[int, int, int], ...]:
    counts = np.bincount(baseline.action * np.int64(3) + variant.action, minlength=9).reshape(3, 3)
    return tuple((int(a), int(b), int(c)) for a, b, c in counts)


def _check_sizes(evaluation_set: EvaluationSet, arms: tuple[ArmDecisions, ArmDecisions]) -> None:
    if not len(evaluation_set):
        raise ConfigError("there is no payment to evaluate in that time")
    for arm in arms:
        if arm.action.size != len(evaluation_set):
            raise ConfigError(f"{arm.name}: {arm.action.size} decisions for {len(evaluation_set)} payments")
