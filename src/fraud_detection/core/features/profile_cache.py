"""Write-behind cache of profiles: in memory, over a StateStore that is written some time after a change.

A changed profile is in memory alone until it is saved with the sequence number of the last event that it has
seen.  The owner logs the events since the oldest unsaved change and reapplies them after a restart; a profile
skips those that its checkpoint includes already.  Which profiles are in memory, and in which form, is up to
`resident_profiles`.
"""

from __future__ import annotations

from typing import Final

from fraud_detection.core.events import Transaction
from fraud_detection.core.features.extract import Extractor
from fraud_detection.core.features.profile import Profile
from fraud_detection.core.features.resident_profiles import EntityProfiles, ResidentProfiles
from fraud_detection.core.ports import ProfileKey, StateStore

PROFILE_MEMORY_BYTES: Final = 2_000_000_000
ALL: Final = 1 << 62

Ids = tuple[str | None, ...]


class ProfileCache:
    """Computes feature rows and updates profiles, payment by payment.

    resident: the profiles in memory; they take at most `max_bytes`, about, where a store has the others.
    sequence: number of the current event, set by the owner.
    """

    def __init__(
        self, extractor: Extractor, store: StateStore | None = None, max_bytes: int = PROFILE_MEMORY_BYTES
    ) -> None:
        """Cache the profiles of a store; with None they are in memory alone."""
        self.extractor: Extractor = extractor
        self.store: StateStore | None = store
        self.indexes: list[int] = [entity.index for entity in extractor.entities]
        self.resident: ResidentProfiles = ResidentProfiles(
            [entity.plan for entity in extractor.entities], max_bytes
        )
        self.profiles: list[EntityProfiles] = self.resident.entities
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
                if entity_id is not None and entity_id not in self.profiles[slot].profiles:
                    absent[(index, entity_id)] = slot
        if not absent:
            return
        contents = store.load(list(absent))
        for key, slot in absent.items():
            self.profiles[slot].enter(key[1], contents.get(key))

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
        for slot, index in enumerate(self.indexes):
            profiles = self.profiles[slot]
            for count, entity_id in enumerate(profiles.unsaved):
                if profiles.changed[entity_id] >= sequence or count >= max_profiles:
                    break
                saved[(index, entity_id)] = profiles.content(entity_id, self.sequence)
        if len(saved) > 0:
            # What the store fails to take stays marked as changed.
            refused = store.save(saved)
            self._mark_saved(saved, refused)
        self.resident.tidy()
        return refused

    def _mark_saved(self, saved: dict[ProfileKey, bytes], refused: set[ProfileKey]) -> None:
        """Mark profiles as saved at the current event, and drop those that have to be reloaded."""
        for key, content in saved.items():
            profiles = self.profiles[self.indexes.index(key[0])]
            if key in refused:
                profiles.refused(key[1])
            else:
                profiles.saved(key[1], content, self.sequence)

    def oldest_unsaved_seq(self) -> int:
        """Return the number of the event with the oldest unsaved change; of the next one if all is saved."""
        oldest = self.sequence + 1
        for profiles in self.profiles:
            if len(profiles.unsaved) > 0:
                oldest = min(oldest, profiles.changed[profiles.unsaved[0]])
        return oldest

    def part(self, extractor: Extractor, slots: list[int]) -> ProfileCache:
        """Return a view of some entities over the same profiles.

        extractor: of just these entities.  `sequence` has to be set in both.
        """
        part = ProfileCache(extractor, self.store)
        part.resident = self.resident
        part.profiles = [self.profiles[slot] for slot in slots]
        return part

    def size(self) -> int:
        """Return how many profiles are in memory."""
        return sum([len(profiles.profiles) for profiles in self.profiles])

    def profile(self, slot: int, ids: Ids) -> Profile | None:
        """Return the profile of one kind of entity; None where the ids name none.

        slot: the entity's position among those of the extractor.  The profile may be changed until the next
        one is asked for, and by the caller alone.
        """
        self.resident.make_room()
        return self._find(slot, ids)

    def _profiles(self, ids: Ids) -> list[Profile | None]:
        """Return the profiles of these entities and mark them as changed."""
        # Before the first of them is taken: what is taken must not be encoded before it is updated.
        self.resident.make_room()
        profiles: list[Profile | None] = []
        for slot in range(len(self.indexes)):
            profile = self._find(slot, ids)
            if profile is not None:
                self._record_change(slot, ids)
            profiles.append(profile)
        return profiles

    def _stale_profiles(self, ids: Ids) -> list[Profile | None]:
        """Return the profiles whose checkpoint predates the current event, marked as changed; else None."""
        self.resident.make_room()
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
        profiles = self.profiles[slot]
        profile = profiles.find(entity_id)
        if profile is None:
            # A profile that is not in memory may still be in the store.
            self.prefetch([ids])
            profile = profiles.find(entity_id)
            if profile is None:
                profiles.enter(entity_id, None)
                profile = profiles.find(entity_id)
        return profile

    def _record_change(self, slot: int, ids: Ids) -> None:
        entity_id = ids[self.indexes[slot]]
        if entity_id is not None:
            self.profiles[slot].record_change(entity_id, self.sequence)
