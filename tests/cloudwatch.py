"""What CloudWatch makes of an alarm: periods, metric math, missing data and M of N, as AWS documents them.

Two pages say it, and their tables are the tests of this module:
https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/using-metric-math.html and
https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarms-and-missing-data.html.
Where they leave something open, a `Reading` says how it is taken, so that a test can try each way.
"""

from __future__ import annotations

import ast
import itertools
import math
import operator
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

Series = list[float | None]
"""One value a period, the newest last; None where there is none."""
Value = float | Series
Key = tuple[str, str, tuple[tuple[str, str], ...]]

OK, ALARM, INSUFFICIENT, RETAIN = "OK", "ALARM", "INSUFFICIENT_DATA", "as before"

TWO_OPERANDS: dict[type, Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
BEYOND = {"GreaterThanThreshold": operator.gt, "LessThanThreshold": operator.lt}


@dataclass(frozen=True)
class Reading:
    """How to take what AWS does not document, or documents and does otherwise by what users report.

    missing_is_zero: an operand without a value counts as 0 where the other has one, as documented; else the
    point is dropped.  fills_nothing: FILL makes values of a metric that has none in the evaluation range.
    extra: how many more periods than it needs an alarm looks back.
    """

    missing_is_zero: bool = True
    fills_nothing: bool = True
    extra: int = 2


DOCUMENTED = Reading()
READINGS = [Reading(*one) for one in itertools.product((True, False), (True, False), (0, 2, 5))]


class Metrics:
    """What was measured: values by metric and minute."""

    def __init__(self) -> None:
        """Start without any."""
        self._values: dict[Key, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
        # The same is asked for each way of reading.
        self._found: dict[tuple[Key, str, int, int], dict[int, float | None]] = {}

    def put(self, minute: int, namespace: str, name: str, values: Sequence[float], **dimensions: str) -> None:
        """Add the value of a metric during a minute."""
        self._values[namespace, name, tuple(sorted(dimensions.items()))][minute].extend(values)
        self._found.clear()

    def series(self, metric: Mapping[str, Any], statistic: str, period: int, end: int, most: int) -> Series:
        """Return a statistic of the last periods, each of so many minutes, before the minute `end`."""
        named = tuple(sorted((one["Name"], one["Value"]) for one in metric["Dimensions"]))
        key = (metric["Namespace"], metric["MetricName"], named)
        found = self._found.setdefault((key, statistic, period, end), {})
        values = self._values.get(key, {})
        for at in range(-most, 0):
            if at not in found:
                span = range(end + at * period, end + (at + 1) * period)
                found[at] = _statistic(statistic, [one for minute in span for one in values.get(minute, [])])
        return [found[at] for at in range(-most, 0)]


def _statistic(statistic: str, values: list[float]) -> float | None:
    if not values:
        return None
    if statistic == "p99":
        return sorted(values)[math.ceil(0.99 * len(values)) - 1]
    named: dict[str, Callable[[list[float]], float]] = {
        "Sum": sum,
        "Maximum": max,
        "Average": lambda found: sum(found) / len(found),
        "SampleCount": len,
    }
    return float(named[statistic](values))


def compute(expression: str, series: Mapping[str, Series], reading: Reading = DOCUMENTED) -> Value:
    """Return what an expression of metric math makes of series of one length."""
    return _Math(series, reading).value(_parsed(expression))


def series_of(expression: str, series: Mapping[str, Series], reading: Reading = DOCUMENTED) -> Series:
    """Return what an expression makes of series, as an alarm needs it: a series too."""
    return _listed(compute(expression, series, reading))


@cache
def _parsed(expression: str) -> ast.expr:
    return ast.parse(expression, mode="eval").body


class _Math:
    def __init__(self, series: Mapping[str, Series], reading: Reading) -> None:
        self._series, self._reading = series, reading

    def value(self, node: ast.expr) -> Value:
        match node:
            case ast.Constant(value=int() | float() as number):
                return float(number)
            case ast.Name(id=name):
                return self._series[name]
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return self._both(operator.sub, 0.0, self.value(operand))
            case ast.BinOp(left=left, op=op, right=right):
                return self._both(TWO_OPERANDS[type(op)], self.value(left), self.value(right))
            case ast.Compare(left=left, ops=[op], comparators=[right]):
                return self._both(TWO_OPERANDS[type(op)], self.value(left), self.value(right))
            case ast.Call(func=ast.Name(id=name), args=args):
                return self._call(name, args)
        raise NotImplementedError(ast.unparse(node))

    def _call(self, name: str, args: list[ast.expr]) -> Value:
        match name, args:
            case "SUM", [ast.List(elts=parts)]:
                return self._sum([self.value(part) for part in parts])
            case "IF", [condition, yes, no]:
                return _if(self.value(condition), self.value(yes), self.value(no))
            case "FILL", [filled, value]:
                return self._fill(self.value(filled), self.value(value))
            case "LOG", [of]:
                found = self.value(of)
                return [None if item is None else math.log(item) for item in _listed(found)]
        raise NotImplementedError(name)

    def _sum(self, parts: list[Value]) -> Value:
        total = parts[0]
        for part in parts[1:]:
            total = self._both(operator.add, total, part)
        return total

    def _fill(self, filled: Value, value: Value) -> Value:
        assert isinstance(value, float)
        there = _listed(filled)
        if not self._reading.fills_nothing and all(one is None for one in there):
            return there
        return [value if one is None else one for one in there]

    def _both(self, compute: Callable[[float, float], float], left: Value, right: Value) -> Value:
        if isinstance(left, float) and isinstance(right, float):
            return float(compute(left, right))
        length = len(left if isinstance(left, list) else _listed(right))
        both_series = isinstance(left, list) and isinstance(right, list)
        zero = 0.0 if both_series and self._reading.missing_is_zero else None
        results: Series = []
        for one, other in zip(_broadcast(left, length), _broadcast(right, length), strict=True):
            nothing = one is None and other is None
            first, second = zero if one is None else one, zero if other is None else other
            results.append(
                None if nothing or first is None or second is None else _of(compute, first, second)
            )
        return results


def _of(compute: Callable[[float, float], float], left: float, right: float) -> float | None:
    try:
        return float(compute(left, right))
    except ZeroDivisionError:
        return None


def _if(condition: Value, yes: Value, no: Value) -> Value:
    queries = _listed(condition)
    arms = zip(queries, _broadcast(yes, len(queries)), _broadcast(no, len(queries)), strict=True)
    # A true point without a value in its arm is 0, a false one is dropped.
    return [None if one is None else (first or 0.0) if one else second for one, first, second in arms]


def _broadcast(value: Value, length: int) -> Series:
    return value if isinstance(value, list) else [value] * length


def _listed(value: Value) -> Series:
    assert isinstance(value, list), value
    return value


def alarm_state(points: Sequence[bool | None], periods: int, min_breaching: int, missing: str) -> str:
    """Return the state of an alarm whose evaluation range holds these points, the newest last.

    points: whether each is breaching; None is missing.  periods, min_breaching: N and M of M out of N.
    """
    there = [point for point in points if point is not None]
    if len(there) >= periods:
        return ALARM if sum(there[-periods:]) >= min_breaching else OK
    if missing in ("breaching", "notBreaching"):
        filled = (periods - len(there)) * (missing == "breaching")
        return ALARM if sum(there) + filled >= min_breaching else OK
    if sum(there) >= min_breaching and missing == "missing":
        return ALARM
    if False in there:
        return OK
    # Nothing but breaching and missing points: an alarm, once the oldest is as old as M (not prematurely).
    oldest = len(points) - points.index(True) if there else 0
    if missing == "ignore":
        return RETAIN
    return ALARM if oldest >= min_breaching else INSUFFICIENT


def state(alarm: Mapping[str, Any], metrics: Metrics, end: int, reading: Reading = DOCUMENTED) -> str:
    """Return the state of an alarm (its properties in a template) when the minute `end` begins."""
    periods = alarm["EvaluationPeriods"]
    most = periods + reading.extra
    if "Metrics" in alarm:
        *queries, result = alarm["Metrics"]
        stats = {query["Id"]: query["MetricStat"] for query in queries}
        series = {
            name: metrics.series(stat["Metric"], stat["Stat"], stat["Period"] // 60, end, most)
            for name, stat in stats.items()
        }
        points = series_of(result["Expression"], series, reading)
    else:
        statistic = alarm.get("Statistic") or alarm["ExtendedStatistic"]
        points = metrics.series(alarm, statistic, alarm["Period"] // 60, end, most)
    beyond = BEYOND[alarm["ComparisonOperator"]]
    breaching = [None if point is None else bool(beyond(point, alarm["Threshold"])) for point in points]
    return alarm_state(breaching, periods, alarm.get("DatapointsToAlarm", periods), alarm["TreatMissingData"])
