"""The limiter, against a recount of everything it was told."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraud_detection.core.decide.decline_cap import MAX_PARTS, PARTS, DeclineLimiter
from fraud_detection.core.decision_settings import LimiterSettings
from fraud_detection.core.decoding import Duration

MINUTE = 60_000


def settings(share: float = 0.2, count: int | None = None, least: int = 10) -> LimiterSettings:
    return LimiterSettings(interval=Duration.parse("1h"), share=share, count=count, least=least)


@given(
    st.lists(st.tuples(st.integers(0, 4 * 60), st.booleans()), max_size=300),
    st.sampled_from([0.0, 0.1, 0.5, 1.0]),
    st.none() | st.integers(1, 20),
    st.integers(1, 50),
)
def test_it_admits_what_a_recount_of_the_hour_before_each_payment_would(
    told: list[tuple[int, bool]], share: float, count: int | None, least: int
) -> None:
    limiter = DeclineLimiter(settings(share, count, least))
    kept: list[tuple[int, bool]] = []
    for minute, wanted in told:
        recent = [declined for at, declined in kept if minute - PARTS < at <= minute]
        declines = sum(recent)
        expected = declines + 1 <= share * max(len(recent) + 1, least) and (count is None or declines < count)
        assert limiter.admits(minute * MINUTE) == expected
        declined = wanted and expected
        limiter.note(minute * MINUTE, declined=declined)
        kept.append((minute, declined))


@given(st.integers(1, 2_000), st.sampled_from([0.05, 0.2, 0.5]))
def test_where_everything_is_to_be_declined_the_share_holds_at_every_moment(many: int, share: float) -> None:
    limiter = DeclineLimiter(settings(share, least=20))
    declined = 0
    for place in range(many):
        given_now = limiter.admits(place)
        limiter.note(place, declined=given_now)
        declined += given_now
        assert declined <= share * max(place + 1, 20)
    assert declined >= share * max(many, 20) - 1 or declined == many


@given(st.lists(st.tuples(st.integers(0, 999), st.integers(-400, 400)), max_size=20))
def test_clocks_that_are_wrong_by_days_free_nobody_else(wrong: list[tuple[int, int]]) -> None:
    limiter, strange = DeclineLimiter(settings(0.05, count=50, least=1_000)), dict(wrong)
    declined = 0
    for place in range(1_000):
        now = 1_000 * MINUTE * 60 + place * 3_000
        if place in strange:
            limiter.note(now + strange[place] * 60 * MINUTE, declined=False)
        given_now = limiter.admits(now)
        limiter.note(now, declined=given_now)
        declined += given_now
    assert declined == 50


FAR = st.integers(2 * PARTS, 60 * 24 * 30)


@given(
    st.lists(st.lists(FAR | FAR.map(lambda far: -far), max_size=600), max_size=3),
    st.sampled_from([0.0, 0.05, 1.0]),
)
def test_payments_dated_far_from_now_free_nobody_however_many_they_are(
    far: list[list[int]], share: float
) -> None:
    limiter = DeclineLimiter(settings(max(share, 0.05), count=50, least=1_000))
    now, declined = 1_000 * 60, 0
    for attack in [[], *far]:
        for at in attack:
            limiter.note((now + at) * MINUTE, declined=share > 0 and limiter.admits((now + at) * MINUTE))
        for _ in range(100):
            given_now = limiter.admits(now * MINUTE)
            limiter.note(now * MINUTE, declined=given_now)
            declined += given_now
        now += 10
    assert declined == 50
    assert len(limiter._parts) <= MAX_PARTS


@pytest.mark.parametrize("step", [1, -1])
@pytest.mark.parametrize("away", [2, 8, 100])
def test_a_backlog_or_clocks_ahead_in_each_minute_of_hours_free_nobody(step: int, away: int) -> None:
    limiter = DeclineLimiter(settings(0.05, count=20, least=100))
    declined = 0
    for begin in (0, 1_000):
        for second in range(begin, begin + 1_000):
            given_now = limiter.admits(second * 1_000)
            limiter.note(second * 1_000, declined=given_now)
            declined += given_now
        for minute in range(MAX_PARTS + 1):
            far = step * (away * PARTS + minute) * MINUTE
            limiter.note(far, declined=limiter.admits(far))
    assert declined == 20


def test_days_of_payments_are_counted_as_exactly_as_hours() -> None:
    limiter = DeclineLimiter(settings(0.05, least=100))
    kept: list[tuple[int, bool]] = []
    chance, minute = random.Random(5), 0
    for _ in range(6_000):
        minute += chance.choice([0, 0, 0, 1, 1, 4]) if chance.random() > 0.001 else 300
        recent = [declined for at, declined in kept[-400:] if minute - PARTS < at <= minute]
        assert limiter.counted(minute * MINUTE) == (len(recent), sum(recent))
        declined = chance.random() < 0.04
        limiter.note(minute * MINUTE, declined=declined)
        kept.append((minute, declined))
    assert minute > 3 * MAX_PARTS


def test_what_is_kept_stays_bounded_however_the_times_jump() -> None:
    limiter = DeclineLimiter(settings())
    for place in range(5_000):
        limiter.note(place * 7_919 % 4_999 * MINUTE, declined=False)
    assert len(limiter._parts) == MAX_PARTS
