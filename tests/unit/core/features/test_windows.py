from __future__ import annotations

import math
import statistics
from fractions import Fraction
from random import Random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraud_detection.core.errors import ConfigError
from fraud_detection.core.features.distinct_ids import Neighbours
from fraud_detection.core.features.extract import deviation
from fraud_detection.core.features.profile import SPARE, Profile, ProfilePlan
from fraud_detection.core.features.windows import Aggregate, Window

PANES = 24
LENGTH = 24_000
# Every edge of a window is a multiple of a pane away from something: most draws are near one.
times = st.integers(0, 4 * LENGTH) | st.builds(
    lambda pane, off: max(pane * (LENGTH // PANES) + off, 0), st.integers(0, 4 * PANES), st.integers(-1, 1)
)
values = st.integers(-(10**15), 10**15)
events = st.lists(st.tuples(times, values), max_size=60)


def recount(added: list[tuple[int, int]], now: int, until: int | None = None) -> list[int]:
    """Return the values that the documented rule puts in the window.

    They are in the pane of now, in the 23 before it, or in those after it up to the pane of `until`.
    """
    pane = LENGTH // PANES
    last = (now if until is None else until) // pane
    return [value for time, value in added if now // pane - PANES < time // pane <= last]


def window_of(added: list[tuple[int, int]]) -> Window:
    window = Window(LENGTH, PANES)
    for time, value in added:
        window.add(time, value)
    return window


@given(events, times)
def test_a_window_equals_a_naive_recount_at_any_later_time(added: list[tuple[int, int]], wait: int) -> None:
    now = max([time for time, _ in added], default=0) + wait
    aggregate, expected = window_of(added).at(now), recount(added, now)
    assert (aggregate.count, aggregate.total) == (len(expected), sum(expected))
    assert aggregate.squares == sum(value * value for value in expected)
    if expected:
        assert (aggregate.low, aggregate.high) == (min(expected), max(expected))


@given(events, times, st.integers(0, LENGTH))
def test_a_window_read_at_any_time_counts_what_is_later_only_up_to_a_time(
    added: list[tuple[int, int]], now: int, late: int
) -> None:
    aggregate, expected = Aggregate(), recount(added, now, now + late)
    window_of(added).read(now, now + late, aggregate)
    assert (aggregate.count, aggregate.total) == (len(expected), sum(expected))
    assert aggregate.squares == sum(value * value for value in expected)
    if expected:
        assert (aggregate.low, aggregate.high) == (min(expected), max(expected))


@given(events, times, events, times)
def test_what_is_forgotten_is_just_what_no_later_reading_would_count(
    before: list[tuple[int, int]], forgotten: int, after: list[tuple[int, int]], wait: int
) -> None:
    window = window_of(before)
    window.forget(forgotten)
    assert len(window.kept) <= len({time // (LENGTH // PANES) for time, _ in before})
    assert all(pane.number > forgotten // (LENGTH // PANES) - PANES for pane in window.kept)
    for time, value in after:
        window.add(time, value)
    now = forgotten + wait
    assert window.at(now).total == sum(recount([*before, *after], now))


@pytest.mark.parametrize(("panes_later", "counted"), [(PANES - 1, 1), (PANES, 0), (PANES + 1, 0)])
@pytest.mark.parametrize("off", [0, LENGTH // PANES - 1])
def test_a_pane_counts_until_it_is_as_many_panes_old_as_the_window_has(
    panes_later: int, counted: int, off: int
) -> None:
    window = window_of([(off, 5), (LENGTH // PANES * panes_later, 7)])
    assert window.at(LENGTH // PANES * panes_later).count == counted + 1
    window.forget(LENGTH // PANES * panes_later)
    assert len(window.kept) == counted + 1
    window.add(off, 5)
    assert len(window.kept) == counted + 1
    assert window.at(LENGTH // PANES * panes_later).count == 2 * counted + 1


@given(events, st.randoms(use_true_random=False))
def test_the_order_of_arrival_does_not_matter(added: list[tuple[int, int]], random: Random) -> None:
    shuffled = list(added)
    random.shuffle(shuffled)
    assert window_of(added).dump() == window_of(shuffled).dump()


@given(events, times)
def test_reading_changes_nothing(added: list[tuple[int, int]], wait: int) -> None:
    window = window_of(added)
    before = window.dump()
    window.at(max([time for time, _ in added], default=0) + wait)
    assert window.dump() == before


@given(events)
def test_memory_is_bounded_by_the_number_of_panes_and_the_spare_times(added: list[tuple[int, int]]) -> None:
    profile = Profile(ProfilePlan([LENGTH], [LENGTH], 0, PANES, 1))
    for time, value in added:
        profile.add_payment(time, value)
        profile.add_label(time, value % 2)
        assert max(len(profile.windows[0].kept), len(profile.risk[0].kept)) <= PANES + SPARE - 1
    assert len(profile.seen.times) <= SPARE


@given(events, times)
def test_a_restored_window_goes_on_as_if_nothing_had_happened(
    added: list[tuple[int, int]], time: int
) -> None:
    window, restored = window_of(added), Window(LENGTH, PANES)
    restored.restore(window.dump())
    for one in (window, restored):
        one.add(time, 7)
    assert restored.dump() == window.dump()
    assert (restored.count, restored.total, restored.squares) == (window.count, window.total, window.squares)


@given(st.lists(values, min_size=1, max_size=30))
def test_the_deviation_is_that_of_exact_arithmetic(added: list[int]) -> None:
    found = deviation(window_of([(0, value) for value in added]).at(0))
    expected = math.sqrt(statistics.pvariance([Fraction(value) for value in added]))
    assert math.isclose(found, expected, rel_tol=1e-12)


def test_deviations_survive_large_amounts_that_differ_little() -> None:
    found = deviation(window_of([(0, 10**15), (0, 10**15 + 2)]).at(0))
    assert found == 1.0


@given(
    st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 9)), max_size=40),
    st.randoms(use_true_random=False),
    st.integers(0, 1000),
)
def test_neighbours_keep_the_latest_ones_in_any_order(
    seen: list[tuple[int, int]], random: Random, since: int
) -> None:
    limit = 4
    latest = {other: max(time for time, one in seen if one == other) for _, other in seen}
    kept = sorted(latest.items(), key=lambda pair: (-pair[1], -pair[0]))[:limit]
    random.shuffle(seen)
    neighbours = Neighbours(limit)
    for time, other in seen:
        neighbours.add(time, other)
    assert neighbours.last_seen == dict(kept)
    assert neighbours.since(since) == sum(time > since for _, time in kept)


@given(st.lists(st.tuples(times, values, st.booleans()), max_size=60), times)
def test_what_is_taken_back_was_never_there(added: list[tuple[int, int, bool]], wait: int) -> None:
    window = window_of([(time, value) for time, value, _ in added])
    for time, value, back in added:
        if back:
            window.take_back(time, value)
    now = max([time for time, _, _ in added], default=0) + wait
    expected = recount([(time, value) for time, value, back in added if not back], now)
    aggregate = window.at(now)
    assert (aggregate.count, aggregate.total) == (len(expected), sum(expected))
    assert aggregate.squares == sum(value * value for value in expected)
    assert all(pane.count > 0 for pane in window.kept)
    restored = Window(LENGTH, PANES)
    restored.restore(window.dump())
    assert [(pane.count, pane.low, pane.high) for pane in restored.kept] == [
        (pane.count, pane.low, pane.high) for pane in window.kept
    ]


def test_a_million_of_the_largest_amounts_can_be_saved() -> None:
    window, restored = window_of([(0, 10**15), (0, -(10**15))]), Window(LENGTH, PANES)
    pane = window.kept[0]
    pane.count, pane.total, pane.squares = 10**6, 10**21, 10**36
    restored.restore(msgspec.msgpack.decode(msgspec.msgpack.encode(window.dump())))
    assert (restored.count, restored.total, restored.squares) == (10**6, 10**21, 10**36)
    pane.total = -(10**21)
    again = Window(LENGTH, PANES)
    again.restore(msgspec.msgpack.decode(msgspec.msgpack.encode(window.dump())))
    assert again.total == -(10**21)


def test_a_profile_of_another_layout_is_refused_with_what_to_do() -> None:
    profile = Profile(ProfilePlan([LENGTH], [LENGTH], 1, PANES, 2))
    before = profile.dump()[1:]
    with pytest.raises(ConfigError, match="saved by another version; make a new state file"):
        Profile(ProfilePlan([LENGTH], [LENGTH], 1, PANES, 2)).restore(before)
