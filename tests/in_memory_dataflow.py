"""A `Dataflow` in memory: partitions as lists, groups in partitions by chance, records in no order."""

from __future__ import annotations

import pickle
import random
from collections.abc import Iterator, Sequence
from typing import cast

from fraud_detection.core.dataflow import Collection, Record, Transform


def order(record: Record) -> tuple[str, int, int, int, int]:
    return record.group, record.time, record.position, record.rank, record.number


class InMemoryCollection:
    def __init__(self, partitions: list[list[Record]], dice: random.Random) -> None:
        self.partitions, self._dice = partitions, dice

    def map(self, transform: Transform) -> InMemoryCollection:
        # Pickled, as every engine does it, and run twice, as an engine may after a failure.
        transforms = [pickle.loads(pickle.dumps(transform)) for _ in range(2)]  # noqa: S301 - our own
        first, again = ([list(run(iter(part))) for part in self.partitions] for run in transforms)
        assert first == again
        return InMemoryCollection(first, self._dice)

    def union(self, other: Collection) -> InMemoryCollection:
        return InMemoryCollection(
            [*self.partitions, *cast("InMemoryCollection", other).partitions], self._dice
        )

    def grouped(self) -> InMemoryCollection:
        records = [record for part in self.partitions for record in part]
        self._dice.shuffle(records)
        partitions: list[list[Record]] = [[] for _ in range(3)]
        chosen: dict[str, int] = {}
        for record in records:
            partitions[chosen.setdefault(record.group, self._dice.randrange(3))].append(record)
        return InMemoryCollection([sorted(part, key=order) for part in partitions], self._dice)

    def cached(self) -> InMemoryCollection:
        return self

    def records(self) -> Iterator[Record]:
        self._dice.shuffle(self.partitions)
        return (record for part in self.partitions for record in part)


class InMemoryDataflow:
    parallelism = 3

    def __init__(self, seed: int = 0) -> None:
        self._dice = random.Random(seed)

    def collection(self, records: Sequence[Record]) -> InMemoryCollection:
        return InMemoryCollection([[record] for record in records], self._dice)
