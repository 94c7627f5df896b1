"""The profiles that are in memory: those in use as objects, all others as the bytes that a store holds.

A profile takes several times as many bytes as an object as it takes stored, and of a million entities few
are in use at a time.  Which form a profile has changes nothing that can be seen: decoding gives the object
that was encoded, with its unsaved changes and the event by which it was saved.  So any of them may be encoded
at any time, as long as nobody holds the object; and whoever takes one uses it up before the next is taken.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from fraud_detection.core.features.profile import Profile, ProfilePlan
from fraud_detection.core.features.profile_codec import decode_profile, encode_profile, saved_later

ENTRY_BYTES: Final = 250
"""What an entity takes beside its profile: its id, its places in the tables, the header of the bytes."""
DECODED_SHARE: Final = 16
"""One part in so many of the memory is for objects."""
HEADROOM_SHARE: Final = 16
"""So much of that is cleared between payments, so that none has to wait for it."""
MAX_SKIPPED: Final = 256


class EntityProfiles:
    """The profiles of one kind of entity that are in memory.

    changed: for each changed profile the number of the event that changed it first; unsaved: the same in that
    order.  A dictionary alone would have to pass over all that was deleted before its first entry.
    decoded_bytes, encoded_bytes: what they take, about.
    """

    def __init__(self, plan: ProfilePlan) -> None:
        """Start empty."""
        self.plan: ProfilePlan = plan
        self.profiles: dict[str, Profile | bytes] = {}
        # What came into memory, and what was decoded, in order.  What has left since is passed over.
        self.arrived: deque[str] = deque()
        self.decoded: deque[str] = deque()
        self.changed: dict[str, int] = {}
        self.unsaved: deque[str] = deque()
        self.decoded_bytes: int = 0
        self.encoded_bytes: int = 0
        self.empty_bytes: int = Profile(plan).memory_bytes()

    def find(self, entity_id: str) -> Profile | None:
        """Return a profile that is in memory, as an object; None where it is not there."""
        held = self.profiles.get(entity_id)
        if held is None:
            return None
        if isinstance(held, bytes):
            self.encoded_bytes -= ENTRY_BYTES + len(held)
            return self._hold(entity_id, decode_profile(self.plan, held), len(held))
        held.used = True
        # It may have grown since.
        self._count(held, held.memory_bytes())
        return held

    def enter(self, entity_id: str, content: bytes | None) -> None:
        """Take in what a store has of an entity, None where it has nothing."""
        self.arrived.append(entity_id)
        if content is None:
            self._hold(entity_id, Profile(self.plan), 0)
        else:
            self.profiles[entity_id] = content
            self.encoded_bytes += ENTRY_BYTES + len(content)

    def record_change(self, entity_id: str, sequence: int) -> None:
        """Mark a profile as changed by an event."""
        if entity_id not in self.changed:
            self.changed[entity_id] = sequence
            self.unsaved.append(entity_id)

    def content(self, entity_id: str, saved_at: int) -> bytes:
        """Return a profile as it is stored when it is saved at an event."""
        held = self.profiles[entity_id]
        return saved_later(held, saved_at) if isinstance(held, bytes) else encode_profile(held, saved_at)

    def saved(self, entity_id: str, content: bytes, saved_at: int) -> None:
        """Mark the profile whose change is the oldest as saved, with this content."""
        self._no_longer_changed(entity_id)
        held = self.profiles[entity_id]
        if isinstance(held, bytes):
            self.profiles[entity_id] = content
            self.encoded_bytes += len(content) - len(held)
        else:
            held.saved_at = saved_at

    def refused(self, entity_id: str) -> None:
        """Drop the profile whose change is the oldest: another writer has changed it in the store."""
        self._no_longer_changed(entity_id)
        self._drop(entity_id)

    def encode_one(self) -> bool:
        """Encode the profile that was not used for longest, about; return whether there was one."""
        while len(self.decoded) > 0:
            entity_id = self.decoded.popleft()
            held = self.profiles.get(entity_id)
            if held is None or isinstance(held, bytes):
                continue
            if held.used:
                # It gets a second chance: what is used again and again stays.
                held.used = False
                self.decoded.append(entity_id)
                continue
            self.decoded_bytes -= held.counted_bytes
            content = encode_profile(held, held.saved_at)
            self.profiles[entity_id] = content
            self.encoded_bytes += ENTRY_BYTES + len(content)
            return True
        return False

    def evict_saved(self, max_bytes: int) -> int:
        """Evict about so many bytes of saved profiles, oldest first; return how many bytes they took."""
        before = self.decoded_bytes + self.encoded_bytes
        freed, skipped = 0, 0
        # If many of the first ones are not saved yet, the next save continues.
        while freed < max_bytes and skipped < MAX_SKIPPED and len(self.arrived) > 0:
            entity_id = self.arrived.popleft()
            if entity_id in self.changed:
                # Not saved yet: it becomes one of the latest.
                self.arrived.append(entity_id)
                skipped += 1
            elif entity_id in self.profiles:
                self._drop(entity_id)
                freed = before - self.decoded_bytes - self.encoded_bytes
        return freed

    def _hold(self, entity_id: str, profile: Profile, loaded_bytes: int) -> Profile:
        """Hold a profile as an object that was made of so many bytes."""
        self.profiles[entity_id] = profile
        self.decoded.append(entity_id)
        self._count(profile, self.empty_bytes + 2 * loaded_bytes)
        return profile

    def _count(self, profile: Profile, size: int) -> None:
        self.decoded_bytes += ENTRY_BYTES + size - profile.counted_bytes
        profile.counted_bytes = ENTRY_BYTES + size

    def _no_longer_changed(self, entity_id: str) -> None:
        # They are saved in the order in which they were changed.
        self.unsaved.popleft()
        del self.changed[entity_id]

    def _drop(self, entity_id: str) -> None:
        held = self.profiles.pop(entity_id)
        if isinstance(held, bytes):
            self.encoded_bytes -= ENTRY_BYTES + len(held)
        else:
            self.decoded_bytes -= held.counted_bytes


class ResidentProfiles:
    """The profiles of all kinds of entities that are in memory, and the bound on their bytes.

    max_bytes: of all of them together.  What is not saved yet stays beyond it: it can be saved in no other
    way than in its order.  max_decoded_bytes: of those that are objects.
    """

    def __init__(self, plans: list[ProfilePlan], max_bytes: int) -> None:
        """Start empty."""
        self.entities: list[EntityProfiles] = [EntityProfiles(plan) for plan in plans]
        self.max_bytes: int = 0
        self.max_decoded_bytes: int = 0
        self.limit(max_bytes)

    def limit(self, max_bytes: int) -> None:
        """Keep another bound from now on."""
        self.max_bytes = max_bytes
        self.max_decoded_bytes = max_bytes // DECODED_SHARE

    def decoded_bytes(self) -> int:
        """Return about how many bytes the objects take."""
        size = 0
        for profiles in self.entities:
            size += profiles.decoded_bytes
        return size

    def total_bytes(self) -> int:
        """Return about how many bytes all of them take."""
        size = 0
        for profiles in self.entities:
            size += profiles.decoded_bytes + profiles.encoded_bytes
        return size

    def make_room(self) -> None:
        """Encode what was not used for long, so that objects stay within their bound."""
        if self.decoded_bytes() > self.max_decoded_bytes:
            self._encode_down_to(self.max_decoded_bytes)

    def tidy(self) -> None:
        """Make room before payments need it, and evict saved profiles down to the bound of all."""
        self._encode_down_to(self.max_decoded_bytes - self.max_decoded_bytes // HEADROOM_SHARE)
        surplus = self.total_bytes() - self.max_bytes
        if surplus > 0:
            for profiles in sorted(self.entities, key=_bytes_of, reverse=True):
                surplus -= profiles.evict_saved(surplus)

    def _encode_down_to(self, max_bytes: int) -> None:
        while self.decoded_bytes() > max_bytes:
            largest = self.entities[0]
            for profiles in self.entities:
                if profiles.decoded_bytes > largest.decoded_bytes:
                    largest = profiles
            if not largest.encode_one():
                return


def _bytes_of(profiles: EntityProfiles) -> int:
    return profiles.decoded_bytes + profiles.encoded_bytes
