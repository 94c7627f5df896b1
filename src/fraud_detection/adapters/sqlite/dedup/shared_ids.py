"""Bloom filter of one worker's ids in shared memory: that worker writes it, the others read it.

The memory belongs to the process that starts the workers, so it outlives a worker that is killed.  All of
them have the same seed of `hash`, which that process chooses; else they would look at other bits than were
written.
"""

from __future__ import annotations

import mmap
import os
import threading

from fraud_detection.adapters.sqlite.dedup.bloom_filter import FIRST_BLOCKS, BloomFilter
from fraud_detection.core.errors import ConfigError

MAX_LAYERS = 12
HEAD_BYTES = 64
SIZE = HEAD_BYTES + 64 * FIRST_BLOCKS * (2**MAX_LAYERS - 1)
"""Two gigabytes of addresses; what is never written takes no memory."""
LAYERS, ROOM, COMPLETE = 0, 1, 2
"""Header fields: number of layers, free capacity of the last one, and whether all ids are in."""

_LOCK = threading.Lock()


def shared_memory(worker: int) -> int:
    """Return the descriptor of memory for the ids of a worker, for this process and those that it starts."""
    memory = os.memfd_create(f"fraud-ids-{worker}")
    os.ftruncate(memory, SIZE)
    return memory


class SharedIds:
    """An `BloomFilter` over shared memory; its worker alone enters."""

    def __init__(self, memory: int) -> None:
        """Open the filter in `memory`, a descriptor of `shared_memory`."""
        self._bytes = memoryview(mmap.mmap(memory, SIZE))
        self._head = self._bytes[:HEAD_BYTES].cast("q")
        self._end = HEAD_BYTES
        self._ids, self._layers, self._complete = BloomFilter(self._part), 0, False
        self._lock = threading.Lock()
        self._lock.acquire()
        if self._head[LAYERS]:
            self._grow_to_shared()
            self._ids.layers[-1].room = self._head[ROOM]

    def is_complete(self) -> bool:
        """Return whether all ids of the state file are in."""
        self._complete = self._complete or self._head[COMPLETE] == 1
        return self._complete

    def completed(self) -> None:
        """Mark the filter as complete: all ids of the state file are in."""
        self._head[COMPLETE] = 1

    def enter(self, transaction_id: str) -> None:
        """Add an id, once."""
        ids = self._ids
        if not ids.may_hold(transaction_id):
            ids.enter(transaction_id)
            layers = ids.layers
            self._head[ROOM] = layers[-1].room
            if len(layers) != self._layers:
                self._head[LAYERS] = self._layers = len(layers)

    def fence(self) -> None:
        """Let what was entered be seen by all before anything is looked for.

        A processor may let a load overtake an earlier store: two workers that enter the same id at the same
        time would not see each other.  Nothing that stands before the release of a lock moves behind it, and
        nothing behind its next acquisition before that.  So of two workers that enter, pass here and look, at
        least one sees the other.  The lock is held all the time; one thread enters and looks.
        """
        self._lock.release()
        self._lock.acquire()

    def may_hold(self, transaction_id: str) -> bool:
        """Return whether an id may have been entered; False is certain."""
        if self._layers < self._head[LAYERS]:
            self._grow_to_shared()
        return self._ids.may_hold(transaction_id)

    def _grow_to_shared(self) -> None:
        while len(self._ids.layers) < self._head[LAYERS]:
            self._ids.grow()
        self._layers = len(self._ids.layers)

    def _part(self, size: int) -> memoryview:
        start, self._end = self._end, self._end + size
        if self._end > SIZE:
            raise ConfigError("a worker has too many ids; make new state files with more workers")
        return self._bytes[start : self._end]
