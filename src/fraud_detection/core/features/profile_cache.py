"""Write-behind cache of profiles: in memory, over a StateStore that is written some time after a change.

A changed profile is in memory alone until it is saved with the sequence number of the last event that it has
seen.  The owner logs the events since the oldest unsaved change and reapplies them after a restart; a profile
skips those that its checkpoint includes already.
"""

from __future__ import annotations

from collections import deque
from typing import Final

import msgspec

from fraud_detection.core.events import Transaction
from fraud_detection.core.features.extract import Extractor
from fraud_detection.core.features.profile import Profile
from fraud_detection.core.ports import ProfileKey, StateStore

MAX_NUMBER: Final = 1 << 63
ALL: Final = 1 << 62
LOOKED_AT: Final = 256

Ids = tuple[str | None, ...]


class ProfileCache:
    """Computes feature rows and updates profiles, payment by payment.

    capacity: maximum number of saved profiles in memory, of all entities together; without a store nothing is
    evicted.
    sequence: number of the current event, set by the owner.
    """

    def __init__(
        self, extractor: Extractor, store: StateStore | None = None, capacity: int = 2_000_000
    ) -> None:
        """Cache the profiles of a store; with None they are in memory alone."""
        self.extractor: Extractor = extractor
        self.store: StateStore | None = store
        self.capacity: int = capacity
        self.indexes: list[int] = [entity.index for entity in extractor.entities]
        self.cached: list[dict[str, Profile]] = [{} for _ in extractor.entities]
        # For each changed profile the number of the event that changed it first; and the same in that order.
        # A dictionary alone would have to pass over all that was deleted before its first entry.
        self.changed: list[dict[str, int]] = [{} for _ in extractor.entities]
        self.unsaved: list[deque[str]] = [deque() for _ in extractor.entities]
        # What is in memory, in the order in which it came.
        self.arrived: list[deque[str]] = [deque() for _ in extractor.entities]
        self.sequence: int = 0

    def prefetch(self, payments: list[Ids]) -> None:
        """Load the profiles of these entity tuples in one call."""
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
        contents = store.load(list(absent))
        for key, slot in absent.items():
            profile = Profile(self.extractor.entities[slot].plan)
            content = contents.get(key)
            if content is not None:
                stored = msgspec.msgpack.decode(content)
                profile.saved_at = int(stored[0])
                profile.load_list(stored[1])
            self._enter(slot, key[1], profile)

    def extract_and_update(self, payment: Transaction) -> list[float]:
        """Return the features of a payment, then update its profiles.

        Profiles are updated even where the features raise an error, as they are when the event is reapplied
        after a restart or replayed once the error is fixed.
        """
        profiles = self._profiles(payment.entities)
        try:
            return self.extractor.extract(profiles, payment)
        finally:
            self.extractor.update(profiles, payment)

    def reapply_payment(self, payment: Transaction) -> None:
        """Reapply a logged payment to every profile whose checkpoint predates it."""
        self.extractor.update(self._stale_profiles(payment.entities), payment)

    def apply_label(
        self, ids: Ids, known_at: int, *, fraud: bool, supersedes_known_at: int | None = None
    ) -> None:
        """Add a label of a payment with these entities, at the moment it became known.

        supersedes_known_at: when the label that it supersedes became known.
        """
        self.extractor.apply_label(
            self._profiles(ids), known_at, fraud=fraud, supersedes_known_at=supersedes_known_at
        )

    def reapply_label(
        self, ids: Ids, known_at: int, *, fraud: bool, supersedes_known_at: int | None = None
    ) -> None:
        """Reapply a logged label to every profile whose checkpoint predates it."""
        self.extractor.apply_label(
            self._stale_profiles(ids), known_at, fraud=fraud, supersedes_known_at=supersedes_known_at
        )

    def save_all(self) -> set[ProfileKey]:
        """Save every changed profile; return the keys that another writer has changed meanwhile."""
        return self.save_changed_before(self.sequence + 1)

    def save_changed_before(self, sequence: int, max_profiles: int = ALL) -> set[ProfileKey]:
        """Save the profiles whose oldest unsaved change precedes an event.

        max_profiles: of each entity, oldest change first.  Returns the keys that were not saved
        because another writer has changed them since they were loaded; they are evicted, so that reapplying
        the events changes them alone.
        """
        store = self.store
        refused: set[ProfileKey] = set()
        if store is None:
            return refused
        saved: dict[ProfileKey, bytes] = {}
        # The numbers of a stream may be longer than what a byte format takes as a number.
        number = self.sequence if self.sequence < MAX_NUMBER else str(self.sequence)
        for slot, index in enumerate(self.indexes):
            cached = self.cached[slot]
            changed = self.changed[slot]
            for count, entity_id in enumerate(self.unsaved[slot]):
                if changed[entity_id] >= sequence or count >= max_profiles:
                    break
                saved[(index, entity_id)] = msgspec.msgpack.encode([number, cached[entity_id].to_list()])
        if len(saved) > 0:
            # What the store fails to take stays marked as changed.
            refused = store.save(saved)
            self._mark_saved(saved, refused)
            self._shrink()
        return refused

    def _mark_saved(self, saved: dict[ProfileKey, bytes], refused: set[ProfileKey]) -> None:
        """Mark profiles as saved at the current event, and evict those that have to be reloaded."""
        for key in saved:
            slot = self.indexes.index(key[0])
            cached = self.cached[slot]
            # They are the first of their kind, in this order.
            self.unsaved[slot].popleft()
            del self.changed[slot][key[1]]
            if key in refused:
                del cached[key[1]]
            else:
                cached[key[1]].saved_at = self.sequence

    def oldest_unsaved_seq(self) -> int:
        """Return the number of the event with the oldest unsaved change; of the next one if all is saved."""
        oldest = self.sequence + 1
        for slot, unsaved in enumerate(self.unsaved):
            if len(unsaved) > 0:
                oldest = min(oldest, self.changed[slot][unsaved[0]])
        return oldest

    def part(self, extractor: Extractor, slots: list[int]) -> ProfileCache:
        """Return a view of some entities over the same profiles.

        extractor: of just these entities.  `sequence` has to be set in both.
        """
        part = ProfileCache(extractor, self.store, self.capacity)
        part.cached = [self.cached[slot] for slot in slots]
        part.changed = [self.changed[slot] for slot in slots]
        part.unsaved = [self.unsaved[slot] for slot in slots]
        part.arrived = [self.arrived[slot] for slot in slots]
        return part

    def size(self) -> int:
        """Return how many profiles are in memory."""
        return sum([len(cached) for cached in self.cached])

    def _profiles(self, ids: Ids) -> list[Profile | None]:
        """Return the profiles of these entities and mark them as changed."""
        profiles: list[Profile | None] = []
        for slot in range(len(self.indexes)):
            profile = self._find(slot, ids)
            if profile is not None:
                self._record_change(slot, ids)
            profiles.append(profile)
        return profiles

    def _stale_profiles(self, ids: Ids) -> list[Profile | None]:
        """Return the profiles whose checkpoint predates the current event, marked as changed; else None."""
        profiles: list[Profile | None] = []
        for slot in range(len(self.indexes)):
            profile = self._find(slot, ids)
            if profile is not None and profile.saved_at < self.sequence:
                self._record_change(slot, ids)
                profiles.append(profile)
            else:
                profiles.append(None)
        return profiles

    def _find(self, slot: int, ids: Ids) -> Profile | None:
        entity_id = ids[self.indexes[slot]]
        if entity_id is None:
            return None
        cached = self.cached[slot]
        profile = cached.get(entity_id)
        if profile is None:
            # A profile that is not in memory may still be in the store.
            self.prefetch([ids])
            profile = cached.get(entity_id)
            if profile is None:
                profile = Profile(self.extractor.entities[slot].plan)
                self._enter(slot, entity_id, profile)
        return profile

    def _record_change(self, slot: int, ids: Ids) -> None:
        entity_id = ids[self.indexes[slot]]
        if entity_id is not None and entity_id not in self.changed[slot]:
            self.changed[slot][entity_id] = self.sequence
            self.unsaved[slot].append(entity_id)

    def _enter(self, slot: int, entity_id: str, profile: Profile) -> None:
        self.cached[slot][entity_id] = profile
        self.arrived[slot].append(entity_id)

    def _shrink(self) -> None:
        """Evict saved profiles, oldest first, from the entities that have most, down to the capacity."""
        surplus = self.size() - self.capacity
        if surplus <= 0:
            return
        by_size: list[tuple[int, int]] = sorted(
            [(-len(cached), slot) for slot, cached in enumerate(self.cached)]
        )
        for _, slot in by_size:
            surplus -= self._drop(slot, surplus)

    def _drop(self, slot: int, max_profiles: int) -> int:
        """Evict up to `max_profiles` profiles of an entity; return how many were evicted."""
        cached, changed, arrived = self.cached[slot], self.changed[slot], self.arrived[slot]
        dropped = 0
        # If many of the first ones are not saved yet, the next save continues.
        for _ in range(min(len(arrived), 2 * max_profiles + LOOKED_AT)):
            if dropped >= max_profiles:
                break
            entity_id = arrived.popleft()
            if entity_id in changed:
                # Not saved yet: it becomes one of the latest.
                arrived.append(entity_id)
            elif entity_id in cached:
                del cached[entity_id]
                dropped += 1
        return dropped
