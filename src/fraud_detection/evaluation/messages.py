"""Text of a comparison: one row per figure, the same on the terminal and in the HTML report."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator

import msgspec

from fraud_detection.evaluation.comparison import (
    ArmMetrics,
    Comparison,
    CustomerImpact,
    Estimate,
    OutcomeMetrics,
    SegmentMetrics,
)

NOTHING = "-"
INTEGER_FROM = 100


class Row(msgspec.Struct, frozen=True):
    """One figure of both arms, and their difference."""

    figure: str
    baseline: str
    variant: str
    difference: str = ""
    meaning: str = ""


def headline(comparison: Comparison) -> str:
    """Summarise a comparison in one sentence."""
    whole, total = comparison.all_payments, comparison.total
    share = f"{whole.changed:,} of {whole.payments:,} decisions would differ"
    if total is None or total.difference is None:
        return f"{share}; no week has mature labels yet, so fraud and money cannot be evaluated."
    if total.unlabelled == total.payments:
        return (
            f"{share}; none of {total.payments:,} payments old enough has a label, so fraud and "
            "money cannot be evaluated."
        )
    saved = total.difference.money_saved
    return f"{share}; money saved: {signed(saved)} in {total.days:,.0f} days{_chance_note(saved)}."


def _chance_note(saved: Estimate) -> str:
    if saved.low is None or saved.high is None or not saved.value:
        return ""
    return ", which may be chance" if saved.low <= 0 <= saved.high else ""


def span(metrics: SegmentMetrics) -> str:
    """Return first and last day of a slice, both inclusive."""
    last = dt.datetime.fromisoformat(metrics.until) - dt.timedelta(milliseconds=1)
    since, until = metrics.since[:10], f"{last:%Y-%m-%d}"
    return since if since == until else f"{since} to {until}"


def rows(metrics: SegmentMetrics) -> Iterator[Row]:
    """Yield the figures of one slice."""
    baseline, variant = metrics.baseline, metrics.variant
    yield from _outcomes(metrics)
    yield _counted(
        "reviews a day", baseline.reviews_per_day, variant.reviews_per_day, "work for the reviewers"
    )
    yield Row(
        "reviews on the worst day",
        _worst(baseline),
        _worst(variant),
        f"{variant.worst_day_reviews - baseline.worst_day_reviews:+,}",
        "against the capacity of a day",
    )
    if baseline.days_over_capacity is not None or variant.days_over_capacity is not None:
        yield Row(
            "days with more reviews than capacity",
            _days(baseline.days_over_capacity, metrics.days),
            _days(variant.days_over_capacity, metrics.days),
        )
    yield _counted("declined", baseline.declined, variant.declined, "of all payments, labelled or not")
    yield _counted("reviewed", baseline.reviewed, variant.reviewed)
    yield _counted("approved", baseline.approved, variant.approved)


def unobserved_outcomes(comparison: Comparison) -> str:
    """Describe the payments with unobserved outcome that would be approved; empty without any."""
    if comparison.unobserved is None or not comparison.unobserved.payments:
        return ""
    unobserved = comparison.unobserved
    return (
        f"no figure counts {money(unobserved.payments)} payments ({money(unobserved.money)} in money) that "
        f"{comparison.baseline} stops and {comparison.variant} approves: their outcome is unobserved; "
        f"if all were fraud, they would cost {money(unobserved.cost)}"
    )


def _outcomes(metrics: SegmentMetrics) -> Iterator[Row]:
    baseline, variant, between = metrics.baseline.outcomes, metrics.variant.outcomes, metrics.difference
    if baseline is None or variant is None or between is None:
        return
    yield Row(
        "money saved",
        money(baseline.money_saved),
        money(variant.money_saved),
        signed(between.money_saved),
        "against approving everything, by the prices of the project",
    )
    yield Row(
        "frauds caught",
        _of(baseline.frauds_caught, metrics.frauds),
        _of(variant.frauds_caught, metrics.frauds),
        signed(between.frauds_caught),
        "declined or sent to review",
    )
    yield Row(
        "fraud caught, in money",
        _of(baseline.money_caught, metrics.fraud_money),
        _of(variant.money_caught, metrics.fraud_money),
        signed(between.money_caught),
        "amounts of the frauds caught",
    )
    yield _counted("frauds missed", baseline.frauds_missed, variant.frauds_missed, "approved")
    yield _counted("fraud missed, in money", baseline.money_missed, variant.money_missed)
    yield from _hurt(baseline, variant, metrics)
    yield Row(
        "precision", share(baseline.precision), share(variant.precision), points(between.precision), PRECISION
    )
    yield Row("recall", share(baseline.recall), share(variant.recall), points(between.recall), RECALL)


PRECISION = "share of fraud among what was reviewed or declined"
RECALL = "share of frauds that were reviewed or declined"


def _hurt(baseline: OutcomeMetrics, variant: OutcomeMetrics, metrics: SegmentMetrics) -> Iterator[Row]:
    if metrics.difference is None:
        return
    yield Row(
        "good payments declined",
        customer_impact(baseline.good_declined),
        customer_impact(variant.good_declined),
        signed(metrics.difference.good_declined),
        "customers who did nothing wrong",
    )
    yield Row(
        "good payments reviewed",
        customer_impact(baseline.good_reviewed),
        customer_impact(variant.good_reviewed),
        signed(metrics.difference.good_reviewed),
        "customers who had to wait",
    )


def _counted(figure: str, baseline: float, variant: float, meaning: str = "") -> Row:
    return Row(figure, money(baseline), money(variant), plus(variant - baseline), meaning)


def _of(value: float, whole: float | None) -> str:
    return f"{money(value)} of {money(whole)}"


def _worst(arm: ArmMetrics) -> str:
    return f"{arm.worst_day_reviews:,}" + (f" on {arm.worst_day}" if arm.worst_day else "")


def _days(days: int | None, whole: float) -> str:
    return "no limit" if days is None else f"{days:,} of {whole:,.0f}"


def customer_impact(impact: CustomerImpact) -> str:
    """Format the customer impact.

    >>> customer_impact(CustomerImpact(payments=12.0, cards=9, money=340.5))
    '12 (9 cards, 340 in money)'
    """
    return f"{money(impact.payments)} ({impact.cards:,} cards, {money(impact.money)} in money)"


def money(value: float | None) -> str:
    """Return a number without decimals, or with one where it is small and not whole.

    >>> money(12345.6), money(2.25), money(3.0), money(None)
    ('12,346', '2.2', '3', '-')
    """
    if value is None:
        return NOTHING
    return f"{value:z,.0f}" if abs(value) >= INTEGER_FROM else f"{value:z,.1f}".removesuffix(".0")


def signed(estimate: Estimate) -> str:
    """Format a difference with its interval.

    >>> signed(Estimate(value=5.0, low=-1.0, high=11.0))
    '+5 (-1 to +11)'
    """
    if estimate.value is None:
        return NOTHING
    return plus(estimate.value) + (
        ""
        if estimate.low is None or estimate.high is None
        else f" ({plus(estimate.low)} to {plus(estimate.high)})"
    )


def plus(value: float) -> str:
    """Format a difference with its sign.

    >>> plus(5.0), plus(-5.0), plus(0.0)
    ('+5', '-5', '0')
    """
    text = money(value)
    return text if text.startswith("-") or text == "0" else f"+{text}"


def share(estimate: Estimate) -> str:
    """Format a share in per cent with its interval.

    >>> share(Estimate(value=0.5, low=0.25, high=0.75))
    '50.0 % (25.0 to 75.0)'
    """
    if estimate.value is None:
        return NOTHING
    edges = (
        ""
        if estimate.low is None or estimate.high is None
        else f" ({100 * estimate.low:.1f} to {100 * estimate.high:.1f})"
    )
    return f"{100 * estimate.value:.1f} %{edges}"


def points(estimate: Estimate) -> str:
    """Format the difference of two shares in percentage points.

    >>> points(Estimate(value=0.015, low=-0.01, high=0.04))
    '+1.5 points (-1.0 to +4.0)'
    """
    if estimate.value is None:
        return NOTHING
    edges = (
        ""
        if estimate.low is None or estimate.high is None
        else f" ({100 * estimate.low:+.1f} to {100 * estimate.high:+.1f})"
    )
    return f"{100 * estimate.value:+.1f} points{edges}"
