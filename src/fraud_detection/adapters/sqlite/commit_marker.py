"""The commit marker of a state file: the last number that was answered, stored beside it.

SQLite drops the end of a damaged log in silence, and starts from an older copy as from any file.  The marker
tells: it is written after each commit and before the answer, so it never says more than the file held, and a
file that holds less has lost answers.  Two slots are written in turn, each in a sector of its own with a
checksum, so a write that is torn leaves the other.  After a kill the marker may be one commit behind.
"""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

import msgspec

from fraud_detection.adapters.host.private_files import write_to

SUFFIX = ".marker"
SLOT_BYTES = 4096
SLOTS = 2
MAGIC = b"FRAUDCM1"
HASH_BYTES = 32
ID_BYTES = 16
_CONTENT = struct.Struct(f"<8sQQ{ID_BYTES}s{HASH_BYTES}s")
_SUM = struct.Struct("<I")


class MarkerContent(msgspec.Struct, frozen=True):
    """Content of a marker: how often it was written, the last number and its chain hash, the state file's id.

    The hash before the first row is empty, and is filled up with zeros.
    """

    count: int
    seq: int
    chain_hash: bytes
    state_id: bytes

    def is_at(self, chain_hash: bytes) -> bool:
        """Return whether this is the chain hash that was written."""
        return self.chain_hash.ljust(HASH_BYTES, b"\0") == chain_hash.ljust(HASH_BYTES, b"\0")


class CommitMarker:
    """A marker that is written; `synchronous` says whether it is on disk when a write returns."""

    def __init__(self, path: Path, *, synchronous: bool) -> None:
        """Open the file; raise OSError when it is not there or may not be written."""
        self.path, self.synchronous = path, synchronous
        self._fd = os.open(path, os.O_RDWR)
        content = read(path)
        self._count = 0 if content is None else content.count

    def write(self, seq: int, chain_hash: bytes, state_id: bytes) -> None:
        """Say that the file holds everything up to a number; raise OSError when that cannot be written."""
        count = self._count + 1
        os.pwrite(self._fd, _encoded(count, seq, chain_hash, state_id), count % SLOTS * SLOT_BYTES)
        if self.synchronous:
            os.fdatasync(self._fd)
        self._count = count

    @property
    def is_there(self) -> bool:
        """Return whether the file still stands where it was opened."""
        try:
            there = os.stat(self.path)  # noqa: PTH116 - beside `fstat`
        except OSError:
            return False
        return os.path.samestat(there, os.fstat(self._fd))

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)


def marker_path(state: Path) -> Path:
    """Return where the marker of a state file stands."""
    return state.with_name(state.name + SUFFIX)


def encoded(marker: MarkerContent) -> bytes:
    """Return a slot.

    >>> decoded(encoded(MarkerContent(1, 7, b"hash", b"id"))).seq
    7
    """
    return _encoded(marker.count, marker.seq, marker.chain_hash, marker.state_id)


def _encoded(count: int, seq: int, chain_hash: bytes, state_id: bytes) -> bytes:
    content = _CONTENT.pack(MAGIC, count, seq, state_id, chain_hash)
    return content + _SUM.pack(zlib.crc32(content))


def decoded(slot: bytes) -> MarkerContent | None:
    """Return what a slot says; None where it was never written, torn or damaged."""
    content = slot[: _CONTENT.size]
    if len(slot) < _CONTENT.size + _SUM.size or slot[_CONTENT.size :][:4] != _SUM.pack(zlib.crc32(content)):
        return None
    magic, count, seq, state_id, chain_hash = _CONTENT.unpack(content)
    return MarkerContent(count, seq, chain_hash, state_id) if magic == MAGIC else None


def read(path: Path) -> MarkerContent | None:
    """Return what a marker says; None where there is none, or nothing that can be read."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    slots = [decoded(content[index * SLOT_BYTES :][:SLOT_BYTES]) for index in range(SLOTS)]
    return max((slot for slot in slots if slot is not None), key=lambda slot: slot.count, default=None)


def make(path: Path, marker: MarkerContent) -> None:
    """Write a new marker in the place of any other, on disk when this returns."""
    new_path = path.with_name(path.name + ".new")
    with write_to(new_path) as file:
        file.write(bytes(SLOTS * SLOT_BYTES))
        file.seek(marker.count % SLOTS * SLOT_BYTES)
        file.write(encoded(marker))
        file.flush()
        os.fsync(file.fileno())
    new_path.replace(path)
