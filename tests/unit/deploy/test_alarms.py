"""Alarms on recorded series: they call on the fault, and are silent on a good hour and at night."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import pytest

from fraud_detection.deploy.release import Release
from fraud_detection.deploy.settings import Deployment
from fraud_detection.deploy.template import build

Series = dict[str, Sequence[float | None]]
"""Sums of each minute by metric; None where CloudWatch has no data."""

GOOD: Series = {
    "IncomingRecords": [600.0] * 60,
    "decided": [580.0] * 60,
    "quarantined": [3.0] * 60,
    "labels": [10.0] * 60,
    "repeated": [7.0] * 60,
    "conflicts": [0.0] * 60,
    "internal_errors": [0.0] * 60,
}
NIGHT: Series = {name: [None] * 60 for name in GOOD}
ONLY_LABELS: Series = {**NIGHT, "IncomingRecords": [5.0] * 60, "labels": [5.0] * 60, "decided": [0.0] * 60}
NO_MAPPING: Series = {**NIGHT, "IncomingRecords": [600.0] * 60}
OTHER_ENCODING: Series = {
    **GOOD,
    "decided": [0.0] * 60,
    "quarantined": [600.0] * 60,
    "labels": [0.0] * 60,
    "repeated": [0.0] * 60,
}
SOME_UNREADABLE: Series = {**GOOD, "decided": [500.0] * 60, "quarantined": [80.0] * 60}
SAME_ID: Series = {**GOOD, "conflicts": [0.0] * 59 + [1.0]}
BUG: Series = {**GOOD, "internal_errors": [0.0] * 59 + [1.0]}


def evaluate(expression: str, values: dict[str, float | None]) -> float | None:
    """Compute one minute: any value that is missing makes a result missing, but inside FILL."""
    text = re.sub(r"FILL\((\w+), 0\)", lambda one: repr(values[one[1]] or 0.0), expression)
    outer = re.fullmatch(r"FILL\((.*), 0\)", text)
    inner = text if outer is None else outer[1]
    names = set(re.findall(r"\b[a-z]\w*\b", inner))
    if any(values[name] is None for name in names):
        return 0.0 if outer else None
    return _if(inner, values)


def _if(text: str, values: dict[str, float | None]) -> float:
    """Compute `IF(condition, yes, no)` with its arms apart, since the arm not taken may divide by 0."""
    match = re.fullmatch(r"IF\(([^,]+), ([^,]+), ([^,]+)\)", text)
    assert match is not None, text
    chosen = match[2] if eval(match[1], {}, dict(values)) else match[3]  # noqa: S307 - of our own template
    return float(eval(chosen, {}, dict(values)))  # noqa: S307 - of our own template


def fires(alarm: dict[str, Any], series: Series) -> bool:
    """Tell whether an alarm stands at the end: M of the last N minutes, missing ones as it says."""
    wanted, of = alarm.get("DatapointsToAlarm", alarm["EvaluationPeriods"]), alarm["EvaluationPeriods"]
    minutes = [{name: values[at] for name, values in series.items()} for at in range(-of, 0)]
    if "Metrics" in alarm:
        *asked, result = alarm["Metrics"]
        names = {one["Id"]: one["MetricStat"]["Metric"]["MetricName"] for one in asked}
        points = [
            evaluate(result["Expression"], {one: minute[name] for one, name in names.items()})
            for minute in minutes
        ]
    else:
        points = [minute[alarm["MetricName"]] for minute in minutes]
    assert alarm["TreatMissingData"] == "notBreaching"
    return bool(sum(one is not None and one > alarm["Threshold"] for one in points) >= wanted)


@pytest.fixture
def alarms(settings: Deployment, release: Release) -> dict[str, dict[str, Any]]:
    resources = build(settings, release)["Resources"]
    return {
        name: resources[name]["Properties"]
        for name in ("QuarantinedShare", "NothingDecided", "Conflicts", "InternalErrors")
    }


@pytest.mark.parametrize(
    ("series", "expected"),
    [
        (GOOD, set()),
        (NIGHT, set()),
        (ONLY_LABELS, set()),
        (NO_MAPPING, {"NothingDecided"}),
        (OTHER_ENCODING, {"NothingDecided", "QuarantinedShare"}),
        (SOME_UNREADABLE, {"QuarantinedShare"}),
        (SAME_ID, {"Conflicts"}),
        (BUG, {"InternalErrors"}),
    ],
)
def test_each_fault_calls_and_nothing_else_does(
    alarms: dict[str, dict[str, Any]], series: Series, expected: set[str]
) -> None:
    assert {name for name, alarm in alarms.items() if fires(alarm, series)} == expected


def test_one_minute_without_decisions_calls_nobody(alarms: dict[str, dict[str, Any]]) -> None:
    short: Series = {**NO_MAPPING, "decided": [580.0] * 57 + [None] * 3}
    assert not fires(alarms["NothingDecided"], short)
