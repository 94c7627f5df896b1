from __future__ import annotations

import dataclasses
import datetime as dt
from collections import Counter, defaultdict
from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fraud_detection.core.errors import ConfigError
from fraud_detection.core.project_schema import Costs
from fraud_detection.evaluation.compare import compare
from fraud_detection.evaluation.comparison import Comparison, Estimate, SegmentMetrics
from tests.unit.evaluation.payments import AS_OF, DAY, START, Paid, decisions, evaluation_set, payments

few = settings(deadline=None, max_examples=settings().max_examples * 15 // 100)
"""An example is dozens of payments, evaluated for two arms with intervals: 15, and 75 in `make test-long`."""

COSTS = Costs(
    missed_fraud_share=1.0,
    missed_fraud_fixed=20.0,
    review=3.0,
    review_recall=0.75,
    declined_good_share=0.05,
    declined_good_fixed=10.0,
)


def outcomes(paid: list[Paid], *, weighted: bool = False, capacity: float | None = None) -> Comparison:
    baseline = decisions("baseline", [payment.baseline for payment in paid], capacity)
    variant = decisions("change", [payment.variant for payment in paid], capacity)
    return compare(evaluation_set(paid, weighted=weighted), baseline, variant, COSTS)


def price(one: Paid, action: int) -> float:
    """Say what a payment costs under an answer, in words of docs/training.md."""
    amount = 0.0 if one.cents is None else one.cents / 100
    fraud = one.label == 1
    missed = amount + 20.0 if fraud else 0.0
    declined = 0.0 if fraud else 0.05 * amount + 10.0
    return (missed, 3.0 + 0.25 * missed, declined)[action]


def recounted(paid: list[Paid], arm: str) -> dict[str, float]:
    """Count by hand what one side caught, missed and hurt."""
    found: defaultdict[str, float] = defaultdict(float)
    cards: dict[str, set[object]] = {"declined": set(), "reviewed": set()}
    for number, payment in enumerate(paid):
        action, amount = getattr(payment, arm), (payment.cents or 0) / 100
        if payment.label == -1:
            continue
        found["cost"] += payment.weight * price(payment, action)
        found["saved"] += payment.weight * (price(payment, 0) - price(payment, action))
        if action:
            found["flagged"] += payment.weight
        if payment.label == 1:
            kind = "caught" if action else "missed"
            found[kind] += payment.weight
            found[f"{kind}_money"] += payment.weight * amount
        elif action:
            kind = "declined" if action == 2 else "reviewed"
            found[kind] += payment.weight
            found[f"{kind}_money"] += payment.weight * amount
            cards[kind].add(payment.card or number)
    return {**found, "declined_cards": len(cards["declined"]), "reviewed_cards": len(cards["reviewed"])}


def reported(part: SegmentMetrics, arm: str) -> dict[str, float]:
    """Return the same figures of a report, without those that are 0."""
    own = getattr(part, arm).outcomes
    flagged = own.frauds_caught / own.precision.value if own.precision.value else None
    found = {
        "caught": own.frauds_caught,
        "missed": own.frauds_missed,
        "caught_money": own.money_caught,
        "missed_money": own.money_missed,
        "declined": own.good_declined.payments,
        "declined_money": own.good_declined.money,
        "declined_cards": own.good_declined.cards,
        "reviewed": own.good_reviewed.payments,
        "reviewed_money": own.good_reviewed.money,
        "reviewed_cards": own.good_reviewed.cards,
        "cost": own.cost,
        "saved": own.money_saved,
    }
    return found if flagged is None else {**found, "flagged": flagged}


def same(one: dict[str, float], other: dict[str, float]) -> None:
    for name in {*one, *other} - {"flagged"}:
        assert one.get(name, 0) == pytest.approx(other.get(name, 0), abs=1e-5), name
    if "flagged" in one:
        assert one["flagged"] == pytest.approx(other["flagged"], rel=1e-4)


@few
@given(payments, st.booleans())
def test_caught_missed_hurt_and_money_are_those_of_a_naive_recount(paid: list[Paid], weighted: bool) -> None:  # noqa: FBT001
    if not weighted:
        paid = [msgspec.structs.replace(payment, weight=1) for payment in paid]
    comparison = outcomes(paid, weighted=weighted)
    mature = [payment for payment in paid if payment.week < 2]
    assert comparison.total is not None
    for arm in ("baseline", "variant"):
        same(reported(comparison.total, arm), recounted(mature, arm))
        for number, week in enumerate(comparison.weeks[:2]):
            same(reported(week, arm), recounted([payment for payment in paid if payment.week == number], arm))
        for part in comparison.segments["channel"]:
            name = None if part.name == "missing" else part.name
            same(
                reported(part, arm),
                recounted([payment for payment in mature if payment.channel == name], arm),
            )


@few
@given(payments)
def test_every_payment_is_in_one_week_and_every_evaluated_one_in_one_value_of_a_segment(
    paid: list[Paid],
) -> None:
    comparison = outcomes(paid)
    assert comparison.all_payments.payments == len(paid) == sum(week.payments for week in comparison.weeks)
    assert comparison.total is not None
    for parts in comparison.segments.values():
        assert sum(part.payments for part in parts) == comparison.total.payments
        assert sum(part.frauds or 0 for part in parts) == comparison.total.frauds
        assert sum(part.changed for part in parts) == comparison.total.changed
    assert sum(map(sum, comparison.actions)) == len(paid)
    differ = sum(payment.baseline != payment.variant for payment in paid)
    assert comparison.all_payments.changed == differ == sum(week.changed for week in comparison.weeks)


@few
@given(payments)
def test_what_cannot_be_known_yet_is_reported_as_traffic_and_never_evaluated(paid: list[Paid]) -> None:
    comparison = outcomes(paid)
    last = comparison.weeks[2]
    late = [payment for payment in paid if payment.week == 2]
    if late:
        assert not last.mature
        assert (last.frauds, last.baseline.outcomes, last.difference) == (None, None, None)
        assert last.baseline.declined == sum(payment.baseline == 2 for payment in late)
    turned = [
        msgspec.structs.replace(payment, label=1 - payment.label if payment.label >= 0 else 1)
        if payment.week == 2
        else payment
        for payment in paid
    ]
    again = outcomes(turned)
    assert again.total == comparison.total
    assert again.segments == comparison.segments
    assert again.reasons == comparison.reasons


@few
@given(payments)
def test_a_payment_without_a_label_is_counted_and_is_neither_good_nor_fraud(paid: list[Paid]) -> None:
    comparison = outcomes(paid)
    known = (
        outcomes([payment for payment in paid if payment.label >= 0])
        if any(payment.label >= 0 for payment in paid)
        else None
    )
    assert comparison.total is not None
    assert comparison.total.unlabelled == sum(payment.label == -1 for payment in paid if payment.week < 2)
    assert comparison.total.baseline.declined == sum(
        payment.baseline == 2 for payment in paid if payment.week < 2
    )
    if known is not None:
        assert known.total is not None
        for arm in ("baseline", "variant"):
            same(reported(known.total, arm), reported(comparison.total, arm))


@few
@given(payments)
def test_an_arm_against_itself_differs_nowhere(paid: list[Paid]) -> None:
    comparison = outcomes([msgspec.structs.replace(payment, variant=payment.baseline) for payment in paid])
    assert comparison.all_payments.changed == 0
    for part in (comparison.total, *comparison.weeks[:2], *comparison.segments["channel"]):
        assert part is not None
        assert part.baseline == part.variant
        assert part.difference is not None
        for name, one in msgspec.structs.asdict(part.difference).items():
            assert one.value in (0.0, None), name
            assert one.low in (0.0, None), name
            assert one.high in (0.0, None), name
    assert not any(msgspec.structs.asdict(comparison.examples).values())


@few
@given(payments)
def test_declining_everything_hurts_every_good_customer_and_misses_nothing(paid: list[Paid]) -> None:
    comparison = outcomes([msgspec.structs.replace(payment, variant=2, weight=1) for payment in paid])
    good = [(payment, n) for n, payment in enumerate(paid) if payment.week < 2 and payment.label == 0]
    assert comparison.total is not None
    arm = comparison.total.variant.outcomes
    assert arm is not None
    assert arm.good_declined.payments == len(good)
    assert arm.good_declined.cards == len({one.card or n for one, n in good})
    assert arm.frauds_missed == 0
    assert (arm.recall.value, arm.recall.high) in ((1.0, 1.0), (None, None))


@few
@given(payments)
def test_a_weight_of_two_counts_as_two_payments(paid: list[Paid]) -> None:
    doubled = outcomes([msgspec.structs.replace(payment, weight=2) for payment in paid], weighted=True)
    once, twice = outcomes(paid), outcomes([*paid, *paid])
    assert once.total is not None
    assert twice.total is not None
    assert doubled.total is not None
    same(
        {k: v for k, v in reported(doubled.total, "variant").items() if "cards" not in k},
        {k: v for k, v in reported(twice.total, "variant").items() if "cards" not in k},
    )
    # What people have to do is no estimate: it is counted as it was.
    assert doubled.total.variant.reviewed == once.total.variant.reviewed


@few
@given(payments, st.integers(0, 3))
def test_reviews_a_day_and_the_worst_day_are_those_of_the_calendar(paid: list[Paid], capacity: int) -> None:
    comparison = outcomes(paid, capacity=float(capacity))
    days = Counter(payment.at // DAY for payment in paid if payment.baseline == 1)
    arm = comparison.all_payments.baseline
    assert arm.reviewed == sum(days.values())
    assert arm.reviews_per_day == pytest.approx(arm.reviewed / 21, abs=1e-6)
    assert arm.worst_day_reviews == max(days.values(), default=0)
    assert arm.days_over_capacity == sum(count > capacity for count in days.values())
    if arm.worst_day is not None:
        day = (dt.date.fromisoformat(arm.worst_day) - dt.date(2026, 1, 5)).days
        assert days[day] == arm.worst_day_reviews


@few
@given(payments)
def test_examples_are_the_largest_of_their_kind_with_the_reasons_of_both_arms(paid: list[Paid]) -> None:
    comparison = outcomes(paid)
    by_id = {f"t{number}": payment for number, payment in enumerate(paid)}
    wanted: dict[str, Callable[[Paid], bool]] = {
        "newly_caught": lambda payment: (
            payment.label == 1 and payment.baseline == 0 and payment.variant > 0 and payment.week < 2
        ),
        "newly_missed": lambda payment: (
            payment.label == 1 and payment.baseline > 0 and payment.variant == 0 and payment.week < 2
        ),
        "newly_hurt": lambda payment: (
            payment.label == 0 and payment.variant > payment.baseline and payment.week < 2
        ),
        "newly_spared": lambda payment: (
            payment.label == 0 and payment.variant < payment.baseline and payment.week < 2
        ),
        "newly_unobserved": lambda payment: (
            payment.label == -1 and payment.baseline > 0 and payment.variant == 0 and payment.week < 2
        ),
        "largest": lambda payment: payment.baseline != payment.variant,
    }
    for name, fits in wanted.items():
        shown = getattr(comparison.examples, name)
        candidates = sorted((payment.cents or 0 for payment in paid if fits(payment)), reverse=True)
        assert [round(100 * (example.amount or 0)) for example in shown] == candidates[:10]
        for example in shown:
            payment = by_id[example.transaction_id]
            assert fits(payment)
            assert example.baseline.action == ("approve", "review", "decline")[payment.baseline]
            assert example.variant.reasons == ((), ("a burst of payments",), ("score",))[payment.variant]


def test_a_reason_with_another_message_in_each_arm_is_reported_with_both() -> None:
    paid = [Paid(0, 5000, "a", 1, 1, 1)]
    baseline, variant = (decisions(name, [1]) for name in ("baseline", "change"))
    other_variant = dataclasses.replace(variant, messages={"burst": "six in a minute"})
    unsaid = dataclasses.replace(variant, messages={})
    messages = [
        compare(evaluation_set(paid), baseline, one, COSTS).reasons[0].message
        for one in (variant, other_variant, unsaid)
    ]
    assert messages[0] == messages[2] == "a burst of payments"
    assert messages[1] == "baseline: a burst of payments; change: six in a minute"


STOPPED = Paid(0, 5000, "a", -1, 2, 0)


def unobserved(*paid: Paid, weighted: bool = False) -> tuple[float, float, float]:
    comparison = outcomes(list(paid), weighted=weighted).unobserved
    assert comparison is not None
    return comparison.payments, comparison.money, comparison.cost


@pytest.mark.parametrize(
    "seen",
    [
        {"label": 0},
        {"label": 1},
        {"baseline": 0},
        {"variant": 1},
        {"variant": 2},
        {"at": 15 * DAY},
    ],
    ids=["good", "fraud", "approved before", "reviewed", "declined", "young"],
)
def test_unobserved_is_what_was_stopped_and_would_pass_without_a_label(seen: dict[str, int]) -> None:
    reviewed = msgspec.structs.replace(STOPPED, baseline=1, cents=None)
    other = msgspec.structs.replace(STOPPED, **seen)
    assert unobserved(STOPPED, reviewed, other) == (2, 50, 50 + 2 * 20)


def test_the_control_group_stands_for_the_stopped_once_some_of_it_are_labelled() -> None:
    stopped = [msgspec.structs.replace(STOPPED, weight=0)] * 300
    # People looked at one of them; as others may be in the control group instead, no figure counts what they
    # said.
    reviewed = msgspec.structs.replace(STOPPED, baseline=1, weight=0, label=1)
    through = msgspec.structs.replace(STOPPED, weight=100, label=0)
    untold = msgspec.structs.replace(STOPPED, weight=100)
    without_assignment = msgspec.structs.replace(STOPPED, cents=90_000)
    assert unobserved(*stopped, reviewed, weighted=True) == (301, 301 * 50, 301 * 70)
    assert unobserved(*stopped, untold, weighted=True)[0] == 301
    # One good payment says next to nothing of a hundred, thirty do; a fraud among them is in the figures.
    assert unobserved(*stopped, reviewed, through, weighted=True)[0] == 100
    assert unobserved(*stopped, reviewed, *[through] * 30, weighted=True)[0] == pytest.approx(
        30 * 100 * 3 / 30
    )
    fraud = msgspec.structs.replace(through, label=1)
    assert unobserved(*stopped, reviewed, through, fraud, weighted=True)[0] == 0
    assert unobserved(*stopped, fraud, untold, weighted=True) == (100, 5_000, 7_000)
    assert unobserved(*stopped, fraud, without_assignment, weighted=True) == (1, 900, 920)
    # One that the change would stop too says nothing of those that it would let pass.
    elsewhere = msgspec.structs.replace(through, variant=2)
    assert unobserved(*stopped, elsewhere, weighted=True)[0] == 300


def test_more_payments_give_narrower_intervals_and_the_same_seed_the_same_ones() -> None:
    few = [Paid(n * 3_600_000, 5000, f"c{n}", int(n % 4 == 0), n % 2, (n + 1) % 2) for n in range(40)]
    many = [
        msgspec.structs.replace(payment, card=f"{payment.card}-{k}") for k in range(25) for payment in few
    ]
    wide, narrow = outcomes(few), outcomes(many)
    assert wide == outcomes(few)
    assert width(precision(wide)) > 3 * width(precision(narrow))
    assert precision(wide).value == precision(narrow).value


def precision(comparison: Comparison) -> Estimate:
    assert comparison.total is not None
    assert comparison.total.baseline.outcomes is not None
    return comparison.total.baseline.outcomes.precision


def width(estimate: Estimate) -> float:
    assert estimate.low is not None
    assert estimate.high is not None
    return estimate.high - estimate.low


def test_payments_of_one_card_narrow_an_interval_less_than_those_of_many() -> None:
    alone = [Paid(n * 3_600_000, 5000, f"c{n}", int(n < 40), 1, 1) for n in range(200)]
    shared = [msgspec.structs.replace(payment, card=f"c{n // 20}") for n, payment in enumerate(alone)]
    assert width(precision(outcomes(shared))) > 2 * width(precision(outcomes(alone)))


def test_three_hits_in_three_are_no_certainty() -> None:
    found = precision(outcomes([Paid(n, 100, f"c{n}", 1, 2, 2) for n in range(3)]))
    assert found.value == 1.0
    assert width(found) > 0.5


@pytest.mark.parametrize("what", ["label", "payment"])
def test_a_label_or_a_payment_from_after_the_as_of_time_is_refused(what: str) -> None:
    good = evaluation_set([Paid(0, 100, "a", 1, 1, 1), Paid(DAY, 100, "a", 0, 1, 1)])
    column = "known_at" if what == "label" else "event_time"
    leaked = getattr(good, column).copy()
    leaked[1] = AS_OF + 1
    with pytest.raises(ConfigError, match="leak from the future"):
        dataclasses.replace(good, **{column: leaked})


def test_a_side_that_did_not_decide_every_payment_is_refused() -> None:
    paid = [Paid(0, 100, "a", 1, 1, 1)]
    with pytest.raises(ConfigError, match="0 decisions for 1 payments"):
        compare(evaluation_set(paid), decisions("a", [1]), decisions("b", []), COSTS)


def test_without_a_mature_week_decisions_are_counted_and_nothing_is_evaluated() -> None:
    paid = [Paid(0, 100, "a", 1, 1, 2)]
    young = evaluation_set(paid, as_of=START + DAY)
    comparison = compare(young, decisions("a", [1]), decisions("b", [2]), COSTS)
    assert comparison.total is None
    assert (
        comparison.all_payments.changed,
        comparison.segments["channel"],
        comparison.examples.newly_caught,
    ) == (
        1,
        (),
        (),
    )
    assert len(comparison.examples.largest) == 1
