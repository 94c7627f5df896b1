"""Percentiles that are reported agree with one another, and with what was measured."""

from __future__ import annotations

import math
from collections import deque

from hypothesis import given
from hypothesis import strategies as st

from benchmarks.load_generator.record import latencies
from benchmarks.suite.engine import micros
from fraud_detection.cli.try_it.demo import demo_figures
from fraud_detection.core.metrics import LatencyHistogram
from fraud_detection.demo.demo import DemoView
from fraud_detection.deployment.logs import CloudTally
from fraud_detection.engine.counters import Tally
from tools.aws_demo.commands import demo_figures as aws_figures
from tools.aws_demo.demo import DemoLog

durations = st.lists(st.floats(0, 1e5, allow_nan=False), min_size=1, max_size=40)


def counted(seconds: list[float]) -> LatencyHistogram:
    histogram = LatencyHistogram()
    for latency in seconds:
        histogram.add(latency)
    return histogram


@given(durations)
def test_no_percentile_is_above_the_longest_and_none_is_above_a_higher_one(seconds: list[float]) -> None:
    histogram = counted(seconds)
    percentiles = [histogram.percentile_ms(percent) for percent in (1, 50, 90, 99, 99.9, 100)]
    assert percentiles == sorted(percentiles)
    assert percentiles[-1] <= 1000 * max(seconds)
    summary = latencies(histogram)
    assert summary.p50_ms <= summary.p99_ms <= summary.p99_9_ms <= summary.max_ms
    assert micros(histogram).p99_9_us <= micros(histogram).max_us


@given(durations)
def test_a_percentile_is_within_two_percent_of_the_exact_one(seconds: list[float]) -> None:
    histogram = counted(seconds)
    for percent in (50, 90, 99):
        exact = sorted(seconds)[max(math.ceil(len(seconds) * percent / 100), 1) - 1]
        assert math.isclose(histogram.percentile_ms(percent), 1000 * exact, rel_tol=0.02, abs_tol=2e-3)


def test_a_live_table_without_a_decision_has_no_nan() -> None:
    shown = [*demo_figures(DemoView(Tally(), 0.0, deque())).values()]
    shown += [*aws_figures(DemoLog(CloudTally(), deque())).values()]
    assert "nan" not in " ".join(shown)
    assert shown.count("-") == 4
