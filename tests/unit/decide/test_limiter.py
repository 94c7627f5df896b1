"""The limiter, against a recount of everything it was told."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fraud_detection.answering import LimiterSettings
from fraud_detection.decide.limiter import MOST_PARTS, PARTS, DeclineLimiter
from fraud_detection.strict import Duration

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


def test_what_is_kept_stays_bounded_however_the_times_jump() -> None:
    limiter = DeclineLimiter(settings())
    for place in range(5_000):
        limiter.note(place * 7_919 % 4_999 * MINUTE, declined=False)
    assert len(limiter._parts) == MOST_PARTS
