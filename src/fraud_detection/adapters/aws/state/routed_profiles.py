"""One StateStore made of two: an entity that only one shard writes is stored in one, all others in the other.

It holds nothing itself.  The first entity of the schema orders the stream, so all its payments come by one
shard; merchants, devices and the like are written by all shards at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fraud_detection.adapters.aws.state.versioned_profiles import VersionedProfileStore
from fraud_detection.core.ports import ProfileKey

ORDERING = 0
"""Position in the schema of the entity that orders the stream."""


class RoutedProfiles:
    """A VersionedProfileStore: `ordering` stores the entity that orders the stream, `shared` the others."""

    def __init__(self, ordering: VersionedProfileStore, shared: VersionedProfileStore) -> None:
        """Take the two stores."""
        self._ordering, self._shared = ordering, shared

    @property
    def shard(self) -> str:
        """The shard whose events are being decided."""
        return self._shared.shard

    @shard.setter
    def shard(self, shard: str) -> None:
        self._ordering.shard = self._shared.shard = shard

    def load(self, keys: Sequence[ProfileKey]) -> dict[ProfileKey, bytes]:
        """Return the profiles that exist, from whichever store has them."""
        own = [key for key in keys if key[0] == ORDERING]
        return self._ordering.load(own) | self._shared.load([key for key in keys if key[0] != ORDERING])

    def save(self, profiles: Mapping[ProfileKey, bytes]) -> set[ProfileKey]:
        """Save profiles; return the shared ones with a write conflict: another shard changed them meanwhile.

        The shared ones go first: the shorter the time since they were loaded, the fewer are refused.
        """
        shared = {key: profile for key, profile in profiles.items() if key[0] != ORDERING}
        own = {key: profile for key, profile in profiles.items() if key[0] == ORDERING}
        return self._shared.save(shared) | self._ordering.save(own)

    def version(self, key: ProfileKey) -> int:
        """Return the version of a profile that was loaded, 0 for one that did not exist."""
        return (self._ordering if key[0] == ORDERING else self._shared).version(key)

    def forget(self) -> None:
        """Load everything anew from now on."""
        self._ordering.forget()
        self._shared.forget()
