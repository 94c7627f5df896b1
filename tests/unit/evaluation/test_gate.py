"""What the gate asks of figures that are at hand."""

from __future__ import annotations

import pytest

from fraud_detection.core.project_schema import Costs, Gate
from fraud_detection.evaluation.compare import compare
from fraud_detection.evaluation.comparison import Comparison
from fraud_detection.evaluation.gate import Check, GateInputs, evaluate_gate
from tests.unit.evaluation.payments import DAY, Paid, decisions, evaluation_set


def inputs(
    *, left_out: int = 0, expected: float = 1.0, frauds: float = 1.0, deviation: float = 0.0
) -> GateInputs:
    return GateInputs(
        average_precision=None,
        expected_frauds=expected,
        frauds=frauds,
        deviation=deviation,
        left_out=left_out,
        p99_us=(100.0, 100.0),
        rescored=1,
        different=0,
        same_features=True,
        same_schema=True,
    )


def compared(paid: list[Paid], *, weighted: bool = False, capacity: float | None = None) -> Comparison:
    baseline = decisions("champion", [payment.baseline for payment in paid], capacity)
    variant = decisions("shadow", [payment.variant for payment in paid], capacity)
    return compare(evaluation_set(paid, weighted=weighted), baseline, variant, Costs())


def check(name: str, comparison: Comparison, known: GateInputs, gate: Gate | None = None) -> Check:
    return next(one for one in evaluate_gate(comparison, known, gate or Gate()).checks if one.name == name)


def test_people_review_what_was_left_out_of_the_comparison_too() -> None:
    comparison = compared([Paid(day * DAY, 900, "a", 0, 0, 1) for day in range(14)], capacity=1)
    assert check("reviewers", comparison, inputs()).passed
    crowded = check("reviewers", comparison, inputs(left_out=14))
    assert not crowded.passed
    assert crowded.message.startswith("2.0 reviews a day (with their part of 14 payments left out)")


def test_a_fraud_that_stands_for_a_hundred_is_one_fraud() -> None:
    gate = Gate(min_frauds=50)
    one = [Paid(0, 900, "a", 1, 0, 0, weight=100), *(Paid(day * DAY, 900, "b", 0, 0, 0) for day in range(14))]
    few = check("enough labels", compared(one, weighted=True), inputs(), gate)
    assert not few.passed
    assert few.message.endswith("with 100 frauds, by weight, an effective number of 1.0 (at least 50)")
    many = [Paid(number * DAY // 4, 900, f"c{number}", 1, 0, 0, weight=2) for number in range(56)]
    assert check("enough labels", compared(many, weighted=True), inputs(), gate).passed
    plain = check("enough labels", compared(many), inputs(), gate)
    assert plain.passed
    assert plain.message.endswith("with 56 frauds (at least 50)")


def test_a_segment_is_evaluated_by_its_effective_number_of_frauds() -> None:
    gate = Gate(segment_frauds=20, segment_recall_loss=0.1)
    lost = [Paid(0, 900, "a", 1, 2, 0, weight=100), Paid(13 * DAY, 900, "b", 0, 0, 0)]
    assert check("no segment worse", compared(lost, weighted=True), inputs(), gate).passed
    lost = [Paid(number * DAY // 4, 900, f"c{number}", 1, 2, 0, weight=2) for number in range(50)]
    assert not check("no segment worse", compared(lost, weighted=True), inputs(), gate).passed


@pytest.mark.parametrize(("before", "after"), [(2, 0), (0, 2)], ids=["approves all", "declines all"])
def test_what_is_lost_in_all_is_lost_though_no_segment_is_large_enough(before: int, after: int) -> None:
    gate = Gate(segment_frauds=20)
    amounts = (900, 4_000, 12_000, 40_000, 90_000)
    frauds = [Paid(n * DAY // 4, amounts[n % 5], f"c{n}", 1, before, after) for n in range(50)]
    goods = [Paid(n * DAY // 200, amounts[n % 5], f"d{n}", 0, 0, after) for n in range(2_000)]
    shut = check("no segment worse", compared([*frauds, *goods]), inputs(), gate)
    assert not shut.passed
    assert shut.message.startswith("all ")
    assert check("no segment worse", compared([*frauds[:9], *goods[:1]]), inputs(), gate).passed


def stopped_before(count: int, label: int) -> list[Paid]:
    """Return a hundred frauds that both sides stop, and payments that the champion alone does."""
    caught = [Paid(number * DAY // 8, 48_000, f"c{number}", 1, 2, 2) for number in range(100)]
    return caught + [Paid(number, 48_000, f"d{number}", label, 2, 0) for number in range(count)]


def test_unobserved_outcomes_may_cost_at_most_a_share_of_what_is_saved() -> None:
    few, many = compared(stopped_before(10, -1)), compared(stopped_before(11, -1))
    assert check("unobserved outcomes", few, inputs()).passed
    shut = check("unobserved outcomes", many, inputs())
    assert not shut.passed
    assert shut.message.startswith("11 payments (5,280 in money) that the champion stopped would pass")
    assert "they would cost 5,500; allowed is 0.1 of the 50,000 that it saves" in shut.message
    assert "set `control_group`" in shut.message
    assert "set `control_group`" not in check("unobserved outcomes", few, inputs()).message
    assert check("unobserved outcomes", many, inputs(), Gate(unobserved=0.11)).passed
    assert check("unobserved outcomes", compared(stopped_before(1_000, 0)), inputs()).passed
    # Nothing else asks for it: to approve what was declined looks free of cost.
    assert check("better", many, inputs(), Gate(tolerance=1)).passed


def test_a_shadow_that_saves_nothing_may_leave_no_outcome_unobserved() -> None:
    missed = Paid(0, 48_000, "a", 1, 0, 0)
    assert check("unobserved outcomes", compared([missed]), inputs()).passed
    assert not check("unobserved outcomes", compared([missed, Paid(0, 100, "a", -1, 2, 0)]), inputs()).passed


def test_scores_are_held_against_what_chance_does_to_weighted_frauds() -> None:
    gate = Gate(calibration=1.0)
    comparison = compared([Paid(0, 900, "a", 1, 0, 0)])
    # One of the control group for those that are frauds by half: it was one, and stands for a hundred.
    assert check("calibrated", comparison, inputs(expected=50.0, frauds=100.0, deviation=50.0), gate).passed
    equal = check("calibrated", comparison, inputs(expected=50.0, frauds=100.0, deviation=5.0), gate)
    assert not equal.passed
    assert "(chance: 90 to 110)" in equal.message
