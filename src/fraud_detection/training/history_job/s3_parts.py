"""Parts of a table in S3, since the machines that write them share no disk."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from fraud_detection.adapters.files.parquet_tables import concatenate
from fraud_detection.core.dataflow import Record
from fraud_detection.training.history_job.s3_inputs import Opened
from fraud_detection.training.tables.part_store import SUFFIX
from fraud_detection.training.tables.partitioned import PartSummary


class S3Parts:
    """Keeps each part as an object below a prefix; the driver makes the table of them.

    The driver's disk holds the table twice meanwhile: its parts, and what is made of them.
    """

    def __init__(self, opened: Opened, prefix: str, scratch: Path, out: str) -> None:
        """Take the URI of the parts' folder, a folder on each machine, and the URI of the table."""
        self._opened, self._prefix, self._out = opened, prefix, out
        self.folder = str(scratch / "parts")

    def keep(self, records: Iterable[Record]) -> Iterator[Record]:
        """Store the parts that the summaries name.

        A task that an engine runs twice stores the same rows under the same name.
        """
        files = self._opened()
        for record in records:
            name = msgspec.msgpack.decode(record.content, type=PartSummary).name
            files.store(Path(self.folder) / f"{name}{SUFFIX}", f"{self._prefix}{name}{SUFFIX}")
            yield record

    def join(self, names: Sequence[str], metadata: Mapping[str, str]) -> None:
        """Fetch the parts, and store the table."""
        files, folder = self._opened(), Path(self.folder).with_name("joined")
        folder.mkdir(parents=True, exist_ok=True)
        paths = [folder / f"{name}{SUFFIX}" for name in names]
        for path in paths:
            files.fetch(files.version(f"{self._prefix}{path.name}"), path)
        table = folder / "table"
        concatenate(paths, table, metadata)
        files.store(table, self._out)

    def clear(self) -> None:
        """Remove the parts in S3; what is on the disks of the cluster goes with its machines."""
        files = self._opened()
        for uri in files.below(self._prefix):
            files.remove(uri)
