"""Every store of profiles keeps the same promises; what one does not promise is declared here, and shown."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fraud_detection.adapters.aws.state.dynamodb_profiles import DynamoProfiles
from fraud_detection.adapters.aws.state.feature_store_profiles import FeatureStoreProfiles
from fraud_detection.adapters.aws.state.feature_store_schema import record_id
from fraud_detection.adapters.aws.state.routed_profiles import ORDERING, RoutedProfiles
from fraud_detection.adapters.aws.state.versioned_profiles import VersionedProfileStore
from fraud_detection.adapters.in_memory import MemoryStore
from fraud_detection.adapters.sqlite.state_file import StateFile
from fraud_detection.core.parse.values import MAX_ID_LENGTH
from fraud_detection.core.ports import ProfileKey, StateStore
from fraud_detection.testing.dynamodb_fake import FakeDynamo
from fraud_detection.testing.feature_store_fake import FakeFeatureStore
from tests.states import opened

ENTITIES = ["card", "merchant"]
SHARED = 1 - ORDERING
OF_SHARDS = {"dynamodb", "feature store", "routed"}
"""Stores that many processes use at the same time, and whose profiles know what each shard has given."""


class Traits(msgspec.Struct, frozen=True):
    """What a store promises beyond the port.

    lasts: what was saved outlives the process.  refuses: entities of which a save is refused that somebody
    else's save has write_conflicts.  shards: a profile comes with the number of this shard's last event.
    """

    lasts: bool = True
    refuses: frozenset[int] = frozenset()
    shards: bool = False


TRAITS = {
    "memory": Traits(lasts=False),
    "sqlite": Traits(),
    "dynamodb": Traits(refuses=frozenset({ORDERING, SHARED}), shards=True),
    "feature store": Traits(shards=True),
    "routed": Traits(refuses=frozenset({SHARED}), shards=True),
}
NAMES = list(TRAITS)


class StoreHarness:
    """Where profiles rest; `process` gives the store of a process that has just been started."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.path = name, folder / "state.db"
        self.dynamo = FakeDynamo()
        self.features = FakeFeatureStore([f"live-{entity}" for entity in ENTITIES])

    @contextmanager
    def process(self) -> Iterator[StateStore]:
        if self.name == "memory":
            yield MemoryStore()
        elif self.name == "sqlite":
            state_file = opened(self.path)
            try:
                yield InTransactions(state_file)
            finally:
                state_file.close()
        else:
            yield self.shard_store()

    def shard_store(self, shard: str = "shardId-000000000001") -> VersionedProfileStore:
        stores: dict[str, Callable[[], VersionedProfileStore]] = {
            "dynamodb": lambda: DynamoProfiles(self.dynamo, "profiles", ENTITIES),
            "feature store": lambda: FeatureStoreProfiles(self.features, "live", ENTITIES),
        }
        if self.name == "routed":
            store: VersionedProfileStore = RoutedProfiles(stores["feature store"](), stores["dynamodb"]())
        else:
            store = stores[self.name]()
        store.shard = shard
        return store


class InTransactions:
    """The SQLite file saves inside the caller's transaction."""

    def __init__(self, state_file: StateFile) -> None:
        self._state_file = state_file
        self.load = state_file.load

    def save(self, profiles: Mapping[ProfileKey, bytes]) -> set[ProfileKey]:
        with self._state_file.transaction():
            return self._state_file.save(profiles)


@pytest.fixture(params=NAMES)
def harness(request: pytest.FixtureRequest, tmp_path: Path) -> StoreHarness:
    return StoreHarness(request.param, tmp_path)


@pytest.fixture(params=sorted(OF_SHARDS))
def shards(request: pytest.FixtureRequest, tmp_path: Path) -> StoreHarness:
    return StoreHarness(request.param, tmp_path)


def profile(number: int, content: object) -> bytes:
    return msgspec.msgpack.encode([str(number), content])


def content(stored: bytes) -> object:
    return msgspec.msgpack.decode(stored)[1]


def number(stored: bytes) -> int:
    return int(msgspec.msgpack.decode(stored)[0])


ODD = [
    "",
    "#",
    "/",
    "card#1",
    "a/b?c=d&e",
    " x ",
    "ä€😀",
    "two\nlines",
    "\x00",
    "'; --",
    "%2F",
    "9" * MAX_ID_LENGTH,
]
ODD += [
    "😀" * MAX_ID_LENGTH,
    "#" * MAX_ID_LENGTH,
    "..",
    "\u2028",
    "a\u0301",
    "á",
    "A",
    "a",
    record_id("two\nlines"),
]
MAX_VALUE = 10**56 - 1


class TestEveryStore:
    def test_what_was_saved_is_loaded_to_the_byte(self, harness: StoreHarness) -> None:
        saved = {
            (entity, f"e{n}"): profile(n, [n, "x" * n, b"\x00\xff"]) for n in range(40) for entity in (0, 1)
        }
        with harness.process() as store:
            assert store.save(saved) == set()
            assert store.load(list(saved)) == saved

    def test_absent_keys_are_absent(self, harness: StoreHarness) -> None:
        with harness.process() as store:
            assert store.load([]) == {}
            assert store.save({}) == set()
            assert store.load([(0, "nobody"), (1, "nobody")]) == {}
            store.save({(0, "one"): profile(1, "x")})
            assert store.load([(1, "one"), (0, "one"), (0, "two")]).keys() == {(0, "one")}

    def test_ids_with_odd_characters_stay_apart(self, harness: StoreHarness) -> None:
        saved = {
            (entity, odd_id): profile(1, [entity, index])
            for index, odd_id in enumerate(ODD)
            for entity in (0, 1)
        }
        with harness.process() as store:
            store.save(saved)
            assert store.load(list(saved)) == saved

    @pytest.mark.parametrize("count", [1, 25, 26, 100, 101, 333])
    def test_any_number_of_keys_goes_at_once(self, harness: StoreHarness, count: int) -> None:
        saved = {(n % 2, f"e{n}"): profile(n, n) for n in range(count)}
        with harness.process() as store:
            store.save(saved)
            assert store.load([*saved, (0, "nobody")]) == saved

    def test_a_save_replaces_what_was_there(self, harness: StoreHarness) -> None:
        with harness.process() as store:
            for turn in range(5):
                store.load([(0, "one")])
                assert store.save({(0, "one"): profile(turn, turn)}) == set()
                assert store.load([(0, "one")]) == {(0, "one"): profile(turn, turn)}

    def test_the_largest_number_of_a_stream_survives(self, harness: StoreHarness) -> None:
        with harness.process() as store:
            store.save({(0, "one"): profile(MAX_VALUE, "x")})
            assert number(store.load([(0, "one")])[0, "one"]) == MAX_VALUE

    def test_a_new_process_finds_what_was_saved_where_the_store_lasts(self, harness: StoreHarness) -> None:
        saved = {(entity, odd_id): profile(7, odd_id) for odd_id in ODD for entity in (0, 1)}
        with harness.process() as store:
            store.save(saved)
        with harness.process() as store:
            assert store.load(list(saved)) == (saved if TRAITS[harness.name].lasts else {})


class TestStoresOfShards:
    def test_every_store_of_shards_is_here(self) -> None:
        assert {name for name, traits in TRAITS.items() if traits.shards} == OF_SHARDS

    @pytest.mark.parametrize("entity", [ORDERING, SHARED])
    def test_a_save_that_lost_a_write_conflict_is_refused_where_that_is_promised(
        self, shards: StoreHarness, entity: int
    ) -> None:
        key = (entity, "one")
        mine, theirs = shards.shard_store("a"), shards.shard_store("b")
        for turn in (1, 2):  # of a new profile, and of one that is there
            mine.load([key])
            theirs.load([key])
            assert theirs.save({key: profile(turn, f"theirs {turn}")}) == set()
            refused = mine.save({key: profile(turn, f"mine {turn}")})
            left = content(shards.shard_store("c").load([key])[key])
            if entity in TRAITS[shards.name].refuses:
                assert (refused, left) == ({key}, f"theirs {turn}")
            else:  # one writer is the condition: of two, one's update is gone without a word
                assert refused == set()
                assert left in {f"theirs {turn}", f"mine {turn}"}

    def test_a_refused_save_keeps_the_others_of_the_call(self, shards: StoreHarness) -> None:
        keys = [(SHARED, f"e{n}") for n in range(120)]
        mine, theirs = shards.shard_store("a"), shards.shard_store("b")
        assert mine.load(keys) == theirs.load(keys) == {}
        theirs.save({keys[3]: profile(1, "theirs"), keys[77]: profile(1, "theirs")})
        refused = mine.save({key: profile(1, "mine") for key in keys})
        promised = SHARED in TRAITS[shards.name].refuses
        assert refused == ({keys[3], keys[77]} if promised else set())
        left = shards.shard_store("c").load(keys)
        write_conflicts = {key for key in keys if content(left[key]) == "theirs"}
        assert write_conflicts == refused if promised else write_conflicts <= {keys[3], keys[77]}

    def test_each_shard_finds_its_own_number(self, shards: StoreHarness) -> None:
        key = (SHARED, "one")
        for shard, at in [("a", 5), ("b", 9), ("a", 6)]:
            store = shards.shard_store(shard)
            store.load([key])
            store.save({key: profile(at, "x")})
        numbers = {shard: number(shards.shard_store(shard).load([key])[key]) for shard in ("a", "b", "c")}
        assert numbers == {"a": 6, "b": 9, "c": 0}

    def test_the_version_counts_the_saves(self, shards: StoreHarness) -> None:
        for entity in (ORDERING, SHARED):
            key = (entity, "one")
            for saves in range(4):
                store = shards.shard_store()
                store.load([key])
                assert store.version(key) == saves
                store.save({key: profile(saves, "x")})
            store = shards.shard_store()
            store.load([key])
            store.forget()
            assert store.version(key) == 0


KEYS = st.tuples(
    st.sampled_from([ORDERING, SHARED]), st.one_of(st.sampled_from(ODD), st.text(max_size=MAX_ID_LENGTH))
)
CONTENTS = st.one_of(st.binary(max_size=300), st.lists(st.integers(-(2**63), 2**64 - 1), max_size=20))
TURNS = st.lists(
    st.dictionaries(KEYS, st.tuples(st.integers(0, MAX_VALUE), CONTENTS), max_size=8), min_size=1, max_size=4
)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=25, deadline=None)
@given(turns=TURNS)
def test_a_store_is_a_dictionary(name: str, turns: list[dict[ProfileKey, tuple[int, object]]]) -> None:
    """One writer that loads before it saves, started anew before every turn where the store lasts."""
    with tempfile.TemporaryDirectory() as folder:
        harness, expected = StoreHarness(name, Path(folder)), dict[ProfileKey, bytes]()
        for turn in turns:
            with harness.process() as store:
                if not TRAITS[name].lasts:
                    expected = {}
                assert store.load([*turn, *expected]) == expected
                saved = {key: profile(at, what) for key, (at, what) in turn.items()}
                assert store.save(saved) == set()
                expected |= saved
                assert store.load(list(expected)) == expected
