"""All profiles of a stream: kept in memory, resting in a StateStore, saved some time after they changed.

A changed profile lives only here until it is saved, with the number of the last event that it
has seen.  The owner keeps the events since the oldest change that is not saved, and feeds them
again after a restart: each profile takes only those that it had not seen when it was saved.
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


class FeatureMemory:
    """Makes the feature rows of a stream, payment by payment.

    capacity: how many profiles, of all kinds together, stay in memory once they are saved; without a store
    all do.
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
        # For each changed profile the number of the event that changed it first; and the same in that order.
        # A dictionary alone would have to pass over all that was deleted before its first entry.
        self.changed: list[dict[str, int]] = [{} for _ in extractor.entities]
        self.unsaved: list[deque[str]] = [deque() for _ in extractor.entities]
        # What is in memory, in the order in which it came.
        self.arrived: list[deque[str]] = [deque() for _ in extractor.entities]
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
            self._enter(slot, key[1], profile)

    def observe(self, payment: Transaction) -> list[float]:
        """Return the features of the payment, then remember it.

        One whose features raise an error is remembered too: so does whoever feeds it again after a restart,
        and so will replays when the error is mended.
        """
        profiles = self._profiles(payment.entities)
        try:
            return self.extractor.extract(profiles, payment)
        finally:
            self.extractor.update(profiles, payment)

    def remember_again(self, payment: Transaction) -> None:
        """Let those profiles remember the payment that had not seen it when they were saved."""
        self.extractor.update(self._unaware(payment.entities), payment)

    def learn(self, ids: Ids, known_at: int, *, fraud: bool, supersedes_known_at: int | None = None) -> None:
        """Remember a label of a payment with these entities, at the moment it became known.

        supersedes_known_at: when the label that it supersedes became known.
        """
        self.extractor.learn(
            self._profiles(ids), known_at, fraud=fraud, supersedes_known_at=supersedes_known_at
        )

    def learn_again(
        self, ids: Ids, known_at: int, *, fraud: bool, supersedes_known_at: int | None = None
    ) -> None:
        """Let those profiles learn the label that had not seen it when they were saved."""
        self.extractor.learn(
            self._unaware(ids), known_at, fraud=fraud, supersedes_known_at=supersedes_known_at
        )

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
        number = self.sequence if self.sequence < MAX_NUMBER else str(self.sequence)
        for slot, index in enumerate(self.indexes):
            cached = self.cached[slot]
            changed = self.changed[slot]
            for count, entity_id in enumerate(self.unsaved[slot]):
                if changed[entity_id] >= sequence or count >= most:
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
            # They are the first of their kind, in this order.
            self.unsaved[slot].popleft()
            del self.changed[slot][key[1]]
            if key in refused:
                del cached[key[1]]
            else:
                cached[key[1]].saved_at = self.sequence

    def unsaved_since(self) -> int:
        """Return the number of the event that made the oldest unsaved change, or of the next event."""
        oldest = self.sequence + 1
        for slot, unsaved in enumerate(self.unsaved):
            if len(unsaved) > 0:
                oldest = min(oldest, self.changed[slot][unsaved[0]])
        return oldest

    def part(self, extractor: Extractor, slots: list[int]) -> FeatureMemory:
        """Return a memory of some of the kinds, over the same profiles: what one changes, the other sees.

        extractor: of just these kinds.  Each of the two is told the number of the event in hand.
        """
        part = FeatureMemory(extractor, self.store, self.capacity)
        part.cached = [self.cached[slot] for slot in slots]
        part.changed = [self.changed[slot] for slot in slots]
        part.unsaved = [self.unsaved[slot] for slot in slots]
        part.arrived = [self.arrived[slot] for slot in slots]
        return part

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
                self._enter(slot, entity_id, profile)
        return profile

    def _note_change(self, slot: int, ids: Ids) -> None:
        entity_id = ids[self.indexes[slot]]
        if entity_id is not None and entity_id not in self.changed[slot]:
            self.changed[slot][entity_id] = self.sequence
            self.unsaved[slot].append(entity_id)

    def _enter(self, slot: int, entity_id: str, profile: Profile) -> None:
        self.cached[slot][entity_id] = profile
        self.arrived[slot].append(entity_id)

    def _shrink(self) -> None:
        """Drop saved profiles, the oldest ones of the kinds that have most, until the capacity is kept."""
        surplus = self.size() - self.capacity
        if surplus <= 0:
            return
        by_size: list[tuple[int, int]] = sorted([(-len(one), slot) for slot, one in enumerate(self.cached)])
        for _, slot in by_size:
            surplus -= self._drop(slot, surplus)

    def _drop(self, slot: int, most: int) -> int:
        """Drop so many profiles of a kind, if they can go; return how many did."""
        cached, changed, arrived = self.cached[slot], self.changed[slot], self.arrived[slot]
        dropped = 0
        # If many of the first ones cannot go yet, the next save goes on looking.
        for _ in range(min(len(arrived), 2 * most + LOOKED_AT)):
            if dropped >= most:
                break
            entity_id = arrived.popleft()
            if entity_id in changed:
                # It cannot go yet; by then it is one of the later ones.
                arrived.append(entity_id)
            elif entity_id in cached:
                del cached[entity_id]
                dropped += 1
        return dropped
