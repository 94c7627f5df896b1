"""Slice payments by week and by segment, and compute the metrics of both arms in every slice."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fraud_detection.core.events import Action
from fraud_detection.evaluation.comparison import (
    ArmMetrics,
    CustomerImpact,
    Difference,
    OutcomeMetrics,
    SegmentMetrics,
)
from fraud_detection.evaluation.cost_table import CostTable, Sums
from fraud_detection.evaluation.evaluation_set import NONE, ArmDecisions, Categorical, EvaluationSet
from fraud_detection.evaluation.measures import DAY_MS
from fraud_detection.evaluation.resample import bootstrap_sums, estimate, share
from fraud_detection.evaluation.time_split import UNKNOWN

WEEK_MS = 7 * DAY_MS
MONDAY_MS = 4 * DAY_MS
"""The first Monday after 1970-01-01."""


@dataclass(frozen=True, slots=True)
class Slice:
    """A slice of the payments: its name, its time span, and whether its labels are mature."""

    name: str
    span: tuple[int, int]
    mature: bool = True

    @property
    def days(self) -> float:
        """Return its length in days."""
        return (self.span[1] - self.span[0]) / DAY_MS


@dataclass(frozen=True, slots=True)
class Segmentation:
    """One way to slice n payments: for each the number of its slice, or NONE."""

    slices: Sequence[Slice]
    slice_number: np.ndarray


def weeks(evaluation_set: EvaluationSet) -> Segmentation:
    """Slice payments by calendar week from Monday, UTC; the first and the last may be partial.

    A week is mature when every payment in it is older than the label delay.
    """
    number = (evaluation_set.event_time - MONDAY_MS) // WEEK_MS
    first, last = (
        (edge - MONDAY_MS) // WEEK_MS for edge in (evaluation_set.span[0], evaluation_set.span[1] - 1)
    )
    slices = [
        _week(evaluation_set, week, evaluation_set.event_time[number == week])
        for week in range(first, last + 1)
    ]
    return Segmentation(slices, number - first)


def _week(evaluation_set: EvaluationSet, number: int, times: np.ndarray) -> Slice:
    start = MONDAY_MS + number * WEEK_MS
    span = (max(start, evaluation_set.span[0]), min(start + WEEK_MS, evaluation_set.span[1]))
    newest = int(times.max()) if times.size else span[1] - 1
    return Slice(iso_day(span[0]), span, newest + evaluation_set.delay_ms <= evaluation_set.as_of)


def all_payments(evaluation_set: EvaluationSet, name: str) -> Segmentation:
    """Return all payments as one slice without figures that need labels."""
    return Segmentation(
        [Slice(name, evaluation_set.span, mature=False)], np.zeros(len(evaluation_set), np.int64)
    )


def mature_weeks(by_week: Segmentation, name: str) -> tuple[Segmentation, float]:
    """Return the mature weeks as one slice, and their length in days."""
    mature = [week for week in by_week.slices if week.mature]
    if not mature:
        return Segmentation([], np.full(by_week.slice_number.size, NONE)), 0.0
    span = (mature[0].span[0], mature[-1].span[1])
    inside = np.array([week.mature for week in by_week.slices])[by_week.slice_number]
    return Segmentation([Slice(name, span)], np.where(inside, 0, NONE)), sum(week.days for week in mature)


def segment(categorical: Categorical, total: Segmentation, max_slices: int) -> Segmentation:
    """Slice `total` by the values of a segment: the `max_slices` most frequent ones, and the rest as others.

    Sorted by frequency, or by the order of the names where they have one.
    """
    inside = total.slice_number != NONE
    counts = np.bincount(
        categorical.codes[inside & (categorical.codes != NONE)], minlength=len(categorical.names)
    )
    ranked = np.arange(counts.size) if categorical.ordered else np.argsort(-counts, kind="stable")
    order = [int(code) for code in ranked if counts[code]]
    shown = order if len(order) <= max_slices else order[: max_slices - 1]
    numbers = np.full(len(categorical.names) + 1, len(shown), np.int64)
    numbers[shown] = np.arange(len(shown))
    numbers[NONE] = len(shown) + 1
    number_of = np.where(inside, numbers[categorical.codes], NONE)
    names = [*(categorical.names[code] for code in shown), "others", "missing"]
    used = [number for number in range(len(names)) if (number_of == number).any()]
    final = np.full(len(names) + 1, NONE)
    final[used] = np.arange(len(used))
    span = total.slices[0].span if total.slices else (0, 0)
    return Segmentation([Slice(names[number], span) for number in used], final[number_of])


class MetricsTable:
    """Computes the metrics of every slice of one comparison."""

    def __init__(
        self,
        evaluation_set: EvaluationSet,
        arms: tuple[ArmDecisions, ArmDecisions],
        cost_table: CostTable,
        seed: int,
    ) -> None:
        """Take the payments, the decisions of both arms, and the seed of the bootstrap."""
        self.evaluation_set, self.arms, self.cost_table, self.seed = evaluation_set, arms, cost_table, seed

    def metrics(self, segmentation: Segmentation, days: float | None = None) -> list[SegmentMetrics]:
        """Return the metrics of every slice.  days: length of each, where it is not the span."""
        own = segmentation.slice_number[self.cost_table.rows]
        rows = np.flatnonzero(
            (own != NONE) & np.array([*(each.mature for each in segmentation.slices), False])[own]
        )
        numbers, sums = own[rows], self.cost_table.sums[rows]
        totals = [
            np.bincount(numbers, weights=column, minlength=len(segmentation.slices)) for column in sums.T
        ]
        draws = bootstrap_sums(
            numbers, self.cost_table.cluster[rows], sums, len(segmentation.slices), self.seed
        )
        return [
            self._slice_metrics(
                each,
                segmentation.slice_number == number,
                np.array([t[number] for t in totals]),
                draws[:, number],
                days,
            )
            for number, each in enumerate(segmentation.slices)
        ]

    def _slice_metrics(
        self, each: Slice, inside: np.ndarray, total: np.ndarray, draws: np.ndarray, days: float | None
    ) -> SegmentMetrics:
        lasts = each.days if days is None else days
        sums = [(Sums(total, arm), Sums(draws, arm)) for arm in (0, 1)]
        baseline, variant = (self._arm_metrics(arm, inside, lasts, *sums[arm], each.mature) for arm in (0, 1))
        actions = [arm.action[inside] for arm in self.arms]
        known = sums[0][0]
        return SegmentMetrics(
            name=each.name,
            since=iso(each.span[0]),
            until=iso(each.span[1]),
            days=round(lasts, 6),
            mature=each.mature,
            payments=int(inside.sum()),
            unlabelled=int((self.evaluation_set.label[inside] == UNKNOWN).sum()),
            frauds=round(known.of("frauds"), 6) if each.mature else None,
            effective_frauds=round(known.effective("frauds"), 6) if each.mature else None,
            fraud_money=round(known.of("fraud_money"), 6) if each.mature else None,
            changed=int((actions[0] != actions[1]).sum()),
            baseline=baseline,
            variant=variant,
            difference=_difference(sums[0], sums[1]) if each.mature else None,
        )

    def _arm_metrics(
        self,
        arm: int,
        inside: np.ndarray,
        days: float,
        total: Sums,
        draws: Sums,
        mature: bool,  # noqa: FBT001
    ) -> ArmMetrics:
        decisions = self.arms[arm]
        approved, reviewed, declined = np.bincount(decisions.action[inside], minlength=len(Action)).tolist()
        day = self.evaluation_set.event_time[inside & (decisions.action == Action.REVIEW)] // DAY_MS
        busy, reviews = np.unique(day, return_counts=True)
        worst = int(np.argmax(reviews)) if busy.size else None
        return ArmMetrics(
            approved=approved,
            reviewed=reviewed,
            declined=declined,
            reviews_per_day=round(reviewed / days, 6) if days else 0.0,
            worst_day=None if worst is None else iso_day(int(busy[worst]) * DAY_MS),
            worst_day_reviews=0 if worst is None else int(reviews[worst]),
            days_over_capacity=None
            if decisions.capacity is None
            else int((reviews > decisions.capacity).sum()),
            outcomes=self._outcomes(decisions, inside, total, draws) if mature else None,
        )

    def _outcomes(
        self, decisions: ArmDecisions, inside: np.ndarray, total: Sums, draws: Sums
    ) -> OutcomeMetrics:
        caught, money = total.of("caught"), total.of("caught_money")
        return OutcomeMetrics(
            frauds_caught=round(caught, 6),
            frauds_missed=round(total.of("frauds") - caught, 6),
            money_caught=round(money, 6),
            money_missed=round(total.of("fraud_money") - money, 6),
            caught_by_decline=round(total.of("caught_by_decline"), 6),
            good_declined=self._customer_impact(decisions, inside, total, Action.DECLINE),
            good_reviewed=self._customer_impact(decisions, inside, total, Action.REVIEW),
            precision=share(caught, total.of("flagged"), total.effective("flagged"), draws.precision()),
            recall=share(caught, total.of("frauds"), total.effective("frauds"), draws.recall()),
            cost=round(total.of("cost"), 6),
            money_saved=round(float(total.saved()), 6),
        )

    def _customer_impact(
        self, decisions: ArmDecisions, inside: np.ndarray, total: Sums, action: Action
    ) -> CustomerImpact:
        name = "declined_good" if action is Action.DECLINE else "reviewed_good"
        hurt = inside & (decisions.action == action) & (self.evaluation_set.label == 0)
        cards = self.evaluation_set.card.codes[hurt]
        return CustomerImpact(
            payments=round(total.of(name), 6),
            cards=int(np.unique(cards[cards != NONE]).size + (cards == NONE).sum()),
            money=round(total.of(f"{name}_money"), 6),
        )


def _difference(first: tuple[Sums, Sums], second: tuple[Sums, Sums]) -> Difference:
    def of(name: str) -> tuple[float, np.ndarray]:
        return second[0].of(name) - first[0].of(name), second[1][name] - first[1][name]

    def by(take: str) -> tuple[float, np.ndarray]:
        values = [(getattr(total, take)(), getattr(draws, take)()) for total, draws in (first, second)]
        return float(values[1][0] - values[0][0]), values[1][1] - values[0][1]

    return Difference(
        frauds_caught=estimate(*of("caught")),
        money_caught=estimate(*of("caught_money")),
        good_declined=estimate(*of("declined_good")),
        good_reviewed=estimate(*of("reviewed_good")),
        money_saved=estimate(*by("saved")),
        precision=estimate(*by("precision")),
        recall=estimate(*by("recall")),
    )


def iso(ms: int) -> str:
    """Format a time as ISO 8601.

    >>> iso(0), iso_day(MONDAY_MS)
    ('1970-01-01T00:00:00Z', '1970-01-05')
    """
    return dt.datetime.fromtimestamp(ms / 1000, dt.UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def iso_day(ms: int) -> str:
    """Return the day of a time in UTC."""
    return iso(ms)[:10]
