"""All profiles of a stream: kept in memory, resting in a StateStore, saved at checkpoints.

Between two checkpoints changed profiles live only here; the owner keeps the events since
the last checkpoint and feeds them again after a restart.
"""

from __future__ import annotations

import msgspec

from fraud_detection.events import Transaction
from fraud_detection.features.extract import Extractor
from fraud_detection.features.profile import Profile
from fraud_detection.ports import StateStore

Ids = tuple[str | None, ...]


class FeatureMemory:
    """Makes the feature rows of a stream, payment by payment.

    capacity: how many profiles stay in memory after a checkpoint; without a store all do.
    """

    def __init__(
        self, extractor: Extractor, store: StateStore | None = None, capacity: int = 2_000_000
    ) -> None:
        """Start with what the store holds."""
        self.extractor: Extractor = extractor
        self.store: StateStore | None = store
        self.capacity: int = capacity
        self.indexes: list[int] = [entity.index for entity in extractor.entities]
        self.cached: list[dict[str, Profile]] = [{} for _ in extractor.entities]
        self.changed: list[set[str]] = [set() for _ in extractor.entities]

    def prefetch(self, payments: list[Ids]) -> None:
        """Bring the profiles of all these entity tuples into memory, with one load."""
        store = self.store
        if store is None:
            return
        absent: dict[tuple[int, str], int] = {}
        for ids in payments:
            for slot, index in enumerate(self.indexes):
                entity_id = ids[index]
                if entity_id is not None and entity_id not in self.cached[slot]:
                    absent[(index, entity_id)] = slot
        if not absent:
            return
        found = store.load(list(absent))
        for key, slot in absent.items():
            profile = Profile(self.extractor.entities[slot].plan)
            content = found.get(key)
            if content is not None:
                profile.restore(msgspec.msgpack.decode(content))
            self.cached[slot][key[1]] = profile

    def observe(self, payment: Transaction) -> list[float]:
        """Return the features of the payment, then remember it."""
        profiles = self._profiles(payment.entities)
        row = self.extractor.extract(profiles, payment)
        self.extractor.update(profiles, payment)
        return row

    def remember(self, payment: Transaction) -> None:
        """Remember the payment without reading its features."""
        self.extractor.update(self._profiles(payment.entities), payment)

    def learn(self, ids: Ids, known_at: int, *, fraud: bool) -> None:
        """Remember a label of a payment with these entities, at the moment it became known."""
        self.extractor.learn(self._profiles(ids), known_at, fraud=fraud)

    def checkpoint(self) -> int:
        """Save every changed profile and return how many there were."""
        store = self.store
        if store is None:
            return 0
        saved: dict[tuple[int, str], bytes] = {}
        for slot, index in enumerate(self.indexes):
            cached = self.cached[slot]
            for entity_id in self.changed[slot]:
                saved[(index, entity_id)] = msgspec.msgpack.encode(cached[entity_id].dump())
        store.save(saved)
        for slot in range(len(self.indexes)):
            self.changed[slot] = set()
        self._shrink()
        return len(saved)

    def size(self) -> int:
        """Return how many profiles are in memory."""
        return sum([len(cached) for cached in self.cached])

    def _profiles(self, ids: Ids) -> list[Profile | None]:
        profiles: list[Profile | None] = []
        for slot, index in enumerate(self.indexes):
            entity_id = ids[index]
            if entity_id is None:
                profiles.append(None)
                continue
            cached = self.cached[slot]
            profile = cached.get(entity_id)
            if profile is None:
                # With a store, a profile that is not in memory may still be at rest there.
                self.prefetch([ids])
                profile = cached.get(entity_id)
                if profile is None:
                    profile = Profile(self.extractor.entities[slot].plan)
                    cached[entity_id] = profile
            self.changed[slot].add(entity_id)
            profiles.append(profile)
        return profiles

    def _shrink(self) -> None:
        """Drop the profiles that came into memory first, until the capacity is kept."""
        for cached in self.cached:
            surplus = len(cached) - self.capacity // max(len(self.cached), 1)
            if surplus > 0:
                for entity_id in list(cached)[:surplus]:
                    del cached[entity_id]
