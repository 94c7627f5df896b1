"""Promotion gate: every check that a challenger must pass to become the champion.

Nothing is measured here.  An unknown figure fails its check.
"""

from __future__ import annotations

from collections.abc import Iterator

from fraud_detection.core.project_schema import Gate
from fraud_detection.evaluation.comparison import Comparison, Estimate, Record, SegmentMetrics
from fraud_detection.evaluation.messages import money

UNOBSERVED_ADVICE = (
    "set `control_group`, so that some of them are approved and show what they were, or look at them "
    "(`--json FILE`, `comparison.examples.newly_unobserved`) and overrule the gate with --force"
)


class Check(Record, frozen=True):
    """One check of the gate: its name, whether it passed, and the figures as text."""

    name: str
    passed: bool
    message: str


class GateInputs(Record, frozen=True):
    """Inputs of the gate besides the comparison of decisions.

    average_precision: challenger minus champion.  expected_frauds: sum of the challenger's scores over
    labelled payments; frauds: number of frauds among them, both weighted.  deviation: standard deviation of
    the weighted number of frauds if the scores are right.  left_out: payments of the evaluated time that the
    challenger has decided and something else than the champion too.
    p99_us: of scoring and deciding one payment, champion and challenger measured alternately.  rescored,
    different: payments scored again from their stored features, and how many scores were not bit-identical.
    same_features, same_schema: as the services use them now.
    """

    average_precision: Estimate | None
    expected_frauds: float
    frauds: float
    deviation: float
    left_out: int
    p99_us: tuple[float, float]
    rescored: int
    different: int
    same_features: bool
    same_schema: bool


class GateResult(Record, frozen=True):
    """Result of the gate: passed, and every check."""

    passed: bool
    checks: tuple[Check, ...]


def evaluate_gate(comparison: Comparison, inputs: GateInputs, gate: Gate) -> GateResult:
    """Evaluate every check; the gate passes if all of them pass."""
    checks = tuple(_checks(comparison, inputs, gate))
    return GateResult(passed=all(check.passed for check in checks), checks=checks)


def _checks(comparison: Comparison, inputs: GateInputs, gate: Gate) -> Iterator[Check]:
    total = comparison.total
    yield _enough(total, gate)
    yield _better(total, inputs, gate)
    yield _calibrated(inputs, gate)
    yield _segments(comparison, gate)
    yield _unobserved(comparison, gate)
    yield _capacity(comparison, inputs, gate)
    yield _latency(inputs, gate)
    yield Check(
        name="parity",
        passed=inputs.rescored > 0 and inputs.different == 0,
        message=f"{inputs.rescored:,} live payments scored again from their stored features, "
        f"{inputs.different:,} of them not bit-identical",
    )
    both = inputs.same_features and inputs.same_schema
    yield Check(
        name="schema",
        passed=both,
        message="the same features and fields as the services use now"
        if both
        else "other features or fields than the services use now: needs a new state file (`fraud state "
        "create`)",
    )


def _enough(total: SegmentMetrics | None, gate: Gate) -> Check:
    days = 0.0 if total is None else total.days
    frauds = 0.0 if total is None else total.frauds or 0.0
    effective_number = 0.0 if total is None else total.effective_frauds or 0.0
    return Check(
        name="enough labels",
        passed=days >= gate.min_days and effective_number >= gate.min_frauds,
        message=f"{days:.0f} days with mature labels (at least {gate.min_days}), with {frauds:,.0f} frauds"
        + (
            f", by weight, an effective number of {effective_number:,.1f}"
            if round(frauds - effective_number, 3)
            else ""
        )
        + f" (at least {gate.min_frauds})",
    )


def _better(total: SegmentMetrics | None, inputs: GateInputs, gate: Gate) -> Check:
    difference = None if total is None else total.difference
    gain = inputs.average_precision if gate.metric == "average_precision" else None
    if gate.metric != "average_precision" and difference is not None:
        gain = {"money_saved": difference.money_saved, "recall": difference.recall}[gate.metric]
    known = gain is not None and gain.low is not None
    return Check(
        name="better",
        passed=gain is not None and gain.low is not None and gain.low > -gate.tolerance,
        message=f"{gate.metric}: {_as_text(gain)} in place of the champion's; its lower end must be above "
        f"{-gate.tolerance:g}"
        if known
        else f"{gate.metric} is unknown: no mature labels",
    )


def _calibrated(inputs: GateInputs, gate: Gate) -> Check:
    if not inputs.frauds:
        return Check(
            name="calibrated", passed=False, message="no fraud among the payments with mature labels"
        )
    margin = 1.96 * inputs.deviation
    low, high = max(inputs.frauds - margin, 0.0), inputs.frauds + margin
    passed = low / gate.calibration <= inputs.expected_frauds <= high * gate.calibration
    return Check(
        name="calibrated",
        passed=passed,
        message=f"its scores expect {inputs.expected_frauds:,.1f} frauds where {inputs.frauds:,.0f} were "
        f"(chance: {low:,.0f} to {high:,.0f}); allowed is a factor of {gate.calibration:g}",
    )


def _segments(comparison: Comparison, gate: Gate) -> Check:
    whole = {} if comparison.total is None else {"all": (comparison.total,)}
    worse = [
        f"{name} {metrics.name}: {message}"
        for name, segment_metrics in (whole | comparison.segments).items()
        for metrics in segment_metrics
        if (metrics.effective_frauds or 0.0) >= gate.segment_frauds and (message := _loss(metrics, gate))
    ]
    return Check(
        name="no segment worse",
        passed=comparison.total is not None and not worse,
        message="no mature labels"
        if comparison.total is None
        else "; ".join(worse)
        or f"neither in all nor in a segment with {gate.segment_frauds} frauds does recall fall by more than "
        f"{100 * gate.segment_recall_loss:g} points, or is money lost for sure",
    )


def _loss(metrics: SegmentMetrics, gate: Gate) -> str:
    """Describe a loss that the gate does not allow; empty without one."""
    difference = metrics.difference
    if difference is None:
        return ""
    if (difference.recall.value or 0.0) < -gate.segment_recall_loss:
        return f"recall {_as_text(difference.recall)}"
    lost = (difference.money_saved.high or 0.0) < 0
    return f"money saved {_as_text(difference.money_saved)}" if lost else ""


def _unobserved(comparison: Comparison, gate: Gate) -> Check:
    if comparison.total is None or comparison.unobserved is None or comparison.total.variant.outcomes is None:
        return Check(name="unobserved outcomes", passed=False, message="no mature labels")
    unobserved, saved = comparison.unobserved, comparison.total.variant.outcomes.money_saved
    passed = unobserved.cost <= gate.unobserved * max(saved, 0.0)
    return Check(
        name="unobserved outcomes",
        passed=passed,
        message=f"{money(unobserved.payments)} payments ({money(unobserved.money)} in money) that the "
        "champion stopped would pass, with unobserved outcome: if all were fraud, they would cost "
        f"{money(unobserved.cost)}; allowed is {gate.unobserved:g} of the {money(saved)} that it saves"
        + ("" if passed else f"; {UNOBSERVED_ADVICE}"),
    )


def _capacity(comparison: Comparison, inputs: GateInputs, gate: Gate) -> Check:
    metrics, capacity = comparison.total or comparison.all_payments, comparison.capacity_per_day[1]
    # Promoted, it answers what was left out too, and people review that as well.
    reviews = metrics.variant.reviews_per_day * (1 + inputs.left_out / max(metrics.payments, 1))
    max_reviews = None if capacity is None else capacity * gate.capacity
    return Check(
        name="reviewers",
        passed=max_reviews is None or reviews <= max_reviews,
        message=f"{reviews:,.1f} reviews a day"
        + (f" (with their part of {inputs.left_out:,} payments left out), " if inputs.left_out else ", ")
        + ("and no limit" if capacity is None else f"where {capacity:,.0f} can be made"),
    )


def _latency(inputs: GateInputs, gate: Gate) -> Check:
    champion, challenger = inputs.p99_us
    return Check(
        name="latency",
        passed=0 < challenger <= champion * gate.latency,
        message=f"p99 of a payment {challenger:,.0f} us, the champion's {champion:,.0f} us; allowed is "
        f"{gate.latency:g} times as much",
    )


def _as_text(estimate: Estimate | None) -> str:
    if estimate is None or estimate.value is None:
        return "not known"
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:+,.4g}"
    return f"{estimate.value:+,.4g} ({estimate.low:+,.4g} to {estimate.high:+,.4g})"
