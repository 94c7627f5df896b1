"""Replay against a naive recount: a label counts from the moment at which it was known, and never before."""

from __future__ import annotations

import math

from hypothesis import given, settings
from hypothesis import strategies as st

from fraud_detection.core.features.extract import Extractor
from fraud_detection.core.features.profile_cache import ProfileCache
from fraud_detection.core.features.replay import HistoricalPayment, Replay
from tests.unit.core.features.sample_payments import DAY, HOUR, PROJECT, START, payment

Rows = list[tuple[int, int, bool | None, str]]
random_rows = st.lists(
    st.tuples(
        st.integers(0, 20 * 24),
        st.integers(0, 20 * 24),
        st.sampled_from([True, False, None]),
        st.sampled_from(["a", "b"]),
    ),
    max_size=25,
)


def history(rows: Rows) -> list[HistoricalPayment]:
    """Return payments in order of time; each label becomes known some hours after its payment."""
    historical_payments = [
        HistoricalPayment(payment(n, START + hour * HOUR, 100, card), fraud, START + (hour + later) * HOUR)
        for n, (hour, later, fraud, card) in enumerate(rows)
    ]
    return sorted(historical_payments, key=lambda historical: historical.payment.event_time)


def bucket(time_ms: int) -> int:
    return time_ms // (30 * DAY // 24)


@settings(deadline=None)
@given(random_rows)
def test_a_label_counts_only_from_the_moment_it_was_known(rows: Rows) -> None:
    historical_payments = history(rows)
    replay = Replay(ProfileCache(Extractor(PROJECT, {})))
    names = [feature.name for feature in replay.profile_cache.extractor.definitions]
    for position, values in enumerate(replay.rows(historical_payments)):
        row, current = dict(zip(names, values, strict=True)), historical_payments[position].payment
        verdicts = [
            earlier.fraud
            for earlier in historical_payments[:position]
            if earlier.fraud is not None
            and earlier.known_at <= current.event_time
            and earlier.payment.entities[0] == current.entities[0]
            and bucket(earlier.known_at) > bucket(current.event_time) - 24
        ]
        assert row["card_fraud_count_30d"] == sum(verdicts)
        rate = row["card_fraud_rate_30d"]
        assert math.isnan(rate) if not verdicts else rate == sum(verdicts) / len(verdicts)


@given(random_rows)
def test_what_was_not_known_by_the_end_is_still_due(rows: Rows) -> None:
    historical_payments = history(rows)
    replay = Replay(ProfileCache(Extractor(PROJECT, {})))
    list(replay.rows(historical_payments))
    end = historical_payments[-1].payment.event_time if historical_payments else 0
    known_before = {
        historical.payment.transaction_id
        for historical in historical_payments[:-1]
        if historical.fraud is not None and historical.known_at <= end
    }
    labelled = {
        historical.payment.transaction_id
        for historical in historical_payments
        if historical.fraud is not None
    }
    pending = replay.still_pending()
    assert {label.transaction_id for label in pending} == labelled - known_before
    assert [label.known_at for label in pending] == sorted(
        (label.known_at for label in pending), reverse=True
    )
