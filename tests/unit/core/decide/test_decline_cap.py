"""The decline cap, against a recount of everything it was told."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraud_detection.core.decide.decline_cap import BUCKETS, MAX_BUCKETS, DeclineCap
from fraud_detection.core.decision_settings import DeclineCapSettings
from fraud_detection.core.decoding import Duration

MINUTE = 60_000


def settings(share: float = 0.2, count: int | None = None, min_payments: int = 10) -> DeclineCapSettings:
    return DeclineCapSettings(
        interval=Duration.parse("1h"), share=share, count=count, min_payments=min_payments
    )


@given(
    st.lists(st.tuples(st.integers(0, 4 * 60), st.booleans()), max_size=300),
    st.sampled_from([0.0, 0.1, 0.5, 1.0]),
    st.none() | st.integers(1, 20),
    st.integers(1, 50),
)
def test_it_admits_what_a_recount_of_the_hour_before_each_payment_would(
    proposals: list[tuple[int, bool]], share: float, count: int | None, min_payments: int
) -> None:
    decline_cap = DeclineCap(settings(share, count, min_payments))
    decided: list[tuple[int, bool]] = []
    for minute, wanted in proposals:
        recent = [declined for at, declined in decided if minute - BUCKETS < at <= minute]
        declines = sum(recent)
        expected = declines + 1 <= share * max(len(recent) + 1, min_payments) and (
            count is None or declines < count
        )
        assert decline_cap.allows(minute * MINUTE) == expected
        declined = wanted and expected
        decline_cap.add(minute * MINUTE, declined=declined)
        decided.append((minute, declined))


@given(st.integers(1, 2_000), st.sampled_from([0.05, 0.2, 0.5]))
def test_where_everything_is_to_be_declined_the_share_holds_at_every_moment(many: int, share: float) -> None:
    decline_cap = DeclineCap(settings(share, min_payments=20))
    declined = 0
    for index in range(many):
        given_now = decline_cap.allows(index)
        decline_cap.add(index, declined=given_now)
        declined += given_now
        assert declined <= share * max(index + 1, 20)
    assert declined >= share * max(many, 20) - 1 or declined == many


@given(st.lists(st.tuples(st.integers(0, 999), st.integers(-400, 400)), max_size=20))
def test_clocks_that_are_wrong_by_days_free_nobody_else(wrong: list[tuple[int, int]]) -> None:
    decline_cap, strange = DeclineCap(settings(0.05, count=50, min_payments=1_000)), dict(wrong)
    declined = 0
    for index in range(1_000):
        now = 1_000 * MINUTE * 60 + index * 3_000
        if index in strange:
            decline_cap.add(now + strange[index] * 60 * MINUTE, declined=False)
        given_now = decline_cap.allows(now)
        decline_cap.add(now, declined=given_now)
        declined += given_now
    assert declined == 50


FAR = st.integers(2 * BUCKETS, 60 * 24 * 30)


@given(
    st.lists(st.lists(FAR | FAR.map(lambda far: -far), max_size=600), max_size=3),
    st.sampled_from([0.0, 0.05, 1.0]),
)
def test_payments_dated_far_from_now_free_nobody_however_many_they_are(
    far: list[list[int]], share: float
) -> None:
    decline_cap = DeclineCap(settings(max(share, 0.05), count=50, min_payments=1_000))
    now, declined = 1_000 * 60, 0
    for attack in [[], *far]:
        for at in attack:
            decline_cap.add(
                (now + at) * MINUTE, declined=share > 0 and decline_cap.allows((now + at) * MINUTE)
            )
        for _ in range(100):
            given_now = decline_cap.allows(now * MINUTE)
            decline_cap.add(now * MINUTE, declined=given_now)
            declined += given_now
        now += 10
    assert declined == 50
    assert len(decline_cap._buckets) <= MAX_BUCKETS


@pytest.mark.parametrize("step", [1, -1])
@pytest.mark.parametrize("intervals", [2, 8, 100])
def test_a_backlog_or_future_skew_in_each_minute_of_hours_frees_nobody(step: int, intervals: int) -> None:
    decline_cap = DeclineCap(settings(0.05, count=20, min_payments=100))
    declined = 0
    for begin in (0, 1_000):
        for second in range(begin, begin + 1_000):
            given_now = decline_cap.allows(second * 1_000)
            decline_cap.add(second * 1_000, declined=given_now)
            declined += given_now
        for minute in range(MAX_BUCKETS + 1):
            far = step * (intervals * BUCKETS + minute) * MINUTE
            decline_cap.add(far, declined=decline_cap.allows(far))
    assert declined == 20


def test_days_of_payments_are_counted_as_exactly_as_hours() -> None:
    decline_cap = DeclineCap(settings(0.05, min_payments=100))
    decided: list[tuple[int, bool]] = []
    chance, minute = random.Random(5), 0
    for _ in range(6_000):
        minute += chance.choice([0, 0, 0, 1, 1, 4]) if chance.random() > 0.001 else 300
        recent = [declined for at, declined in decided[-400:] if minute - BUCKETS < at <= minute]
        assert decline_cap.counted(minute * MINUTE) == (len(recent), sum(recent))
        declined = chance.random() < 0.04
        decline_cap.add(minute * MINUTE, declined=declined)
        decided.append((minute, declined))
    assert minute > 3 * MAX_BUCKETS


def test_what_is_kept_stays_bounded_however_the_times_jump() -> None:
    decline_cap = DeclineCap(settings())
    for index in range(5_000):
        decline_cap.add(index * 7_919 % 4_999 * MINUTE, declined=False)
    assert len(decline_cap._buckets) == MAX_BUCKETS
