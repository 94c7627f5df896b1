"""Which engine makes a table of features, and how many processes or machines it has."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import msgspec

from fraud_detection.adapters.process_pool.dataflow import PoolDataflow
from fraud_detection.core.dataflow import Dataflow
from fraud_detection.core.errors import ConfigError
from fraud_detection.history.load import Progress

SMALL_BYTES = 1 << 23
"""A file of history up to this size is read by one process: others would take longer to start."""
BYTES_A_BUCKET = 1 << 22
"""Of a file of history; a process holds in memory what comes of so many, several hundred megabytes."""
MIN_BUCKETS = 8
BYTES_A_SPARK_PARTITION = 1 << 25
"""Of a file of history; Spark sorts on disk what is too large for memory."""
LOCAL_SPARK = "local[*]"
SUBMITTED = "spark-submit"
"""As a master: the one that spark-submit named, which started this program."""


class EngineSettings(msgspec.Struct, frozen=True):
    """An engine, and how many processes or machines it has.

    jobs: processes of `local` on this machine, where one is this process itself; None where the size of the
    history decides.  master: the cluster of `spark`, as Spark names it, or SUBMITTED; by default all
    cores of this machine.
    """

    kind: Literal["local", "spark"] = "local"
    jobs: int | None = None
    master: str | None = None

    def __post_init__(self) -> None:
        """Raise ConfigError where a setting is for the other engine."""
        if self.kind == "spark" and self.jobs is not None:
            raise ConfigError(
                f"--jobs is for --engine local; Spark's cores are named as --master local[{self.jobs}]"
            )
        if self.kind == "local" and self.master is not None:
            raise ConfigError("--master names a cluster of Spark: give --engine spark, too")

    def in_partitions(self, history: Path | None) -> bool:
        """Return whether a history is replayed in partitions, and not by this process alone."""
        return self.kind == "spark" or self.jobs_for(history) > 1

    def jobs_for(self, history: Path | None) -> int:
        """Return how many processes of this machine are to read and replay a history."""
        if self.jobs is not None:
            return self.jobs
        return 1 if _size(history) <= SMALL_BYTES else len(os.sched_getaffinity(0))

    @contextmanager
    def opened(self, history: Path | None, out: Path, progress: Progress) -> Iterator[Dataflow]:
        """Start the engine, and end it; what its processes hand on lies beside `out` meanwhile."""
        out.parent.mkdir(parents=True, exist_ok=True)
        if self.kind == "spark":
            from fraud_detection.adapters.spark.dataflow import SparkDataflow  # noqa: PLC0415 - is an extra

            partitions = max(MIN_BUCKETS, _size(history) // BYTES_A_SPARK_PARTITION)
            with SparkDataflow.opened(self.master or LOCAL_SPARK, out.parent, partitions, progress) as flow:
                yield flow
            return
        buckets = max(MIN_BUCKETS, self.jobs_for(history), _size(history) // BYTES_A_BUCKET)
        with PoolDataflow.opened(self.jobs_for(history), out.parent, buckets) as pool:
            yield pool


def _size(history: Path | None) -> int:
    """Return the bytes of a file; 0 where there is none, which reading it will say."""
    return history.stat().st_size if history is not None and history.is_file() else 0


ONE_PROCESS = EngineSettings(jobs=1)
