"""History in S3 for an engine that reads files: each machine fetches them once, before its first task."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

from fraud_detection.adapters.aws.clients import patient_client
from fraud_detection.adapters.aws.s3_files import ObjectVersion, S3Files
from fraud_detection.core.dataflow import Collection, Dataflow, Record

Opened = Callable[[], S3Files]
"""Makes the way to S3 in the process that needs it; it is pickled by its name."""


def s3_files() -> S3Files:
    """Return the way to S3, by the region and credentials of this process's environment."""
    return S3Files(patient_client("s3"))


class FetchingDataflow:
    """Another engine, whose tasks find the objects under the same paths on each machine."""

    def __init__(
        self, flow: Dataflow, opened: Opened, versions: Sequence[ObjectVersion], folder: Path
    ) -> None:
        """Take the engine, the objects, and the folder for them."""
        self._flow = flow
        self._fetched = partial(fetched, opened, tuple(versions), str(folder))

    @property
    def parallelism(self) -> int:
        """Return how many partitions are processed at the same time, see `Dataflow`."""
        return self._flow.parallelism

    def collection(self, records: Sequence[Record]) -> Collection:
        """Return a collection whose tasks fetch first, see `Dataflow`."""
        return self._flow.collection(records).map(self._fetched)


def fetched(
    opened: Opened, versions: Sequence[ObjectVersion], folder: str, records: Iterable[Record]
) -> Iterator[Record]:
    """Fetch the objects that this machine does not have yet, then yield the records."""
    files = opened()
    for version in versions:
        files.fetch_once(version, Path(folder))
    yield from records
