"""What the gate asks of figures that are at hand."""

from __future__ import annotations

from fraud_detection.config import Costs, Gate
from fraud_detection.judge.compare import compare
from fraud_detection.judge.comparison import Comparison
from fraud_detection.judge.gate import Check, Facts, judge_challenger
from tests.unit.judge.payments import DAY, Paid, answers, traffic


def facts(*, left_out: int = 0) -> Facts:
    return Facts(
        average_precision=None,
        expected_frauds=1.0,
        frauds=1.0,
        left_out=left_out,
        p99_us=(100.0, 100.0),
        rescored=1,
        different=0,
        same_features=True,
        same_schema=True,
    )


def compared(paid: list[Paid], *, weighted: bool = False, capacity: float | None = None) -> Comparison:
    first = answers("champion", [one.first for one in paid], capacity)
    second = answers("shadow", [one.second for one in paid], capacity)
    return compare(traffic(paid, weighted=weighted), first, second, Costs())


def check(name: str, found: Comparison, known: Facts, gate: Gate | None = None) -> Check:
    return next(one for one in judge_challenger(found, known, gate or Gate()).checks if one.name == name)


def test_people_review_what_was_left_out_of_the_comparison_too() -> None:
    found = compared([Paid(day * DAY, 900, "a", 0, 0, 1) for day in range(14)], capacity=1)
    assert check("reviewers", found, facts()).passed
    crowded = check("reviewers", found, facts(left_out=14))
    assert not crowded.passed
    assert crowded.words.startswith("2.0 reviews a day (with their part of 14 payments left out)")
