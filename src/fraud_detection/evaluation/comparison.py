"""Result of comparing two arms: counts, money and intervals, as JSON.

Money is in major units.  A figure without a meaning is null: precision without a flagged payment, anything
that needs labels while they are immature.
"""

from __future__ import annotations

import msgspec


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """Base class of all parts of the report."""


class Estimate(Record, frozen=True):
    """A figure with a 95 % interval."""

    value: float | None
    low: float | None
    high: float | None


class CustomerImpact(Record, frozen=True):
    """Good payments that were declined or reviewed: number, distinct cards, sum of amounts."""

    payments: float
    cards: int
    money: float


class OutcomeMetrics(Record, frozen=True):
    """Outcomes of the decisions of one arm, by labels.

    Caught: fraud that was reviewed or declined; missed: fraud that was approved.  caught_by_decline: declined
    ones of the caught.  cost: by `costs` of the project.  money_saved: less cost than approving everything.
    """

    frauds_caught: float
    frauds_missed: float
    money_caught: float
    money_missed: float
    caught_by_decline: float
    good_declined: CustomerImpact
    good_reviewed: CustomerImpact
    precision: Estimate
    recall: Estimate
    cost: float
    money_saved: float


class ArmMetrics(Record, frozen=True):
    """Decisions of one arm in one slice of the payments.

    worst_day: the day with the most reviews (YYYY-MM-DD, UTC), None without a review.
    days_over_capacity: None where any number of reviews can be made.
    """

    approved: int
    reviewed: int
    declined: int
    reviews_per_day: float
    worst_day: str | None
    worst_day_reviews: int
    days_over_capacity: int | None
    outcomes: OutcomeMetrics | None


class Difference(Record, frozen=True):
    """Variant minus baseline, paired by payment."""

    frauds_caught: Estimate
    money_caught: Estimate
    good_declined: Estimate
    good_reviewed: Estimate
    money_saved: Estimate
    precision: Estimate
    recall: Estimate


class SegmentMetrics(Record, frozen=True):
    """Metrics of one slice of the payments: all of them, a week, or a value of a segment.

    since, until: time span, ISO 8601 in UTC; the end is exclusive.
    mature: whether the labels are mature; otherwise nothing that needs labels is evaluated.
    frauds, fraud_money: labelled frauds; null while labels are immature.
    effective_frauds: effective sample size of the weighted frauds.
    """

    name: str
    since: str
    until: str
    days: float
    mature: bool
    payments: int
    unlabelled: int
    frauds: float | None
    effective_frauds: float | None
    fraud_money: float | None
    changed: int
    baseline: ArmMetrics
    variant: ArmMetrics
    difference: Difference | None


class Fired(Record, frozen=True):
    """How often a reason fired, in the weeks with mature labels."""

    payments: int
    frauds: float
    good: float
    unlabelled: int


class Reason(Record, frozen=True):
    """How often a reason fired in each arm."""

    code: str
    message: str
    baseline: Fired
    variant: Fired


class ArmDecision(Record, frozen=True):
    """Decision of one arm for one payment."""

    action: str
    score: float | None
    reasons: tuple[str, ...]


class Example(Record, frozen=True):
    """A payment that the arms decide differently; fraud is null without a label."""

    transaction_id: str
    event_time: str
    amount: float | None
    card: str | None
    fraud: bool | None
    segments: dict[str, str | None]
    baseline: ArmDecision
    variant: ArmDecision


class UnobservedOutcomes(Record, frozen=True):
    """Payments with unobserved outcome that the baseline stopped and the variant would approve.

    money: sum of their amounts.  cost: by `costs` of the project, if all were fraud.
    """

    payments: float
    money: float
    cost: float


class Examples(Record, frozen=True):
    """Payments that the arms decide differently, the largest amounts first."""

    largest: tuple[Example, ...]
    newly_caught: tuple[Example, ...]
    newly_missed: tuple[Example, ...]
    newly_hurt: tuple[Example, ...]
    newly_spared: tuple[Example, ...]
    newly_unobserved: tuple[Example, ...]


class Comparison(Record, frozen=True):
    """Comparison of two arms on the same payments.

    as_of: label cut-off.  label_delay_days: label maturity window.
    all_payments: all of them, without figures that need labels.  total: the weeks with mature labels, None
    without one; unobserved: of these weeks too.
    actions: payments by the actions of both arms, in the order approve, review, decline; rows: baseline.
    """

    baseline: str
    variant: str
    as_of: str
    label_delay_days: float
    capacity_per_day: tuple[float | None, float | None]
    weighted: bool
    all_payments: SegmentMetrics
    total: SegmentMetrics | None
    unobserved: UnobservedOutcomes | None
    weeks: tuple[SegmentMetrics, ...]
    segments: dict[str, tuple[SegmentMetrics, ...]]
    actions: tuple[tuple[int, int, int], ...]
    reasons: tuple[Reason, ...]
    examples: Examples


class Variant(Record, frozen=True):
    """One change set, compared with the baseline.

    changes: what it changes, a sentence each.
    """

    name: str
    owner: str
    reason: str
    changes: tuple[str, ...]
    comparison: Comparison


class Report(Record, frozen=True):
    """Report of a backtest: change sets compared with the baseline.

    bundle: name of the baseline's bundle.  notes: caveats for the reader, a sentence each.
    """

    project: str
    bundle: str
    notes: tuple[str, ...]
    variants: tuple[Variant, ...]
