"""The sweep finds the saturation rate of what has one, and says so where it has none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.load_generator.load import Latencies, Load
from benchmarks.load_generator.sweep import SweepSettings, find_saturation, is_held


def load(rate: float, p99_ms: float, *, completed: float = 1.0, wrong: int = 0, lag_ms: float = 0.0) -> Load:
    times = Latencies(100, p99_ms / 2, p99_ms, p99_ms, p99_ms, p99_ms)
    late = Latencies(100, lag_ms, lag_ms, lag_ms, lag_ms, lag_ms)
    statuses = {"200": 100 - wrong, "503": wrong}
    return Load(rate, completed * rate, times, statuses, 0, 0, late, 0, 100, 0.1)


@given(capacity=st.floats(120, 9_000))
def test_the_saturation_rate_is_just_below_what_the_server_can_do(capacity: float) -> None:
    settings = SweepSettings(start=100, highest=10_000, factor=1.4, halvings=4)
    saturation = find_saturation(lambda rate: load(rate, 5.0 if rate <= capacity else 500.0), settings)
    assert saturation.saturation_per_s <= capacity
    if not saturation.open_end:
        assert capacity < saturation.saturation_per_s * 1.4 ** (1 / 16) * 1.0001
    else:
        assert capacity > 7_000


def test_one_bad_moment_is_no_saturation() -> None:
    rates: list[float] = []

    def run(rate: float) -> Load:
        rates.append(rate)
        return load(rate, 500.0 if len(rates) == 2 or rate > 900 else 5.0)

    saturation = find_saturation(run, SweepSettings(start=100, highest=1_600, factor=2.0, halvings=0))
    assert saturation.saturation_per_s == 800
    assert rates.count(200) == 2


def test_a_server_that_holds_no_rate_has_a_saturation_rate_of_zero() -> None:
    assert find_saturation(lambda rate: load(rate, 500.0), SweepSettings()).saturation_per_s == 0


@pytest.mark.parametrize(
    ("tried", "held"),
    [
        (load(100, 5.0), True),
        (load(100, 51.0), False),
        (load(100, 5.0, wrong=1), False),
        (load(100, 5.0, completed=0.98), False),
    ],
)
def test_a_rate_is_held_in_time_whole_and_without_errors(tried: Load, held: bool) -> None:  # noqa: FBT001
    assert is_held(tried, 50.0) is held


def test_a_saturation_rate_where_the_client_was_late_is_marked() -> None:
    saturation = find_saturation(
        lambda rate: load(rate, 5.0) if rate < 300 else load(rate, 500.0, lag_ms=400.0),
        SweepSettings(start=100, factor=2.0, halvings=1),
    )
    assert saturation.client_bound
    assert load(100, 5.0, lag_ms=1.0).client_bound is False
    assert load(100, 5.0, lag_ms=2.0).client_bound is True
