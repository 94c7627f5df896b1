"""Read a stored table part by part: one Parquet file, or a folder of them in the order of their names.

Whatever the table's size, no more than a batch of rows and a buffer a column is in memory.  Arrow would read
ahead whole row groups, or all of a file, where it is not told otherwise.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fraud_detection.adapters.files.arrow_values import DAMAGE, brief, is_numeric
from fraud_detection.adapters.files.text_tables import known
from fraud_detection.core.errors import ConfigError

Columns = dict[str, "np.ndarray | list[object]"]

BATCH_ROWS = 65_536

_BUFFER_BYTES = 1 << 18
"""Read ahead of each column."""

_HIDDEN = (".", "_")
"""How names begin of files that engines leave beside the parts, such as `_SUCCESS`."""


@dataclass(frozen=True, slots=True)
class RowGroup:
    """A piece of a file: its number there, and the rows of the table from `start` until before `stop`."""

    file: Path
    number: int
    start: int
    stop: int
    described: Any

    def limits(self, name: str) -> tuple[Any, Any] | None:
        """Return the least and the greatest value of a column; None where the file does not say."""
        columns = map(self.described.column, range(self.described.num_columns))
        statistics = next(column.statistics for column in columns if column.path_in_schema == name)
        if statistics is None or not statistics.has_min_max:
            return None
        return statistics.min, statistics.max


class ParquetParts:
    """A table of at least one file; every file has the columns of the first.

    names: the columns.  metadata: what the first file says about the table.  rows: of all files.
    """

    def __init__(self, path: Path) -> None:
        """Read the descriptions of all files; raise ConfigError where they are not one table."""
        self.path = path
        self.groups: list[RowGroup] = []
        schemas = [self._describe(file) for file in part_files(path)]
        self.names: tuple[str, ...] = tuple(schemas[0].names)
        self.metadata = {key.decode(): value.decode() for key, value in (schemas[0].metadata or {}).items()}
        self._check_one_table(schemas)

    @property
    def rows(self) -> int:
        """Return the number of rows of all files."""
        return self.groups[-1].stop if self.groups else 0

    def batches(
        self, names: Sequence[str], start: int, stop: int, rows: int = BATCH_ROWS
    ) -> Iterator[Columns]:
        """Yield columns of the rows from `start` until before `stop`, at most `rows` at a time, in order.

        Numbers come as arrays; text, and integers with missing values, as lists.
        """
        wanted = list(known(names, self.names, self.path))
        try:
            yield from self._batches(wanted, start, stop, rows)
        finally:
            pa.default_memory_pool().release_unused()  # else Arrow keeps what its buffers took

    def _batches(self, names: list[str], start: int, stop: int, rows: int) -> Iterator[Columns]:
        for file, groups in self._by_file(start, stop):
            at = groups[0].start
            with opened(file) as source:
                numbers = [group.number for group in groups]
                for batch in source.iter_batches(rows, row_groups=numbers, columns=names):
                    low, high = max(start - at, 0), min(stop - at, batch.num_rows)
                    at += batch.num_rows
                    if low < high:
                        own = batch.slice(low, high - low)
                        yield {name: array_or_list(own.column(name)) for name in names}

    def _describe(self, file: Path) -> Any:  # noqa: ANN401 - pyarrow ships no types
        with opened(file) as source:
            for number in range(source.metadata.num_row_groups):
                described, start = source.metadata.row_group(number), self.rows
                stop = start + described.num_rows
                self.groups.append(RowGroup(file, number, start, stop, described))
            return source.schema_arrow

    def _check_one_table(self, schemas: Sequence[Any]) -> None:
        for file, schema in zip(part_files(self.path), schemas, strict=True):
            if tuple(schema.names) != self.names:
                differing = sorted(set(schema.names) ^ set(self.names)) or ["their order"]
                raise ConfigError(
                    f"{file}: has other columns than the first file of {self.path} ({', '.join(differing)}); "
                    "keep the files of one table in a folder, and nothing else"
                )

    def _by_file(self, start: int, stop: int) -> Iterator[tuple[Path, list[RowGroup]]]:
        """Yield each file that holds some of the rows, with the row groups that do."""
        touched = [group for group in self.groups if group.start < stop and group.stop > start]
        for file in dict.fromkeys(group.file for group in touched):
            yield file, [group for group in touched if group.file == file]


def part_files(path: Path) -> list[Path]:
    """Return the files of a table, in order; raise ConfigError for a folder without any."""
    if not path.is_dir():
        return [path]
    files = sorted(file for file in path.glob("*.parquet") if not file.name.startswith(_HIDDEN))
    if not files:
        raise ConfigError(f"{path}: is a folder without a Parquet file; name a table")
    return files


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Any]:
    """Open a Parquet file; raise ConfigError where it is none, or turns out to be damaged."""
    try:
        with pq.ParquetFile(path, buffer_size=_BUFFER_BYTES, pre_buffer=False) as file:
            yield file
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file") from None
    except DAMAGE as error:
        raise ConfigError(f"{path}: is not a Parquet file, is cut off or damaged ({brief(error)})") from None


def array_or_list(column: Any) -> np.ndarray | list[object]:  # noqa: ANN401 - pyarrow ships no types
    """Return numbers as an array; text, and integers with missing values, as a list."""
    is_float = pa.types.is_floating(column.type)
    if is_float or (column.null_count == 0 and is_numeric(column.type)):
        array: np.ndarray = column.to_numpy(zero_copy_only=False)
        return array
    return list(column.to_pylist())
