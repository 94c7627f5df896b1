"""What the limiters of several workers have counted, each in a small file that the others read at any moment.

The file is mapped into memory, so a payment costs its worker two stores, and no call of the system.  It holds
nothing that is not in the worker's state file: it outlives a worker that is killed, and is made anew from
the state file when that starts again, or when all do.
"""

from __future__ import annotations

import mmap
import os
import struct
from pathlib import Path

from fraud_detection.decide.limiter import MOST_PARTS, DeclineCounts, Parts

HEAD = struct.Struct("=qqq")
"""A generation, which is odd while more than a number is being changed; the length of a part in ms; how many
rows are in use."""
ROW = struct.Struct("=qqq")
"""A part, its payments, its declines."""
ROWS = MOST_PARTS + 1
SIZE = HEAD.size + ROWS * ROW.size
LOOKS = 100
"""So often a file is read again that is being changed; its worker was killed in the middle if it stays so."""


class CountBoard:
    """One worker's counts for the others, and theirs for it.

    A reader copies a file at once, and looks at its generation before and after; so it never takes the counts
    of one part for those of another.  A payment more or less, of this very moment, it may miss.
    """

    def __init__(self, folder: Path, worker: int, workers: int) -> None:
        """Make the own file where it is not there; `folder` is where the workers meet."""
        self._folder = folder
        self._others = [one for one in range(workers) if one != worker]
        self._maps: dict[int, mmap.mmap] = {}
        self._own = _mapped(self._path(worker), make=True)
        self._places: dict[int, int] = {}

    def publish(self, counts: DeclineCounts) -> None:
        """Put down all that was counted, in place of what stands there."""
        generation = HEAD.unpack_from(self._own)[0] | 1
        HEAD.pack_into(self._own, 0, generation, counts.part_ms, 0)
        self._places = {part: place for place, part in enumerate(counts.parts)}
        for part, place in self._places.items():
            ROW.pack_into(self._own, _at(place), part, *counts.parts[part])
        HEAD.pack_into(self._own, 0, generation + 1, counts.part_ms, len(self._places))

    def note(self, part: int, payments: int, declines: int) -> bool:
        """Put down the counts of a part that stands there already; return False where it does not."""
        place = self._places.get(part)
        if place is None:
            return False
        ROW.pack_into(self._own, _at(place), part, payments, declines)
        return True

    def others(self) -> list[DeclineCounts]:
        """Return what the other workers have counted by now."""
        return [_read(board) for board in map(self._board, self._others) if board is not None]

    def close(self) -> None:
        """Let go of the files."""
        for one in (self._own, *self._maps.values()):
            one.close()

    def _board(self, worker: int) -> mmap.mmap | None:
        """Return the file of another worker; None while there is none."""
        found = self._maps.get(worker)
        if found is None:
            path = self._path(worker)
            if not path.exists() or path.stat().st_size != SIZE:
                return None
            found = self._maps[worker] = _mapped(path)
        return found

    def _path(self, worker: int) -> Path:
        return self._folder / f"declines-{worker}"


def _at(place: int) -> int:
    return HEAD.size + place * ROW.size


def _mapped(path: Path, *, make: bool = False) -> mmap.mmap:
    file = os.open(path, os.O_RDWR | (os.O_CREAT if make else 0), 0o600)
    try:
        if make and os.fstat(file).st_size != SIZE:
            # Written and not only made longer: where the disk is full, this fails and no store does later.
            os.pwrite(file, bytes(SIZE), 0)
        return mmap.mmap(file, SIZE)
    finally:
        os.close(file)


def _read(board: mmap.mmap) -> DeclineCounts:
    seen = board[:]
    for _ in range(LOOKS):
        generation = HEAD.unpack_from(seen)[0]
        if generation % 2 == 0 and HEAD.unpack_from(board)[0] == generation:
            break
        seen = board[:]
    _, part_ms, used = HEAD.unpack_from(seen)
    rows = seen[HEAD.size : _at(min(used, ROWS))]
    parts: Parts = {part: (payments, declines) for part, payments, declines in ROW.iter_unpack(rows)}
    return DeclineCounts(part_ms, parts)
