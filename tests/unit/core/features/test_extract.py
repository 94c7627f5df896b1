from __future__ import annotations

import math
import statistics
from fractions import Fraction
from random import Random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fraud_detection.adapters.in_memory import MemoryStore
from fraud_detection.core.errors import ConfigError
from fraud_detection.core.events import Transaction
from fraud_detection.core.features.extract import Extractor
from fraud_detection.core.features.geography import distance_km
from fraud_detection.core.features.profile_cache import PROFILE_MEMORY_BYTES, ProfileCache
from fraud_detection.core.ports import StateStore
from fraud_detection.core.project_schema import FieldSource
from tests.unit.core.features.sample_payments import DAY, HOUR, PROJECT, START, payment, streams

CATEGORY_ENCODING = {"channel": {"web": 0.75, "shop": 0.25}}
ROOMY = msgspec.structs.replace(
    PROJECT, features=msgspec.structs.replace(PROJECT.features, max_distinct_ids=64)
)
WINDOWS = {"1h": HOUR, "1d": DAY, "30d": 30 * DAY}


def profile_cache(store: StateStore | None = None, max_bytes: int = PROFILE_MEMORY_BYTES) -> ProfileCache:
    return ProfileCache(Extractor(PROJECT, CATEGORY_ENCODING), store, max_bytes)


def named(values: list[float]) -> dict[str, float]:
    names = [feature.name for feature in Extractor(PROJECT, CATEGORY_ENCODING).definitions]
    return dict(zip(names, values, strict=True))


def same(left: list[float], right: list[float]) -> bool:
    return list(map(repr, left)) == list(map(repr, right))


def in_window(earlier: list[Transaction], entity: int, transaction: Transaction, length: int) -> list[int]:
    """Recount by the documented rule: what is up to a day later counts, and what is forgotten does not."""
    own = [p for p in earlier if p.entities[entity] == transaction.entities[entity]]
    bucket, now = length // 24, transaction.event_time
    settled = sorted(p.event_time for p in own)[-4] if len(own) >= 4 else 0
    first = max(now, settled) // bucket - 24
    return [p.amount or 0 for p in own if first < p.event_time // bucket <= (now + DAY) // bucket]


@settings(deadline=None)
@given(streams())
def test_every_window_feature_equals_a_naive_recount(stream: list[Transaction]) -> None:
    engine = profile_cache()
    for position, transaction in enumerate(stream):
        row = named(engine.extract_and_update(transaction))
        for name, length in WINDOWS.items():
            check_card_window(row, name, in_window(stream[:position], 0, transaction, length), transaction)


@settings(deadline=None)
@given(streams())
def test_others_are_counted_over_the_same_payments_as_the_window(stream: list[Transaction]) -> None:
    engine = ProfileCache(Extractor(ROOMY, CATEGORY_ENCODING))
    for position, transaction in enumerate(stream):
        row = named(engine.extract_and_update(transaction))
        if transaction.entities[0] is None:
            continue
        for name, length in (("1d", DAY), ("30d", 30 * DAY)):
            bucket = length // 24
            others = {
                p.entities[1]
                for p in stream[:position]
                if p.entities[0] == transaction.entities[0]
                and p.event_time // bucket > transaction.event_time // bucket - 24
            }
            assert row[f"card_merchant_distinct_{name}"] == len(others - {None})


def check_card_window(
    row: dict[str, float], window: str, expected: list[int], transaction: Transaction
) -> None:
    if transaction.entities[0] is None:
        assert math.isnan(row[f"card_count_{window}"])
        return
    assert row[f"card_count_{window}"] == len(expected)
    assert row[f"card_amount_sum_{window}"] == sum(expected) / 100
    if not expected:
        assert math.isnan(row[f"card_amount_mean_{window}"])
        return
    mean = float(Fraction(sum(expected), len(expected) * 100))
    deviation = math.sqrt(statistics.pvariance([Fraction(value, 100) for value in expected]))
    assert row[f"card_amount_min_{window}"] == min(expected) / 100
    assert row[f"card_amount_max_{window}"] == max(expected) / 100
    assert row[f"card_amount_mean_{window}"] == pytest.approx(mean)
    assert row[f"card_amount_std_{window}"] == pytest.approx(deviation)


@settings(deadline=None)
@given(streams(), st.randoms(use_true_random=False))
def test_profiles_do_not_depend_on_the_order_of_arrival(stream: list[Transaction], random: Random) -> None:
    shuffled = list(stream)
    random.shuffle(shuffled)
    rows = []
    for order in (stream, shuffled):
        engine = profile_cache()
        for transaction in order:
            engine.extract_and_update(transaction)
        probe = payment(999, START + 41 * DAY, 100, "a", "m")
        rows.append(engine.extract_and_update(probe))
    assert same(*rows)


@settings(deadline=None)
@given(streams(), st.integers(1, 5))
def test_a_state_that_is_saved_dropped_and_loaded_gives_the_same_rows(
    stream: list[Transaction], every: int
) -> None:
    steady, store = profile_cache(), MemoryStore()
    restless = profile_cache(store=store)
    for number, transaction in enumerate(stream):
        if number % every == 0:
            restless.save_all()
            restless = profile_cache(store=store)
        assert same(restless.extract_and_update(transaction), steady.extract_and_update(transaction))


@settings(deadline=None)
@given(streams())
def test_a_memory_without_room_gives_the_same_rows(stream: list[Transaction]) -> None:
    steady, cramped = profile_cache(), profile_cache(store=MemoryStore(), max_bytes=0)
    for transaction in stream:
        assert same(cramped.extract_and_update(transaction), steady.extract_and_update(transaction))
        cramped.save_all()
        assert cramped.size() == 0


def test_a_payment_does_not_see_itself() -> None:
    row = named(profile_cache().extract_and_update(payment(1, START, 500)))
    assert row["card_count_1h"] == 0
    assert row["card_merchant_first_seen"] == 1
    assert math.isnan(row["card_seconds_since_last"])


def test_the_second_payment_sees_the_first() -> None:
    engine = profile_cache()
    engine.extract_and_update(payment(1, START, 500))
    row = named(engine.extract_and_update(payment(2, START + 60_000, 1500)))
    assert row["card_count_1h"] == 1
    assert row["card_amount_ratio_1h"] == 3.0
    assert row["card_seconds_since_last"] == 60
    assert row["card_merchant_first_seen"] == 0
    assert row["card_merchant_distinct_1d"] == 1


def test_a_missing_entity_is_missing_and_not_a_new_one() -> None:
    engine = profile_cache()
    for number in range(3):
        row = named(engine.extract_and_update(payment(number, START + number, 100, card=None, merchant=None)))
        assert all(math.isnan(value) for name, value in row.items() if name.startswith(("card", "merchant")))
    assert engine.size() == 0


def test_a_label_counts_from_the_moment_it_became_known() -> None:
    engine = profile_cache()
    engine.extract_and_update(payment(1, START, 500))
    before = named(engine.extract_and_update(payment(2, START + 2 * DAY, 500)))
    engine.apply_label(("c", "m"), START + 3 * DAY, fraud=True)
    engine.apply_label(("c", "m"), START + 3 * DAY, fraud=False)
    after = named(engine.extract_and_update(payment(3, START + 3 * DAY + HOUR, 500)))
    later = named(engine.extract_and_update(payment(4, START + 5 * DAY, 500)))
    assert (before["card_fraud_count_1d"], after["card_fraud_count_1d"], later["card_fraud_count_1d"]) == (
        0,
        1,
        0,
    )
    assert math.isnan(before["card_fraud_rate_30d"])
    assert after["card_fraud_rate_30d"] == later["merchant_fraud_rate_30d"] == 0.5


def test_a_late_payment_is_seen_with_what_its_card_has_done_meanwhile() -> None:
    engine = profile_cache()
    engine.extract_and_update(payment(1, START + 10 * DAY, 500))
    late = named(engine.extract_and_update(payment(2, START + 9 * DAY + HOUR, 700)))
    assert (late["card_count_1h"], late["card_seconds_since_last"]) == (1, 0)
    after = named(engine.extract_and_update(payment(3, START + 10 * DAY, 500)))
    assert (after["card_count_1h"], after["card_count_30d"], after["card_amount_sum_30d"]) == (1, 2, 12.0)


@pytest.mark.parametrize("future_payments", [1, 2, 3])
def test_a_few_payments_and_labels_from_the_far_future_blind_nobody(future_payments: int) -> None:
    engine, clean = profile_cache(), profile_cache()
    for number in range(future_payments):
        future = START + (20_000 + 40 * number) * DAY
        engine.extract_and_update(payment(900 + number, future, 100_000))
        engine.apply_label(("c", "m"), future, fraud=True)
    for number in range(8):
        probe = payment(number, START + number * 60_000, 100)
        known_at = START + number * 60_000
        for each in (engine, clean):
            each.apply_label(("c", "m"), known_at, fraud=number % 2 == 0)
        row, expected = engine.extract_and_update(probe), clean.extract_and_update(probe)
        names = [name for name in named(row) if "merchant" not in name or "fraud" in name]
        assert same([named(row)[name] for name in names], [named(expected)[name] for name in names])


def test_speed_is_distance_over_time_since_the_last_place() -> None:
    engine = profile_cache()
    engine.extract_and_update(payment(10, START, 500))
    row = named(engine.extract_and_update(payment(20, START + 2 * HOUR, 500)))
    assert row["card_speed_kmh"] == pytest.approx(distance_km(10, 10, 20, 20) / 2)


def test_categories_have_a_code_and_a_frequency_and_new_ones_are_unknown() -> None:
    engine = profile_cache()
    known = named(engine.extract_and_update(payment(1, START, 500)))
    new = Transaction("t", START, 5, ("c", "m"), (), ("fax",))
    missing = Transaction("t", START, 5, ("c", "m"), (), (None,))
    assert (known["channel_code"], known["channel_frequency"]) == (0, 0.75)
    assert named(engine.extract_and_update(new))["channel_code"] == -1
    assert math.isnan(named(engine.extract_and_update(missing))["channel_code"])


def test_the_calendar_follows_the_event() -> None:
    row = named(profile_cache().extract_and_update(payment(1, START + 23 * HOUR, 500)))
    assert (row["hour"], row["weekday"], row["is_night"]) == (23, 3, 1)


def test_no_two_features_share_a_name() -> None:
    names = [feature.name for feature in Extractor(PROJECT, CATEGORY_ENCODING).definitions]
    assert len(set(names)) == len(names)


def test_an_attribute_named_like_a_feature_is_refused() -> None:
    numbers = {"hour": FieldSource(field="h")}
    project = msgspec.structs.replace(
        PROJECT, schema=msgspec.structs.replace(PROJECT.schema, numbers=numbers)
    )
    with pytest.raises(ConfigError, match="two features would be called `hour`"):
        Extractor(project, {})
