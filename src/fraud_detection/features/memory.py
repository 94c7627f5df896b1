"""All profiles of a stream: kept in memory, resting in a StateStore, saved some time after they changed.

A changed profile lives only here until it is saved, with the number of the last event that it
has seen.  The owner keeps the events since the oldest change that is not saved, and feeds them
again after a restart: each profile takes only those that it had not seen when it was saved.
"""

from __future__ import annotations

from typing import Final

import msgspec

from fraud_detection.events import Transaction
from fraud_detection.features.extract import Extractor
from fraud_detection.features.profile import Profile
from fraud_detection.ports import ProfileKey, StateStore

LARGEST_NUMBER: Final = 1 << 63
ALL: Final = 1 << 62

Ids = tuple[str | None, ...]


class FeatureMemory:
    """Makes the feature rows of a stream, payment by payment.

    capacity: how many profiles stay in memory once they are saved; without a store all do.
    sequence: the number of the event in hand, set by the owner.
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
        # For each changed profile the number of the event that changed it first, in that order.
        self.changed: list[dict[str, int]] = [{} for _ in extractor.entities]
        self.sequence: int = 0

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
                kept = msgspec.msgpack.decode(content)
                profile.saved_at = int(kept[0])
                profile.restore(kept[1])
            self.cached[slot][key[1]] = profile

    def observe(self, payment: Transaction) -> list[float]:
        """Return the features of the payment, then remember it."""
        profiles = self._profiles(payment.entities)
        row = self.extractor.extract(profiles, payment)
        self.extractor.update(profiles, payment)
        return row

    def remember_again(self, payment: Transaction) -> None:
        """Let those profiles remember the payment that had not seen it when they were saved."""
        self.extractor.update(self._unaware(payment.entities), payment)

    def learn(self, ids: Ids, known_at: int, *, fraud: bool, corrects: int | None = None) -> None:
        """Remember a label of a payment with these entities, at the moment it became known.

        corrects: when the opposite label became known that this one takes back.
        """
        self.extractor.learn(self._profiles(ids), known_at, fraud=fraud, corrects=corrects)

    def learn_again(self, ids: Ids, known_at: int, *, fraud: bool, corrects: int | None = None) -> None:
        """Let those profiles learn the label that had not seen it when they were saved."""
        self.extractor.learn(self._unaware(ids), known_at, fraud=fraud, corrects=corrects)

    def save_all(self) -> set[ProfileKey]:
        """Save every changed profile; return those that somebody else has changed meanwhile."""
        return self.save_changed_before(self.sequence + 1)

    def save_changed_before(self, sequence: int, most: int = ALL) -> set[ProfileKey]:
        """Save the profiles whose first unsaved change came before the event of that number.

        most: of each kind of entity, those whose change has waited longest.  Return those that were not
        saved, because somebody else has changed them since they were loaded.  They are forgotten here: who
        feeds the events again changes only them.
        """
        store = self.store
        refused: set[ProfileKey] = set()
        if store is None:
            return refused
        saved: dict[ProfileKey, bytes] = {}
        # The numbers of a stream may be longer than what a byte format takes as a number.
        number = self.sequence if self.sequence < LARGEST_NUMBER else str(self.sequence)
        for slot, index in enumerate(self.indexes):
            cached = self.cached[slot]
            for count, (entity_id, first) in enumerate(self.changed[slot].items()):
                if first >= sequence or count >= most:
                    break
                saved[(index, entity_id)] = msgspec.msgpack.encode([number, cached[entity_id].dump()])
        if len(saved) > 0:
            # What the store fails to take is still noted as changed.
            refused = store.save(saved)
            self._settle(saved, refused)
            self._shrink()
        return refused

    def _settle(self, saved: dict[ProfileKey, bytes], refused: set[ProfileKey]) -> None:
        """Note what the saved profiles have seen by now, and drop those that have to be loaded anew."""
        for key in saved:
            slot = self.indexes.index(key[0])
            cached = self.cached[slot]
            del self.changed[slot][key[1]]
            if key in refused:
                del cached[key[1]]
            else:
                cached[key[1]].saved_at = self.sequence

    def unsaved_since(self) -> int:
        """Return the number of the event that made the oldest unsaved change, or of the next event."""
        oldest = self.sequence + 1
        for changed in self.changed:
            for first in changed.values():
                oldest = min(oldest, first)
                break
        return oldest

    def size(self) -> int:
        """Return how many profiles are in memory."""
        return sum([len(cached) for cached in self.cached])

    def _profiles(self, ids: Ids) -> list[Profile | None]:
        """Return the profiles of these entities, which are about to change."""
        profiles: list[Profile | None] = []
        for slot in range(len(self.indexes)):
            profile = self._find(slot, ids)
            if profile is not None:
                self._note_change(slot, ids)
            profiles.append(profile)
        return profiles

    def _unaware(self, ids: Ids) -> list[Profile | None]:
        """Return those of the profiles that had not seen the event in hand when they were saved."""
        profiles: list[Profile | None] = []
        for slot in range(len(self.indexes)):
            profile = self._find(slot, ids)
            if profile is not None and profile.saved_at < self.sequence:
                self._note_change(slot, ids)
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
            # With a store, a profile that is not in memory may still be at rest there.
            self.prefetch([ids])
            profile = cached.get(entity_id)
            if profile is None:
                profile = Profile(self.extractor.entities[slot].plan)
                cached[entity_id] = profile
        return profile

    def _note_change(self, slot: int, ids: Ids) -> None:
        entity_id = ids[self.indexes[slot]]
        if entity_id is not None and entity_id not in self.changed[slot]:
            self.changed[slot][entity_id] = self.sequence

    def _shrink(self) -> None:
        """Drop saved profiles, those that came into memory first, until the capacity is kept."""
        for slot, cached in enumerate(self.cached):
            surplus = len(cached) - self.capacity // max(len(self.cached), 1)
            if surplus > 0:
                changed = self.changed[slot]
                saved = [entity_id for entity_id in cached if entity_id not in changed]
                for entity_id in saved[:surplus]:
                    del cached[entity_id]
