"""Ports of an engine that runs one function on many parts of the data at once: a process pool, or Spark.

What is computed is written once, as functions from records to records, and is the same wherever it runs.  A
function gets the records of one partition and must depend on nothing else: an engine may run it again after
a failure, on another machine, and the result must be equal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol

import msgspec


class Record(msgspec.Struct, frozen=True, gc=False):
    """One record of a collection: where it belongs, its order there, and its content.

    group: records of one group come together, in the order of time, position, rank and number; of two that
    agree in all of these, either may come first.  content: whatever the functions agree on.
    """

    group: str
    time: int = 0
    position: int = 0
    rank: int = 0
    number: int = 0
    content: bytes = b""


Transform = Callable[[Iterator[Record]], Iterable[Record]]
"""A function over the records of one partition; it is pickled, and may run more than once."""


class Collection(Protocol):
    """Records in partitions that are processed independently."""

    def map(self, transform: Transform) -> Collection:
        """Return what the function makes of each partition."""

    def union(self, other: Collection) -> Collection:
        """Return the records of both."""

    def grouped(self) -> Collection:
        """Return partitions of whole groups, group after group, the records of each in their order."""

    def cached(self) -> Collection:
        """Compute the collection now, and keep it for several uses."""

    def records(self) -> Iterator[Record]:
        """Yield all records, in no order of partitions."""


class Dataflow(Protocol):
    """An engine that runs transforms."""

    @property
    def parallelism(self) -> int:
        """Return how many partitions are processed at the same time."""

    def collection(self, records: Sequence[Record]) -> Collection:
        """Return a collection in which each of the records is a partition of its own."""
