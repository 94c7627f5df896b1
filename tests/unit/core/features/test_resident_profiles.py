"""A profile is the same as an object and as bytes, whatever is encoded, evicted, saved and loaded when."""

from __future__ import annotations

import gc
import time
import tracemalloc
from array import array
from collections.abc import Sequence
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fraud_detection.adapters.in_memory import MemoryStore
from fraud_detection.core.events import Transaction
from fraud_detection.core.features.extract import Extractor
from fraud_detection.core.features.profile import Profile, ProfilePlan
from fraud_detection.core.features.profile_cache import PROFILE_MEMORY_BYTES, Ids, ProfileCache
from fraud_detection.core.features.profile_codec import decode_profile, encode_profile, saved_later
from tests.unit.core.features.sample_payments import DAY, HOUR, PROJECT, START, payment

EXTRACTOR = Extractor(PROJECT, {})
MERCHANT = 1
BOUNDS = (0, 2_000, 40_000, 200_000, PROFILE_MEMORY_BYTES)
"""In bytes: nothing may stay, some may stay as bytes, some as objects, all of it."""
NOTHING_STAYS = 0


class PlainProfiles:
    """Profiles as objects in a dictionary, never encoded and never evicted: what a cache is compared with."""

    def __init__(self) -> None:
        self.known: dict[tuple[int, str], Profile] = {}

    def of(self, ids: Ids) -> list[Profile | None]:
        found: list[Profile | None] = []
        for entity in EXTRACTOR.entities:
            one = ids[entity.index]
            key = (entity.index, one or "")
            found.append(None if one is None else self.known.setdefault(key, Profile(entity.plan)))
        return found

    def extract_and_update(self, payment: Transaction) -> list[float]:
        profiles = self.of(payment.entities)
        row = EXTRACTOR.extract(profiles, payment)
        EXTRACTOR.update(profiles, payment)
        return row


class Service:
    """A cache over a store as a service has it: events are logged, and reapplied after a restart."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes, self.store = max_bytes, MemoryStore()
        self.log: list[Transaction | tuple[Ids, int, bool, int | None]] = []
        self.cache = ProfileCache(EXTRACTOR, self.store, max_bytes)

    def pay(self, payment: Transaction) -> list[float]:
        self.log.append(payment)
        self.cache.sequence = len(self.log)
        return self.cache.extract_and_update(payment)

    def label(self, label: tuple[Ids, int, bool, int | None]) -> None:
        self.log.append(label)
        self.cache.sequence = len(self.log)
        ids, known_at, fraud, supersedes_known_at = label
        self.cache.apply_label(ids, known_at, fraud=fraud, supersedes_known_at=supersedes_known_at)

    def restart(self) -> None:
        """Lose what is in memory, and reapply what the store had not seen."""
        first = self.cache.oldest_unsaved_seq()
        self.cache = ProfileCache(EXTRACTOR, self.store, self.max_bytes)
        for number in range(first, len(self.log) + 1):
            event = self.log[number - 1]
            self.cache.sequence = number
            if isinstance(event, Transaction):
                self.cache.reapply_payment(event)
            else:
                ids, known_at, fraud, supersedes_known_at = event
                self.cache.reapply_label(ids, known_at, fraud=fraud, supersedes_known_at=supersedes_known_at)


def bits(row: Sequence[float]) -> bytes:
    return array("d", row).tobytes()


PAYMENT, LABEL, CORRECTION, SAVE, SAVE_SOME, RESTART = range(6)


@st.composite
def histories(draw: st.DrawFn) -> list[tuple[int, int, int, int, int]]:
    """Draw what happens: its kind, when in event time, an amount, and which card and merchant."""
    return draw(
        st.lists(
            st.tuples(
                st.sampled_from([PAYMENT, PAYMENT, PAYMENT, LABEL, CORRECTION, SAVE, SAVE_SOME, RESTART]),
                st.integers(0, 40 * DAY) | st.integers(0, 2 * HOUR),
                st.integers(-500, 10**15),
                st.integers(0, 5),
                st.integers(0, 3),
            ),
            max_size=60,
        )
    )


@settings(deadline=None)
@given(histories(), st.sampled_from(BOUNDS))
def test_values_are_those_of_plain_profiles_however_little_memory_there_is(
    history: list[tuple[int, int, int, int, int]], max_bytes: int
) -> None:
    check_history(history, max_bytes)


@pytest.mark.parametrize("max_bytes", BOUNDS)
def test_values_are_those_of_plain_profiles_in_a_long_history(max_bytes: int) -> None:
    random, kinds = Random(7), [PAYMENT] * 20 + [LABEL] * 4 + [CORRECTION, SAVE_SOME, SAVE_SOME, RESTART]
    check_history(
        [
            (
                random.choice(kinds),
                number * HOUR // 4 - random.choice([0, 0, 0, HOUR, 3 * DAY]),
                random.randrange(10**6),
                int(random.paretovariate(0.7)) % 40,
                int(random.paretovariate(0.7)) % 12,
            )
            for number in range(3_000)
        ],
        max_bytes,
    )


def check_history(history: list[tuple[int, int, int, int, int]], max_bytes: int) -> None:
    """Let a service and plain profiles take the same events, and compare every value and profile."""
    plain, service = PlainProfiles(), Service(max_bytes)
    labels: list[tuple[Ids, int, bool]] = []
    for number, (kind, time_ms, amount, card, merchant) in enumerate(history):
        ids: Ids = (f"c{card}", f"m{merchant}")
        if kind == PAYMENT:
            paid = payment(number, START + time_ms, amount, *ids)
            assert bits(service.pay(paid)) == bits(plain.extract_and_update(paid))
        elif kind == LABEL:
            labels.append((ids, START + time_ms, amount % 2 == 0))
            take_label(plain, service, (*labels[-1], None))
        elif kind == CORRECTION and labels:
            # The other verdict, no earlier than the one that it supersedes.
            corrected, known_at, fraud = labels.pop()
            take_label(plain, service, (corrected, known_at + time_ms, not fraud, known_at))
        elif kind == SAVE:
            service.cache.save_all()
        elif kind == SAVE_SOME:
            service.cache.save_changed_before(service.cache.sequence - amount % 9, 2)
        elif kind == RESTART:
            service.restart()
        assert_within_bound(service.cache)
    assert_same_profiles(service.cache, plain)


def assert_same_profiles(cache: ProfileCache, plain: PlainProfiles) -> None:
    for slot, entity in enumerate(EXTRACTOR.entities):
        for (index, one), profile in plain.known.items():
            if index == entity.index:
                found = cache.profile(slot, (one, one))
                assert found is not None
                assert encode_profile(found, 0) == encode_profile(profile, 0)


def take_label(plain: PlainProfiles, service: Service, label: tuple[Ids, int, bool, int | None]) -> None:
    ids, known_at, fraud, supersedes_known_at = label
    service.label(label)
    EXTRACTOR.apply_label(plain.of(ids), known_at, fraud=fraud, supersedes_known_at=supersedes_known_at)


def assert_within_bound(cache: ProfileCache) -> None:
    """Check the counts of bytes by the profiles themselves."""
    for profiles in cache.resident.entities:
        objects = [held for held in profiles.profiles.values() if isinstance(held, Profile)]
        assert profiles.decoded_bytes == sum(profile.counted_bytes for profile in objects)
        assert (profiles.encoded_bytes > 0) == (len(objects) < len(profiles.profiles))
    # Those of the latest event come on top, until the next one makes room.
    latest = sum(max(sizes, default=0) for sizes in object_sizes(cache))
    assert cache.resident.decoded_bytes() <= cache.resident.max_decoded_bytes + latest


def object_sizes(cache: ProfileCache) -> list[list[int]]:
    return [
        [held.counted_bytes for held in profiles.profiles.values() if isinstance(held, Profile)]
        for profiles in cache.resident.entities
    ]


def test_events_that_share_a_number_are_all_applied_by_a_profile_that_is_encoded_between_them() -> None:
    cache = ProfileCache(EXTRACTOR, MemoryStore(), NOTHING_STAYS)
    shared_extractor = Extractor(PROJECT, {})
    shared_extractor.entities = [EXTRACTOR.entities[MERCHANT]]
    shared = cache.part(shared_extractor, [MERCHANT])
    cache.sequence = shared.sequence = 7
    for number in range(3):
        # As a worker replicates a part of another's log, which has one number in its own.
        shared.reapply_payment(payment(number, START + number, 100, "c", "m"))
        shared.reapply_payment(payment(number, START + number, 100, "c", f"m{number}"))
    found = cache.profile(MERCHANT, ("c", "m"))
    assert found is not None
    assert found.windows[0].count == 3


def test_the_oldest_saved_profiles_make_room_and_what_is_unsaved_stays() -> None:
    engine = ProfileCache(EXTRACTOR, MemoryStore(), NOTHING_STAYS)
    for number in range(20):
        engine.sequence = number
        engine.extract_and_update(payment(number, START + number, 5, card=f"c{number}"))
    # Half is saved; the later half has still to be.
    engine.save_changed_before(10)
    assert (engine.size(), engine.oldest_unsaved_seq()) == (10, 10)
    assert set(engine.profiles[0].profiles) == {f"c{number}" for number in range(10, 20)}
    engine.resident.limit(engine.resident.total_bytes() // 2)
    engine.save_all()
    assert 0 < engine.size() < 10
    assert engine.resident.total_bytes() <= engine.resident.max_bytes
    assert engine.oldest_unsaved_seq() == engine.sequence + 1


def test_what_is_used_again_and_again_stays_an_object() -> None:
    engine = ProfileCache(EXTRACTOR, None, 16 * 40_000)
    for number in range(300):
        engine.extract_and_update(payment(number, START + number, 5, card=f"c{number}", merchant="m"))
    objects = {one for one, held in engine.profiles[0].profiles.items() if isinstance(held, Profile)}
    assert 0 < len(objects) < 40
    assert isinstance(engine.profiles[MERCHANT].profiles["m"], Profile)


def test_saving_behind_costs_the_same_however_much_was_saved_before() -> None:
    engine = ProfileCache(EXTRACTOR, MemoryStore(), 100_000)

    def seconds(numbers: range) -> float:
        began = time.process_time()
        for number in numbers:
            engine.sequence = number
            engine.extract_and_update(payment(number, START + number, 5, card=f"c{number}"))
            engine.save_changed_before(number - 1_000, 4)
            engine.oldest_unsaved_seq()
        return time.process_time() - began

    seconds(range(1_500))
    first, later = seconds(range(1_500, 2_500)), seconds(range(2_500, 12_500))
    # What is passed over again and again would make it tens of times as much.
    assert later / 10 < 4 * first


def test_a_profile_is_counted_as_what_it_takes_in_memory() -> None:
    hour, day = HOUR, DAY
    plan = ProfilePlan([hour, day, 7 * day, 30 * day], [7 * day, 30 * day], 1, 24, 64)
    random = Random(1)
    contents = []
    for _ in range(50):
        profile = Profile(plan)
        for _ in range(100):
            at = START + random.randrange(90 * day)
            profile.add_payment(at, random.randrange(10**6))
            profile.add_label(at, 0)
            profile.distinct_ids[0].add(at, random.randrange(1 << 32))
        contents.append(encode_profile(profile, 1))
    gc.collect()
    tracemalloc.start()
    profiles = [decode_profile(plan, content) for content in contents]
    # What was loaded stays with the object.
    taken = tracemalloc.get_traced_memory()[0] + sum(map(len, contents))
    tracemalloc.stop()
    assert 0.9 < sum(profile.memory_bytes() for profile in profiles) / taken < 1.5


def test_a_profile_saved_later_says_so_and_holds_the_same() -> None:
    entity = EXTRACTOR.entities[0]
    profile = Profile(entity.plan)
    profile.add_payment(START, 5)
    for number in (0, 300, (1 << 63) + 5):
        content = encode_profile(profile, number)
        assert saved_later(content, 77) == encode_profile(profile, 77)
        assert saved_later(encode_profile(profile, 77), number) == content
        assert decode_profile(entity.plan, content).saved_at == number
