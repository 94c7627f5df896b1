"""The evaluator of alarms gives what the tables of AWS's documentation give."""

from __future__ import annotations

import pytest

from tests.cloudwatch import (
    ALARM,
    INSUFFICIENT,
    OK,
    RETAIN,
    Metrics,
    Reading,
    Series,
    alarm_state,
    compute,
    state,
)

POINT = {"0": False, "X": True, "-": None}
TREATMENTS = ("missing", "ignore", "breaching", "notBreaching")
SAME = (ALARM,) * 4


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        ("0 - X - X", (OK,) * 4),
        ("0 - - - -", (OK,) * 4),
        ("- - - - -", (INSUFFICIENT, RETAIN, ALARM, OK)),
        ("0 X X - X", SAME),
        ("- - X - -", (ALARM, RETAIN, ALARM, OK)),
        # From the text on premature alarms.
        ("- - - - X", (INSUFFICIENT, RETAIN, ALARM, OK)),
        ("- - - X -", (INSUFFICIENT, RETAIN, ALARM, OK)),
        ("- - X - 0", (OK, OK, OK, OK)),
    ],
)
def test_three_of_three_as_documented(points: str, expected: tuple[str, ...]) -> None:
    states = [
        alarm_state([POINT[point] for point in points.split()], 3, 3, missing) for missing in TREATMENTS
    ]
    assert tuple(states) == expected


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        ("0 - X - X", SAME),
        ("0 0 X 0 X", SAME),
        ("0 - X - -", (OK, OK, ALARM, OK)),
        ("- - - - 0", (OK, OK, ALARM, OK)),
        ("- - - X -", (ALARM, RETAIN, ALARM, OK)),
    ],
)
def test_two_of_three_as_documented(points: str, expected: tuple[str, ...]) -> None:
    states = [
        alarm_state([POINT[point] for point in points.split()], 3, 2, missing) for missing in TREATMENTS
    ]
    assert tuple(states) == expected


METRIC1, METRIC2, METRIC3 = (
    [1.0, 1.0, 0.0, 0.0, None],
    [30.0, None, 0.0, 0.0, 30.0],
    [0.0, 0.0, 20.0, None, 20.0],
)


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("IF(metric1, metric2, metric3)", [30, 0, 20, None, None]),
        ("IF(metric1, 5, metric3)", [5, 5, 20, None, None]),
        ("IF(metric1, metric2, 5)", [30, 0, 5, 5, None]),
        ("IF(metric1 > 0, 10, 2)", [10, 10, 2, 2, None]),
        ("metric1 + metric2", [31, 1, 0, 0, 30]),
        ("metric2 - metric3", [30, 0, -20, 0, 10]),
        # Divided by zero is dropped.
        ("metric2 / metric1", [30, 0, None, None, None]),
        ("SUM([metric1, -metric2])", [-29, 1, 0, 0, -30]),
        ("FILL(metric1, 7)", [1, 1, 0, 0, 7]),
        ("5 * metric1", [5, 5, 0, 0, None]),
    ],
)
def test_metric_math_as_documented(expression: str, expected: list[float | None]) -> None:
    series: dict[str, Series] = {"metric1": METRIC1, "metric2": METRIC2, "metric3": METRIC3}
    assert compute(expression, series) == expected


def test_comparisons_as_documented() -> None:
    series: dict[str, Series] = {"metric1": [30.0, 20.0, 0.0, 0.0], "metric2": [20.0, None, 20.0, None]}
    assert compute("metric1 < metric2", series) == [0, 0, 1, 0]
    assert compute("metric1 >= 30", series) == [1, 0, 0, 0]


def test_what_is_open_can_be_read_either_way() -> None:
    series: dict[str, Series] = {"some": [1.0, None], "none": [None, None]}
    strict = Reading(missing_is_zero=False, fills_nothing=False)
    assert (compute("FILL(none, 0)", series), compute("FILL(none, 0)", series, strict)) == (
        [0, 0],
        [None, None],
    )
    assert (compute("some + none", series), compute("some + none", series, strict)) == (
        [1, None],
        [None, None],
    )


def test_periods_are_windows_that_end_now() -> None:
    metrics = Metrics()
    for minute in range(12):
        metrics.put(minute, "Space", "count", [1.0, float(minute)], Place="here")
    metric = {"Namespace": "Space", "MetricName": "count", "Dimensions": [{"Name": "Place", "Value": "here"}]}
    assert metrics.series(metric, "Sum", 5, 11, 3) == [1, 20, 45]
    assert metrics.series(metric, "Maximum", 5, 12, 2) == [6, 11]
    assert metrics.series(metric, "SampleCount", 1, 13, 2) == [2, None]
    assert metrics.series(metric | {"Dimensions": []}, "Average", 1, 12, 1) == [None]


def test_an_alarm_has_its_own_description() -> None:
    metrics = Metrics()
    for minute, number in enumerate([0.0, 9.0, 0.0, 9.0]):
        metrics.put(minute, "Space", "count", [number])
    alarm = {"Namespace": "Space", "MetricName": "count", "Dimensions": [], "Statistic": "Sum", "Period": 60}
    alarm |= {
        "Threshold": 5,
        "ComparisonOperator": "GreaterThanThreshold",
        "TreatMissingData": "notBreaching",
    }
    assert state(alarm | {"EvaluationPeriods": 3}, metrics, 4) == OK
    assert state(alarm | {"EvaluationPeriods": 3, "DatapointsToAlarm": 2}, metrics, 4) == ALARM
    # What is too old to be looked at calls nobody.
    assert state(alarm | {"EvaluationPeriods": 1}, metrics, 9) == OK
    assert state(alarm | {"EvaluationPeriods": 1, "TreatMissingData": "breaching"}, metrics, 9) == ALARM
