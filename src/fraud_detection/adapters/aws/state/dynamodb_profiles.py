"""Profiles in DynamoDB, shared by all shards of a stream: nothing lost, nothing counted twice.

An item carries, besides the profile, its version and for each shard the number of the last event
that it includes.  A profile is saved only if its version is still the one that was loaded; a batch
that comes again changes only what had not seen its events.

Saves go as statements of PartiQL, because only they take a condition each and many a call at the price of
plain writes: BatchWriteItem knows no conditions, a transaction costs twice and fails as a whole.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fraud_detection.adapters.aws.state.dynamodb_batches import (
    batch_get,
    execute,
    expiry,
    insertion,
    statement,
)
from fraud_detection.adapters.aws.state.versioned_profiles import Held, pack, unpack
from fraud_detection.core.ports import ProfileKey


class DynamoProfiles:
    """A StateStore over one table with the key `k`; `shard` is the shard whose events are being decided."""

    def __init__(self, client: Any, table: str, entities: Sequence[str], days: int = 0) -> None:  # noqa: ANN401 - boto3's client has no type
        """Take boto3's client, and the names of the entities in the order of the schema.

        days: how long a profile is stored after it was saved last; 0 is for ever.
        """
        self.shard = ""
        self._days = days
        self._client, self._table, self._entities = client, table, tuple(entities)
        self._held: dict[ProfileKey, Held] = {}

    def load(self, keys: Sequence[ProfileKey]) -> dict[ProfileKey, bytes]:
        """Return the profiles that exist, each with the number of the last event of this shard."""
        by_text = {self._text(key): key for key in keys}
        profiles: dict[ProfileKey, bytes] = {}
        for item in batch_get(self._client, self._table, [{"k": {"S": text}} for text in by_text]):
            key = by_text[item["k"]["S"]]
            seen, profiles[key] = unpack(item["c"]["B"], self.shard)
            self._held[key] = Held(int(item["v"]["N"]), seen)
        return profiles

    def save(self, profiles: Mapping[ProfileKey, bytes]) -> set[ProfileKey]:
        """Save all but those whose version has moved on since they were loaded; return these."""
        statements = {key: self._statement(key, profile) for key, profile in profiles.items()}
        refused = execute(self._client, self._table, statements)
        # A profile that is loaded from now on has this number; what was refused has to be loaded first.
        for key in profiles:
            self._held.pop(key, None)
        return refused

    def version(self, key: ProfileKey) -> int:
        """Return the version of a profile that was loaded, 0 for one that did not exist."""
        return self._held.get(key, Held()).version

    def forget(self) -> None:
        """Load everything anew from now on: others may have changed it."""
        self._held.clear()

    def _text(self, key: ProfileKey) -> str:
        return f"{self._entities[key[0]]}#{key[1]}"

    def _statement(self, key: ProfileKey, profile: bytes) -> dict[str, Any]:
        """Return the write of a profile, on the condition that its version has not moved on."""
        held = self._held.get(key, Held())
        item = {
            "c": {"B": pack(profile, held.seen, self.shard)},
            "v": {"N": str(held.version + 1)},
            **expiry(self._days),
        }
        parameters = {"k": {"S": self._text(key)}}
        if held.version:
            sets = " ".join(f"SET {name}=?" for name in item)
            text = f'UPDATE "{self._table}" {sets} WHERE k=? AND v=?'
            return statement(text, item, parameters, {"v": {"N": str(held.version)}})
        return insertion(self._table, parameters | item)
