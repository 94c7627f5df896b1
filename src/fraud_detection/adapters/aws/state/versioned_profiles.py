"""Common part of profile stores that several shards write: the last event of each shard in a profile.

A stored profile carries, for each shard, the number of the last event that it includes.  So a batch
that comes again changes only the profiles that had not seen its events.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Mapping
from typing import Protocol

import msgspec

from fraud_detection.core.ports import ProfileKey, StateStore

NUMBER_BYTES = 26
"""A sequence number of Kinesis has up to 56 decimal digits; an index in an aggregate adds 16 bits."""
DAY_BYTES = 3
SHARD_RETENTION_DAYS = 370
"""Longer than a stream can keep a record: nothing of a shard that was silent for so long can come again."""
SECONDS_A_DAY = 86_400

Seen = dict[str, bytes]


class VersionedProfileStore(StateStore, Protocol):
    """A StateStore whose profiles know the last event of each shard; `shard` is the one being decided."""

    shard: str

    def version(self, key: ProfileKey) -> int:
        """Return the version of a profile that was loaded, 0 for one that did not exist."""

    def forget(self) -> None:
        """Load everything anew from now on: others may have changed it."""


class Held(msgspec.Struct, frozen=True):
    """A profile as it was loaded: its version, 0 for a new one, and the last event of each shard.

    saved_ms: when it was saved, in ms since 1970; 0 where the store has no time.
    """

    version: int = 0
    seen: Seen = {}
    saved_ms: int = 0


def pack(profile: bytes, seen: Mapping[str, bytes], shard: str) -> bytes:
    """Return the bytes to store: a profile that now has seen, of this shard, what its number says.

    Each shard has the day when it gave something last, so that those which are long gone can be dropped.
    """
    number, content = msgspec.msgpack.decode(profile, type=tuple[int | str, msgspec.Raw])
    today = int(time.time()) // SECONDS_A_DAY
    alive = {
        shard_id: position
        for shard_id, position in seen.items()
        if _day(position) >= today - SHARD_RETENTION_DAYS
    }
    now = alive | {shard: int(number).to_bytes(NUMBER_BYTES, "big") + today.to_bytes(DAY_BYTES, "big")}
    return zlib.compress(msgspec.msgpack.encode([now, content]), 1)


def unpack(stored: bytes, shard: str) -> tuple[Seen, bytes]:
    """Return the last event of each shard, and the profile with this shard's number, "0" for none.

    >>> stored = pack(msgspec.msgpack.encode(["7", b"..."]), {}, "a")
    >>> msgspec.msgpack.decode(unpack(stored, "a")[1]), msgspec.msgpack.decode(unpack(stored, "b")[1])
    (['7', b'...'], ['0', b'...'])
    """
    seen, content = msgspec.msgpack.decode(zlib.decompress(stored), type=tuple[Seen, msgspec.Raw])
    number = int.from_bytes(seen.get(shard, b"")[:NUMBER_BYTES], "big")
    return seen, msgspec.msgpack.encode([str(number), content])


def _day(position: bytes) -> int:
    return int.from_bytes(position[NUMBER_BYTES:], "big")
