"""Bloom filter of ids: nearly every payment is new, and this says so without reading a file.

A Bloom filter in blocks of one cache line, in layers, each twice as large as the one before.  An id that was
entered is always known again.  Of those that were not, each full layer takes about one in 1,600 for one, and
layers add up: measured, one in 900 among half a million ids and one in 320 among six million, which have six.

Block and bits are independent of one another: they are cut from bits of one hash that do not overlap, the
low 28 for the block (16 GB of blocks), and four times nine for the bits, of which there are 512.  A bit is
only ever set, so a reader beside the writer sees an id or does not see it yet, never less than before.

>>> seen = BloomFilter()
>>> seen.enter("t1")
>>> seen.may_hold("t1"), seen.may_hold("t2")
(True, False)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from mypy_extensions import i64

FIRST_BLOCKS: Final = 1 << 13
IDS_A_BLOCK: Final = 21
"""In 64 bytes: some 24 bits an id, of which four are set."""


class Layer:
    """So many blocks of 512 bits, and for how many more ids there is room."""

    def __init__(self, blocks: int, content: bytearray | memoryview) -> None:
        """Start empty; `blocks` is a power of two, `content` has their bytes."""
        self.blocks: int = blocks
        self.room: int = blocks * IDS_A_BLOCK
        self.content: bytearray | memoryview = content


class BloomFilter:
    """Holds ids in 3 bytes each, as long as its memory lives."""

    def __init__(self, memory: Callable[[int], bytearray | memoryview] = bytearray) -> None:
        """Start with one layer; `memory` gives each so many bytes, which are 0 where nothing was entered."""
        self.memory: Callable[[int], bytearray | memoryview] = memory
        self.layers: list[Layer] = [Layer(FIRST_BLOCKS, memory(64 * FIRST_BLOCKS))]

    def grow(self) -> None:
        """Add the next layer."""
        blocks = 2 * self.layers[-1].blocks
        self.layers.append(Layer(blocks, self.memory(64 * blocks)))

    def enter(self, transaction_id: str) -> None:
        """Add an id."""
        if self.layers[-1].room == 0:
            self.grow()
        layer = self.layers[-1]
        layer.room -= 1
        number: i64 = hash(transaction_id)
        # The low bits choose the block, the high ones four bits within it.
        start = 64 * (number & (layer.blocks - 1))
        content = layer.content
        for shift in (28, 37, 46, 55):
            bit = number >> shift
            content[start + (bit >> 3 & 63)] |= 1 << (bit & 7)

    def may_hold(self, transaction_id: str) -> bool:
        """Return whether an id may have been entered; False is certain."""
        number: i64 = hash(transaction_id)
        for layer in self.layers:
            start = 64 * (number & (layer.blocks - 1))
            content = layer.content
            for shift in (28, 37, 46, 55):
                bit = number >> shift
                if not content[start + (bit >> 3 & 63)] >> (bit & 7) & 1:
                    break
            else:
                return True
        return False
