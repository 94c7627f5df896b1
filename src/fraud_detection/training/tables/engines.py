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

SMALL_BYTES = 1 << 23
"""A file of history up to this size is read by one process: others would take longer to start."""
BYTES_A_BUCKET = 1 << 22
"""Of a file of history; a process holds in memory what comes of so many, several hundred megabytes."""
MIN_BUCKETS = 8


class EngineSettings(msgspec.Struct, frozen=True):
    """An engine, and how many processes it has on this machine; one is this process itself.

    jobs: None where the size of the history decides.
    """

    kind: Literal["local"] = "local"
    jobs: int | None = None

    def jobs_for(self, history: Path | None) -> int:
        """Return how many processes are to read and replay a history."""
        if self.jobs is not None:
            return self.jobs
        return 1 if _size(history) <= SMALL_BYTES else len(os.sched_getaffinity(0))

    @contextmanager
    def opened(self, history: Path | None, out: Path) -> Iterator[Dataflow]:
        """Start the engine, and end it; what its processes hand on lies beside `out` meanwhile."""
        buckets = max(MIN_BUCKETS, self.jobs_for(history), _size(history) // BYTES_A_BUCKET)
        out.parent.mkdir(parents=True, exist_ok=True)
        with PoolDataflow.opened(self.jobs_for(history), out.parent, buckets) as flow:
            yield flow


def _size(history: Path | None) -> int:
    """Return the bytes of a file; 0 where there is none, which reading it will say."""
    return history.stat().st_size if history is not None and history.is_file() else 0


ONE_PROCESS = EngineSettings(jobs=1)
