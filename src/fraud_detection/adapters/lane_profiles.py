"""What the stores that several shards use have in common: what each shard (lane) has given to a profile.

A profile at rest carries, for each lane, the number of the last event that it has taken in.  So a batch
that comes again changes only the profiles that had not seen its events.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Protocol

import msgspec

from fraud_detection.ports import ProfileKey, StateStore

NUMBER_BYTES = 24
"""A sequence number of Kinesis has up to 56 decimal digits."""

Seen = dict[str, bytes]


class LaneStore(StateStore, Protocol):
    """A StateStore whose profiles know what each lane has given; `lane` is the one being decided."""

    lane: str

    def version(self, key: ProfileKey) -> int:
        """Return the version of a profile that was loaded, 0 for one that did not exist."""

    def forget(self) -> None:
        """Load everything anew from now on: others may have changed it."""


class Held(msgspec.Struct, frozen=True):
    """A profile as it was loaded: its version, 0 for a new one, and what each lane has given.

    saved_ms: when it was saved, in ms since 1970; 0 where the store keeps no time.
    """

    version: int = 0
    seen: Seen = {}
    saved_ms: int = 0


def pack(profile: bytes, seen: Mapping[str, bytes], lane: str) -> bytes:
    """Return the bytes to store: a profile that now has seen, of this lane, what its number says."""
    number, content = msgspec.msgpack.decode(profile, type=tuple[int | str, msgspec.Raw])
    now = dict(seen) | {lane: int(number).to_bytes(NUMBER_BYTES, "big")}
    return zlib.compress(msgspec.msgpack.encode([now, content]), 1)


def unpack(stored: bytes, lane: str) -> tuple[Seen, bytes]:
    """Return what each lane has given, and the profile with this lane's number, "0" for none.

    >>> stored = pack(msgspec.msgpack.encode(["7", b"..."]), {}, "a")
    >>> msgspec.msgpack.decode(unpack(stored, "a")[1]), msgspec.msgpack.decode(unpack(stored, "b")[1])
    (['7', b'...'], ['0', b'...'])
    """
    seen, content = msgspec.msgpack.decode(zlib.decompress(stored), type=tuple[Seen, msgspec.Raw])
    number = int.from_bytes(seen.get(lane, b""), "big")
    return seen, msgspec.msgpack.encode([str(number), content])
