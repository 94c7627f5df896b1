"""A `Dataflow` on Spark: a collection is a data frame with the columns of a `Record`.

A shuffle is the only way in which records meet, and Spark repeats the tasks whose results are lost with a
machine.  That gives the same records: a transform depends on its partition alone, a group is in the partition
that the hash of its name says, and comes sorted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from functools import partial, reduce
from pathlib import Path
from typing import Any, TypeVar, cast

from pyspark import StorageLevel
from pyspark.sql import DataFrame, SparkSession

from fraud_detection.adapters.host.record_batches import ORDER, batches_of, records_of
from fraud_detection.adapters.spark.failures import as_raised, carried
from fraud_detection.adapters.spark.session import started
from fraud_detection.core.dataflow import Collection, Record, Transform

COLUMNS = "group string, time long, position long, rank long, number long, content binary"
BATCH_BYTES = 1 << 22
"""Of a batch that a Python process hands to Spark."""
POLL_S = 0.3
TASKS_A_CORE = 2
"""At least: groups fall into partitions by chance, and the longest task sets the end."""
Progress = Callable[[str, float], None]
T = TypeVar("T")


class SparkCollection:
    """A `Collection` on Spark, with the transforms that wait for the next shuffle.

    They run one after another in one Python process, so that records go to it and back once.
    """

    def __init__(self, flow: SparkDataflow, frame: DataFrame, transforms: tuple[Transform, ...] = ()) -> None:
        """Take the data frame."""
        self._flow, self._frame, self._transforms = flow, frame, transforms

    def map(self, transform: Transform) -> SparkCollection:
        """Return what the function makes of each partition; it runs when the result is needed."""
        return SparkCollection(self._flow, self._frame, (*self._transforms, transform))

    def union(self, other: Collection) -> SparkCollection:
        """Return the records of both."""
        others = cast("SparkCollection", other)._made  # noqa: SLF001 - of its own kind
        return SparkCollection(self._flow, self._made.union(others))

    def grouped(self) -> SparkCollection:
        """Return partitions of whole groups; Spark sorts them, on disk where memory is short."""
        frame = self._made.repartition(self._flow.partitions, "group").sortWithinPartitions(*ORDER)
        return SparkCollection(self._flow, frame)

    def cached(self) -> SparkCollection:
        """Run the transforms, and keep the result on the disks of the machines."""
        frame = self._made.persist(StorageLevel.DISK_ONLY)
        self._flow.run(frame.count)
        return SparkCollection(self._flow, frame)

    def records(self) -> Iterator[Record]:
        """Run the transforms; yield their records, all of which come to this process."""
        table = self._flow.run(self._made.toArrow)
        return (record for batch in table.to_batches() for record in records_of(batch))

    @property
    def _made(self) -> DataFrame:
        if not self._transforms:
            return self._frame
        return self._frame.mapInArrow(partial(_transformed, self._transforms), COLUMNS)


class SparkDataflow:
    """Runs transforms on the Python processes of Spark's executors.

    partitions: into how many groups are distributed.
    """

    def __init__(self, session: SparkSession, partitions: int, progress: Progress) -> None:
        """Take a session; progress is told how many tasks of a step are done."""
        self._session, self.partitions, self._progress = session, partitions, progress

    @classmethod
    @contextmanager
    def opened(
        cls, master: str, scratch: Path, partitions: int, progress: Progress
    ) -> Iterator[SparkDataflow]:
        """Start Spark, and stop it; without a cluster its files lie in a folder in `scratch` meanwhile.

        partitions: at least so many, and more where there are more cores.
        """
        progress("spark: starting", 0.0)
        with started(master, scratch) as session:
            tasks = int(session.sparkContext.defaultParallelism)
            yield cls(session, max(partitions, TASKS_A_CORE * tasks), progress)

    @property
    def parallelism(self) -> int:
        """Return how many tasks run at the same time."""
        return int(self._session.sparkContext.defaultParallelism)

    def collection(self, records: Sequence[Record]) -> SparkCollection:
        """Return a collection in which each of the records is a partition of its own."""
        numbers = self._session.range(0, len(records), 1, len(records))
        frame = numbers.mapInArrow(partial(_chosen, list(records)), COLUMNS)
        return SparkCollection(self, frame)

    def run(self, action: Callable[[], T]) -> T:
        """Run an action while its progress is shown; end its tasks where this process is interrupted.

        Raises what a transform raised, of the errors that name their remedy, and RetryError where Spark gave
        up on executors that were lost.
        """
        with ThreadPoolExecutor(1) as executor:
            future = executor.submit(action)
            try:
                while not wait([future], POLL_S).done:
                    self._report()
                return future.result()
            except Exception as error:
                raise as_raised(error) from error
            finally:
                self._session.sparkContext.cancelAllJobs()

    def _report(self) -> None:
        tracker = self._session.sparkContext.statusTracker()
        stages = [info for stage in tracker.getActiveStageIds() if (info := tracker.getStageInfo(stage))]
        total = sum(stage.numTasks for stage in stages)
        if total:
            done = sum(stage.numCompletedTasks for stage in stages)
            self._progress(f"spark: {done:,} of {total:,} tasks", done / total)


def _transformed(transforms: Sequence[Transform], batches: Iterator[Any]) -> Iterator[Any]:
    records: Iterator[Record] = (record for batch in batches for record in records_of(batch))
    with carried():
        made = reduce(lambda made, transform: iter(transform(made)), transforms, records)
        yield from batches_of(made, BATCH_BYTES)


def _chosen(records: Sequence[Record], batches: Iterator[Any]) -> Iterator[Any]:
    """Yield the records with the numbers in the batches, one a partition."""
    numbers = (number for batch in batches for number in batch.column(0).to_pylist())
    return batches_of((records[number] for number in numbers), BATCH_BYTES)
