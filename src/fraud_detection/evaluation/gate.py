"""Whether a challenger may take the champion's place: every question, its answer, and why.

Nothing is measured here.  What is not known fails: a gate that cannot see does not open.
"""

from __future__ import annotations

from collections.abc import Iterator

from fraud_detection.core.project_schema import Gate
from fraud_detection.evaluation.comparison import Comparison, Estimate, Part, Record
from fraud_detection.evaluation.messages import money

UNSEEN_ADVICE = (
    "set `control_group`, so that some of them are approved and tell what they were, or look at them "
    "(`--json FILE`, `comparison.examples.newly_unseen`) and overrule the gate with --force"
)


class Check(Record, frozen=True):
    """One question: its name, whether it was passed, and what was found, in words."""

    name: str
    passed: bool
    message: str


class Facts(Record, frozen=True):
    """What is known of a challenger beside the comparison of its answers with the champion's.

    average_precision: the challenger's less the champion's.  expected_frauds: the sum of its scores over the
    payments whose label is in; frauds: how many of them there were, both weighted.  deviation: of the
    weighted number of frauds, by chance alone, where the scores are right.  left_out: payments
    of the time that is judged which the challenger has decided and others than the champion have answered.
    p99_us: of scoring and deciding one payment, of champion and challenger in turns.  rescored, different:
    payments whose score was computed again from the stored features, and how many of these were not equal to
    the last bit.  same_features, same_schema: as the services remember and read them now.
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


class Verdict(Record, frozen=True):
    """What the gate says, and on which grounds."""

    passed: bool
    checks: tuple[Check, ...]


def judge_challenger(found: Comparison, facts: Facts, gate: Gate) -> Verdict:
    """Ask every question; all have to be passed."""
    checks = tuple(_checks(found, facts, gate))
    return Verdict(passed=all(check.passed for check in checks), checks=checks)


def _checks(found: Comparison, facts: Facts, gate: Gate) -> Iterator[Check]:
    total = found.total
    yield _enough(total, gate)
    yield _better(total, facts, gate)
    yield _calibrated(facts, gate)
    yield _segments(found, gate)
    yield _unseen(found, gate)
    yield _capacity(found, facts, gate)
    yield _latency(facts, gate)
    yield Check(
        name="parity",
        passed=facts.rescored > 0 and facts.different == 0,
        message=f"{facts.rescored:,} live payments scored again from their stored features, "
        f"{facts.different:,} of them not to the same bit",
    )
    both = facts.same_features and facts.same_schema
    yield Check(
        name="schema",
        passed=both,
        message="the same features and fields as the services have now"
        if both
        else "other features or fields than the services have: needs a new state file (`fraud state create`)",
    )


def _enough(total: Part | None, gate: Gate) -> Check:
    days = 0.0 if total is None else total.days
    frauds = 0.0 if total is None else total.frauds or 0.0
    worth = 0.0 if total is None else total.effective_frauds or 0.0
    return Check(
        name="enough labels",
        passed=days >= gate.least_days and worth >= gate.least_frauds,
        message=f"{days:.0f} days whose labels are in (at least {gate.least_days}), with {frauds:,.0f} frauds"
        + (f", by weight, which are worth {worth:,.1f} equal ones" if round(frauds - worth, 3) else "")
        + f" (at least {gate.least_frauds})",
    )


def _better(total: Part | None, facts: Facts, gate: Gate) -> Check:
    difference = None if total is None else total.difference
    gain = facts.average_precision if gate.metric == "average_precision" else None
    if gate.metric != "average_precision" and difference is not None:
        gain = {"money_saved": difference.money_saved, "recall": difference.recall}[gate.metric]
    known = gain is not None and gain.low is not None
    return Check(
        name="better",
        passed=gain is not None and gain.low is not None and gain.low > -gate.tolerance,
        message=f"{gate.metric}: {_said(gain)} in place of the champion's; its lower end must be above "
        f"{-gate.tolerance:g}"
        if known
        else f"{gate.metric} is not known: no labels are in",
    )


def _calibrated(facts: Facts, gate: Gate) -> Check:
    if not facts.frauds:
        return Check(
            name="calibrated", passed=False, message="no fraud is among the payments whose label is in"
        )
    spread = 1.96 * facts.deviation
    low, high = max(facts.frauds - spread, 0.0), facts.frauds + spread
    passed = low / gate.calibration <= facts.expected_frauds <= high * gate.calibration
    return Check(
        name="calibrated",
        passed=passed,
        message=f"its scores expect {facts.expected_frauds:,.1f} frauds where {facts.frauds:,.0f} were "
        f"(chance: {low:,.0f} to {high:,.0f}); allowed is a factor of {gate.calibration:g}",
    )


def _segments(found: Comparison, gate: Gate) -> Check:
    whole = {} if found.total is None else {"all": (found.total,)}
    worse = [
        f"{name} {part.name}: {message}"
        for name, parts in (whole | found.segments).items()
        for part in parts
        if (part.effective_frauds or 0.0) >= gate.segment_frauds and (message := _loss(part, gate))
    ]
    return Check(
        name="no segment worse",
        passed=found.total is not None and not worse,
        message="no labels are in"
        if found.total is None
        else "; ".join(worse)
        or f"neither in all nor in a segment with {gate.segment_frauds} frauds does recall fall by more than "
        f"{100 * gate.segment_recall_loss:g} points, or is money lost for sure",
    )


def _loss(part: Part, gate: Gate) -> str:
    """Say what a segment loses that it may not; nothing where it loses nothing."""
    difference = part.difference
    if difference is None:
        return ""
    if (difference.recall.value or 0.0) < -gate.segment_recall_loss:
        return f"recall {_said(difference.recall)}"
    lost = (difference.money_saved.high or 0.0) < 0
    return f"money saved {_said(difference.money_saved)}" if lost else ""


def _unseen(found: Comparison, gate: Gate) -> Check:
    if found.total is None or found.unseen is None or found.total.second.judged is None:
        return Check(name="unseen", passed=False, message="no labels are in")
    unseen, saved = found.unseen, found.total.second.judged.money_saved
    passed = unseen.cost <= gate.unseen * max(saved, 0.0)
    return Check(
        name="unseen",
        passed=passed,
        message=f"{money(unseen.payments)} payments ({money(unseen.money)} in money) that the champion "
        "stopped would pass, and nobody knows what they were: were all fraud, they would cost "
        f"{money(unseen.cost)}; allowed is {gate.unseen:g} of the {money(saved)} that it saves"
        + ("" if passed else f"; {UNSEEN_ADVICE}"),
    )


def _capacity(found: Comparison, facts: Facts, gate: Gate) -> Check:
    part, capacity = found.total or found.traffic, found.capacity_per_day[1]
    # Promoted, it answers what was left out too, and people review that as well.
    reviews = part.second.reviews_per_day * (1 + facts.left_out / max(part.payments, 1))
    most = None if capacity is None else capacity * gate.capacity
    return Check(
        name="reviewers",
        passed=most is None or reviews <= most,
        message=f"{reviews:,.1f} reviews a day"
        + (f" (with their part of {facts.left_out:,} payments left out), " if facts.left_out else ", ")
        + ("and no limit" if capacity is None else f"where {capacity:,.0f} can be made"),
    )


def _latency(facts: Facts, gate: Gate) -> Check:
    champion, challenger = facts.p99_us
    return Check(
        name="latency",
        passed=0 < challenger <= champion * gate.latency,
        message=f"p99 of a payment {challenger:,.0f} us, the champion's {champion:,.0f} us; allowed is "
        f"{gate.latency:g} times as much",
    )


def _said(one: Estimate | None) -> str:
    if one is None or one.value is None:
        return "not known"
    if one.low is None or one.high is None:
        return f"{one.value:+,.4g}"
    return f"{one.value:+,.4g} ({one.low:+,.4g} to {one.high:+,.4g})"
