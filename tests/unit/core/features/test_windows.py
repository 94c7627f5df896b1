from __future__ import annotations

import math
import statistics
from fractions import Fraction
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraud_detection.core.errors import ConfigError
from fraud_detection.core.features.distinct_ids import DistinctIds
from fraud_detection.core.features.extract import deviation
from fraud_detection.core.features.packed import Cursor
from fraud_detection.core.features.profile import SPARE, Profile, ProfilePlan
from fraud_detection.core.features.windows import Aggregate, Window

BUCKETS = 24
LENGTH = 24_000
# Every edge of a window is a multiple of a bucket away from something: most draws are near one.
times = st.integers(0, 4 * LENGTH) | st.builds(
    lambda bucket, off: max(bucket * (LENGTH // BUCKETS) + off, 0),
    st.integers(0, 4 * BUCKETS),
    st.integers(-1, 1),
)
values = st.integers(-(10**15), 10**15)
events = st.lists(st.tuples(times, values), max_size=60)


def recount(added: list[tuple[int, int]], now: int, until: int | None = None) -> list[int]:
    """Return the values that the documented rule puts in the window.

    They are in the bucket of now, in the 23 before it, or in those after it up to the bucket of `until`.
    """
    bucket = LENGTH // BUCKETS
    last = (now if until is None else until) // bucket
    return [value for time, value in added if now // bucket - BUCKETS < time // bucket <= last]


def window_of(added: list[tuple[int, int]]) -> Window:
    window = Window(LENGTH, BUCKETS)
    for time, value in added:
        window.add(time, value)
    return window


def restored_of(window: Window) -> Window:
    restored = Window(LENGTH, BUCKETS)
    restored.load_window(Cursor(window.packed_window(), 0))
    return restored


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
    assert len(window.copies()) <= len({time // (LENGTH // BUCKETS) for time, _ in before})
    assert all(bucket.number > forgotten // (LENGTH // BUCKETS) - BUCKETS for bucket in window.copies())
    for time, value in after:
        window.add(time, value)
    now = forgotten + wait
    assert window.at(now).total == sum(recount([*before, *after], now))


@pytest.mark.parametrize(("buckets_later", "counted"), [(BUCKETS - 1, 1), (BUCKETS, 0), (BUCKETS + 1, 0)])
@pytest.mark.parametrize("off", [0, LENGTH // BUCKETS - 1])
def test_a_bucket_counts_until_it_is_as_many_buckets_old_as_the_window_has(
    buckets_later: int, counted: int, off: int
) -> None:
    window = window_of([(off, 5), (LENGTH // BUCKETS * buckets_later, 7)])
    assert window.at(LENGTH // BUCKETS * buckets_later).count == counted + 1
    window.forget(LENGTH // BUCKETS * buckets_later)
    assert len(window.copies()) == counted + 1
    window.add(off, 5)
    assert len(window.copies()) == counted + 1
    assert window.at(LENGTH // BUCKETS * buckets_later).count == 2 * counted + 1


@given(events, st.randoms(use_true_random=False))
def test_the_order_of_arrival_does_not_matter(added: list[tuple[int, int]], random: Random) -> None:
    shuffled = list(added)
    random.shuffle(shuffled)
    assert window_of(added).packed_window() == window_of(shuffled).packed_window()


@given(events, times)
def test_reading_changes_nothing(added: list[tuple[int, int]], wait: int) -> None:
    window = window_of(added)
    before = window.packed_window()
    window.at(max([time for time, _ in added], default=0) + wait)
    assert window.packed_window() == before


@given(events)
def test_memory_is_bounded_by_the_number_of_buckets_and_the_spare_times(added: list[tuple[int, int]]) -> None:
    profile = Profile(ProfilePlan([LENGTH], [LENGTH], 0, BUCKETS, 1))
    for time, value in added:
        profile.add_payment(time, value)
        profile.add_label(time, value % 2)
        assert max(len(profile.windows[0].copies()), len(profile.risk[0].copies())) <= BUCKETS + SPARE - 1
    assert len(profile.payment_times.times) <= SPARE


@given(events, times)
def test_a_restored_window_goes_on_as_if_nothing_had_happened(
    added: list[tuple[int, int]], time: int
) -> None:
    window = window_of(added)
    restored = restored_of(window)
    for either in (window, restored):
        either.add(time, 7)
    assert restored.packed_window() == window.packed_window()
    assert (restored.count, restored.total, restored.squares) == (window.count, window.total, window.squares)


@given(st.lists(values, min_size=1, max_size=30))
def test_the_deviation_is_that_of_exact_arithmetic(added: list[int]) -> None:
    measured = deviation(window_of([(0, value) for value in added]).at(0))
    expected = math.sqrt(statistics.pvariance([Fraction(value) for value in added]))
    assert math.isclose(measured, expected, rel_tol=1e-12)


def test_deviations_survive_large_amounts_that_differ_little() -> None:
    measured = deviation(window_of([(0, 10**15), (0, 10**15 + 2)]).at(0))
    assert measured == 1.0


@given(
    st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 9)), max_size=40),
    st.randoms(use_true_random=False),
    st.integers(0, 1000),
)
def test_distinct_ids_keep_the_latest_ones_in_any_order(
    seen: list[tuple[int, int]], random: Random, since: int
) -> None:
    limit = 4
    latest = {key: max(time for time, seen_key in seen if seen_key == key) for _, key in seen}
    expected = sorted(latest.items(), key=lambda pair: (-pair[1], -pair[0]))[:limit]
    random.shuffle(seen)
    distinct_ids = DistinctIds(limit)
    for time, key in seen:
        distinct_ids.add(time, key)
        if random.random() < 0.3:
            content = distinct_ids.packed()
            distinct_ids = DistinctIds(limit)
            distinct_ids.load(Cursor(content, 0))
    # What was read before it is unpacked is the same as after.
    for _ in range(2):
        assert distinct_ids.since(since) == sum(time > since for _, time in expected)
        assert [key for key in range(10) if distinct_ids.knows(key)] == sorted(key for key, _ in expected)
        assert distinct_ids.times() == dict(expected)


@given(st.lists(st.tuples(times, values, st.booleans()), max_size=60), times)
def test_what_is_rolled_back_was_never_there(added: list[tuple[int, int, bool]], wait: int) -> None:
    window = window_of([(time, value) for time, value, _ in added])
    for time, value, back in added:
        if back:
            window.subtract(time, value)
    now = max([time for time, _, _ in added], default=0) + wait
    expected = recount([(time, value) for time, value, back in added if not back], now)
    aggregate = window.at(now)
    assert (aggregate.count, aggregate.total) == (len(expected), sum(expected))
    assert aggregate.squares == sum(value * value for value in expected)
    assert all(bucket.count > 0 for bucket in window.copies())
    restored = restored_of(window)
    assert [(bucket.count, bucket.low, bucket.high) for bucket in restored.copies()] == [
        (bucket.count, bucket.low, bucket.high) for bucket in window.copies()
    ]


def test_a_million_of_the_largest_amounts_can_be_saved() -> None:
    window = window_of([(0, 10**15), (0, -(10**15))])
    bucket = window.newest
    bucket.count, bucket.total, bucket.squares = 10**6, 10**21, 10**36
    for later in (0, 1):
        if later:
            # Packed among the older ones, not as the newest.
            window.append(bucket.number + 1, 0)
        restored = restored_of(window)
        assert (restored.count, restored.total, restored.squares) == (10**6 + later, 10**21, 10**36)
    window = window_of([(0, 10**15), (0, -(10**15))])
    window.newest.total = -(10**21)
    assert restored_of(window).total == -(10**21)


def test_a_profile_of_another_layout_is_refused_with_what_to_do() -> None:
    profile = Profile(ProfilePlan([LENGTH], [LENGTH], 1, BUCKETS, 2))
    for other in (b"\x90", b"\x97\x01" + profile.packed()[2:]):
        with pytest.raises(ConfigError, match="saved by another version; make a new state file"):
            Profile(ProfilePlan([LENGTH], [LENGTH], 1, BUCKETS, 2)).load(Cursor(other, 0))
