"""Where the parts of a table lie until they are one: a folder that all tasks reach, or its substitute."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from fraud_detection.adapters.files.parquet_tables import concatenate
from fraud_detection.core.dataflow import Record

SUFFIX = ".parquet"


class PartStore(Protocol):
    """Keeps parts, and makes one table of them, whole or not at all; it is pickled for the tasks."""

    @property
    def folder(self) -> str:
        """Return the folder into which a task writes a part, on whatever machine it runs."""

    def keep(self, records: Iterable[Record]) -> Iterator[Record]:
        """Keep the parts that a task wrote, and yield their summaries as they came."""

    def join(self, names: Sequence[str], metadata: Mapping[str, str]) -> None:
        """Make the table of all parts, in the order of the names."""

    def clear(self) -> None:
        """Remove all parts."""


class LocalParts:
    """Parts in a folder beside the table, on a disk that all tasks share."""

    def __init__(self, out: Path) -> None:
        """Take the path of the table."""
        self._out, self._prefix = out, f".{out.name}.parts-"
        # Of each run its own: a task of a run that was killed may still be writing.
        self.folder = str(out.with_name(f"{self._prefix}{uuid.uuid4().hex}"))

    def keep(self, records: Iterable[Record]) -> Iterator[Record]:
        """Yield the records: the parts are where they belong."""
        yield from records

    def join(self, names: Sequence[str], metadata: Mapping[str, str]) -> None:
        """Write the table."""
        concatenate([Path(self.folder) / f"{name}{SUFFIX}" for name in names], self._out, metadata)

    def clear(self) -> None:
        """Remove the folder, and those of runs that were killed."""
        for path in list(self._out.parent.glob("*")):
            if path.name.startswith(self._prefix):
                shutil.rmtree(path, ignore_errors=True)
