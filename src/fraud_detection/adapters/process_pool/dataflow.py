"""A `Dataflow` on a pool of processes.

Each step runs a task a partition and writes what it yields into one file, sorted into buckets by the hash of
the group; a partition of the next step reads its bucket of all files.  A task holds one bucket in memory.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import reduce
from pathlib import Path
from typing import cast

from fraud_detection.adapters.host.scratch import scratch_folder
from fraud_detection.adapters.process_pool.spill import Spilled, read_bucket, spill
from fraud_detection.core.dataflow import Collection, Record, Transform
from fraud_detection.core.errors import RetryError


class Partition:
    """The input of one task: records at hand, or a bucket of files, and the transforms to apply."""

    def __init__(
        self,
        records: Sequence[Record] = (),
        files: Sequence[Spilled] = (),
        bucket: int = 0,
        *,
        ordered: bool = False,
        transforms: tuple[Transform, ...] = (),
    ) -> None:
        """Describe where the records are."""
        self.records, self.files, self.bucket, self.ordered = records, files, bucket, ordered
        self.transforms = transforms

    def then(self, transform: Transform) -> Partition:
        """Return the partition after one more transform."""
        return Partition(
            self.records,
            self.files,
            self.bucket,
            ordered=self.ordered,
            transforms=(*self.transforms, transform),
        )

    def read(self) -> Iterator[Record]:
        """Yield what the transforms make of the records."""
        records = iter(self.records or read_bucket(self.files, self.bucket, ordered=self.ordered))
        return reduce(lambda made, transform: iter(transform(made)), self.transforms, records)


class PoolCollection:
    """A `Collection` on the pool."""

    def __init__(self, pool: PoolDataflow, partitions: Sequence[Partition]) -> None:
        """Take the partitions."""
        self._pool, self._partitions = pool, partitions

    def map(self, transform: Transform) -> PoolCollection:
        """Return what the function makes of each partition; it runs when the result is needed."""
        return PoolCollection(self._pool, [partition.then(transform) for partition in self._partitions])

    def union(self, other: Collection) -> PoolCollection:
        """Return the records of both."""
        others = cast("PoolCollection", other)._partitions  # noqa: SLF001 - of its own kind
        return PoolCollection(self._pool, [*self._partitions, *others])

    def grouped(self) -> PoolCollection:
        """Run the tasks, and return partitions of whole groups."""
        files = self._pool.run(self._partitions, self._pool.buckets)
        used = sorted({bucket for spilled in files for bucket in spilled.batches})
        return PoolCollection(
            self._pool, [Partition(files=files, bucket=bucket, ordered=True) for bucket in used]
        )

    def cached(self) -> PoolCollection:
        """Run the tasks, and return their results."""
        files = self._pool.run(self._partitions, 1)
        return PoolCollection(self._pool, [Partition(files=[spilled]) for spilled in files])

    def records(self) -> Iterator[Record]:
        """Run the tasks, and yield what each has made as soon as it is there."""
        for spilled in self._pool.run_as_completed(self._partitions, 1):
            yield from read_bucket([spilled], 0, ordered=False)


class PoolDataflow:
    """Runs transforms in the processes of a pool; `opened` makes one.

    buckets: into how many partitions groups are distributed.
    """

    def __init__(self, executor: ProcessPoolExecutor, folder: Path, buckets: int, parallelism: int) -> None:
        """Take the processes, how many they are, and a folder for what they hand on."""
        self._executor, self._folder, self.buckets = executor, folder, buckets
        self.parallelism = parallelism
        self._tasks = 0

    @classmethod
    @contextmanager
    def opened(cls, jobs: int, scratch: Path, buckets: int) -> Iterator[PoolDataflow]:
        """Start `jobs` processes, and end them; what they hand on lies in a folder in `scratch` meanwhile."""
        # Not forked: a thread of a library may hold a lock in the process that forks.
        context = multiprocessing.get_context("spawn")
        with (
            scratch_folder(scratch) as folder,
            ProcessPoolExecutor(jobs, mp_context=context) as executor,
        ):
            try:
                yield cls(executor, folder, buckets, jobs)
            except BrokenProcessPool:
                raise RetryError(
                    "a process of the pool was killed, by the system where memory ran out: nothing was "
                    "written; run it again, with fewer --jobs if it happens again"
                ) from None

    def collection(self, records: Sequence[Record]) -> PoolCollection:
        """Return a collection in which each of the records is a partition of its own."""
        return PoolCollection(self, [Partition([record]) for record in records])

    def run(self, partitions: Sequence[Partition], buckets: int) -> list[Spilled]:
        """Run one task a partition; return their files in the order of the partitions."""
        return [future.result() for future in self._submit(partitions, buckets)]

    def run_as_completed(self, partitions: Sequence[Partition], buckets: int) -> Iterator[Spilled]:
        """Run one task a partition; yield their files as they are completed."""
        return (future.result() for future in as_completed(self._submit(partitions, buckets)))

    def _submit(self, partitions: Sequence[Partition], buckets: int) -> list[Future[Spilled]]:
        futures = []
        for partition in partitions:
            self._tasks += 1
            path = self._folder / f"{self._tasks}.arrow"
            futures.append(self._executor.submit(_task, partition, path, buckets))
        return futures


def _task(partition: Partition, path: Path, buckets: int) -> Spilled:
    return spill(partition.read(), path, buckets)
