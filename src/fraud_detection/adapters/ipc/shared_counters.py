"""Decline counts of several workers: each in a small file that the others read at any moment.

The file is mapped into memory, so a payment costs its worker two stores, and no call of the system.  It holds
nothing that is not in the worker's state file: it outlives a worker that is killed, and is made anew from
the state file when that starts again, or when all do.

Why nobody needs a lock.  The file is a row of aligned 64-bit numbers, each of which is stored and loaded at
once by the processor: a reader sees a number of before or of after.  (`struct.pack_into` would not do: it
first fills the slot with zeros.)  What has to fit together is guarded by a generation, as in a seqlock: the
writer makes it odd, changes the rows, and makes it even again, one higher; a reader that finds the same even
number before and after has met no change.  Fences keep a processor from moving the rows across it.
"""

from __future__ import annotations

import mmap
import os
import threading
from pathlib import Path

from fraud_detection.core.decide.decline_cap import MAX_BUCKETS, Buckets, DeclineCounts

GENERATION, BUCKET_MS, USED, HEAD = 0, 1, 2, 3
"""The first numbers: a generation, which is odd while more than a number is being changed; the length of a
bucket in ms; how many rows are in use.  Then come the rows."""
ROW = 3
"""Numbers of a row: a bucket, its payments, its declines."""
ROWS = MAX_BUCKETS + 1
SIZE = 8 * (HEAD + ROWS * ROW)
LOOKS = 100
"""So often a file is read again that is being changed; its worker was killed in the middle if it stays so."""


class SharedCounters:
    """One worker's counts for the others, and theirs for it.

    A reader never takes the counts of one bucket for those of another.  A payment more or less, of this very
    moment, it may miss.
    """

    def __init__(self, folder: Path, worker: int, workers: int) -> None:
        """Make the own file where it is not there; `folder` is where the workers meet."""
        self._folder = folder
        self._others = [index for index in range(workers) if index != worker]
        self._maps: dict[int, memoryview] = {}
        self._own = _mapped(self._path(worker), make=True)
        self._slots: dict[int, int] = {}
        self._lock = threading.Lock()
        self._lock.acquire()

    def publish(self, counts: DeclineCounts) -> None:
        """Publish all counts, replacing the ones before."""
        own = self._own
        own[GENERATION] = generation = own[GENERATION] | 1
        self._fence()
        self._slots = {bucket: slot for slot, bucket in enumerate(counts.buckets)}
        own[BUCKET_MS], own[USED] = counts.bucket_ms, len(self._slots)
        for bucket, slot in self._slots.items():
            at = _at(slot)
            own[at], own[at + 1], own[at + 2] = bucket, *counts.buckets[bucket]
        self._fence()
        own[GENERATION] = generation + 1

    def set_counts(self, bucket: int, payments: int, declines: int) -> bool:
        """Set the counts of a bucket that has a slot; return False where it has none."""
        slot = self._slots.get(bucket)
        if slot is None:
            return False
        at = _at(slot)
        self._own[at + 1], self._own[at + 2] = payments, declines
        return True

    def others(self) -> list[DeclineCounts]:
        """Return what the other workers have counted by now."""
        return [
            self._read(counters) for counters in map(self._counters_of, self._others) if counters is not None
        ]

    def close(self) -> None:
        """Let go of the files."""
        for view in (self._own, *self._maps.values()):
            view.release()

    def _read(self, counters: memoryview) -> DeclineCounts:
        bucket_ms = 0
        rows: list[int] = []
        for _ in range(LOOKS):
            generation = counters[GENERATION]
            self._fence()
            bucket_ms, used = counters[BUCKET_MS], min(counters[USED], ROWS)
            rows = counters[HEAD : _at(used)].tolist()
            self._fence()
            if generation % 2 == 0 and counters[GENERATION] == generation:
                break
        buckets: Buckets = dict(zip(rows[::ROW], zip(rows[1::ROW], rows[2::ROW], strict=True), strict=True))
        return DeclineCounts(bucket_ms, buckets)

    def _fence(self) -> None:
        """Let no load or store move past this line: as `SharedIds.fence` does, and why."""
        self._lock.release()
        self._lock.acquire()

    def _counters_of(self, worker: int) -> memoryview | None:
        """Return the file of another worker; None while there is none."""
        counters = self._maps.get(worker)
        if counters is None:
            path = self._path(worker)
            if not path.exists() or path.stat().st_size != SIZE:
                return None
            counters = self._maps[worker] = _mapped(path)
        return counters

    def _path(self, worker: int) -> Path:
        return self._folder / f"declines-{worker}"


def _at(slot: int) -> int:
    return HEAD + slot * ROW


def _mapped(path: Path, *, make: bool = False) -> memoryview:
    file = os.open(path, os.O_RDWR | (os.O_CREAT if make else 0), 0o600)
    try:
        if make and os.fstat(file).st_size != SIZE:
            # Written and not only made longer: where the disk is full, this fails and no store does later.
            os.pwrite(file, bytes(SIZE), 0)
        return memoryview(mmap.mmap(file, SIZE)).cast("q")
    finally:
        os.close(file)
