"""Read Parquet files of payments, and store the project's own columns in Parquet."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fraud_detection.adapters.files.arrow_values import check_usable, plain, rows_of, time_columns
from fraud_detection.adapters.files.parquet_parts import (
    Columns,
    ParquetParts,
    array_or_list,
    opened,
    part_files,
)
from fraud_detection.adapters.files.text_tables import Stripe, known

_SAMPLED_GROUPS = 32
_ROWS_A_GROUP = 1 << 20


class ParquetTable:
    """A Parquet file with at least one row."""

    textual = False

    def __init__(self, path: Path) -> None:
        """Read the file's description of itself."""
        self.path = path
        with opened(path) as file:
            schema = file.schema_arrow
            self.names: tuple[str, ...] = tuple(schema.names)
            self.times = time_columns(schema)
            self.rows: int = file.metadata.num_rows
        check_usable(path, self.names, self.rows)

    def sample(self, size: int) -> dict[str, list[object]]:
        """Return at most `size` rows by column, in file order, from at most 32 row groups."""
        with opened(self.path) as file:
            groups = _evenly_spaced(file.metadata.num_row_groups)
            total = sum(file.metadata.row_group(group).num_rows for group in groups)
            chosen = np.sort(np.random.default_rng(7).choice(total, min(size, total), replace=False))
            sampled = list(_take(file.iter_batches(65_536, row_groups=groups), chosen))
            table = pa.Table.from_batches(sampled, schema=file.schema_arrow)
            return {
                name: [value for chunk in column.chunks for value in plain(chunk, name, self.path)]
                for name, column in zip(self.names, table.columns, strict=True)
            }

    def records(
        self, batch_rows: int = 10_000, columns: Sequence[str] | None = None
    ) -> Iterator[list[dict[str, object]]]:
        """Yield all rows as native values by name."""
        names = known(columns if columns is not None else self.names, self.names, self.path)
        with opened(self.path) as file:
            for batch in file.iter_batches(batch_rows, columns=list(names)):
                yield rows_of(batch, names, self.path)

    def stripe(self, batch_rows: int, stripe: Stripe) -> Iterator[tuple[int, list[dict[str, object]]]]:
        """Yield the batches of a stripe, each with the number of its first row."""
        row = 0
        with opened(self.path) as file:
            for number, batch in enumerate(file.iter_batches(batch_rows)):
                if stripe.has(number):
                    yield row, rows_of(batch, self.names, self.path)
                row += batch.num_rows


def write_columns(
    path: Path,
    columns: Mapping[str, np.ndarray | Sequence[object]],
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write columns to a Parquet file, whole or not at all; equal input gives equal bytes."""
    table = _table(columns)
    with _whole(path) as unfinished:
        pq.write_table(
            table.replace_schema_metadata(dict(metadata or {})),
            unfinished,
            compression="zstd",
            row_group_size=_ROWS_A_GROUP,
        )


def write_batches(
    path: Path, batches: Iterable[Mapping[str, np.ndarray]], metadata: Mapping[str, str] | None = None
) -> int:
    """Write batches of the same columns, at least one, to a Parquet file, whole or not at all.

    Returns the number of rows.
    """
    rows = 0
    with _whole(path) as unfinished, contextlib.ExitStack() as opened_writer:
        writer = None
        for grouped in _grouped(_table(batch) for batch in batches):
            table = grouped.replace_schema_metadata(dict(metadata or {}))
            if writer is None:
                writer = opened_writer.enter_context(
                    pq.ParquetWriter(unfinished, table.schema, compression="zstd")
                )
            writer.write_table(table, row_group_size=_ROWS_A_GROUP)
            rows += table.num_rows
    return rows


def _table(columns: Mapping[str, np.ndarray | Sequence[object]]) -> Any:  # noqa: ANN401 - pyarrow ships no types
    return pa.table({name: pa.array(values) for name, values in columns.items()})


def _grouped(tables: Iterable[Any]) -> Iterator[Any]:
    """Join tables until they are as long as a row group."""
    held: list[Any] = []
    for table in tables:
        held.append(table)
        if sum(one.num_rows for one in held) >= _ROWS_A_GROUP:
            yield pa.concat_tables(held)
            held = []
    if held:
        yield pa.concat_tables(held)


@contextlib.contextmanager
def _whole(path: Path) -> Iterator[Path]:
    """Yield a name to write under; what was written takes the name of `path` if all went well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.unfinished")
    try:
        yield unfinished
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def concatenate(parts: Sequence[Path], path: Path, metadata: Mapping[str, str]) -> None:
    """Write the rows of files that `write_columns` wrote as one, whole or not at all.

    Of a column with several types it takes the widest.  A row group is held in memory at a time.
    """
    schemas = [pq.read_schema(part).remove_metadata() for part in parts]
    schema = pa.unify_schemas(schemas, promote_options="permissive").with_metadata(dict(metadata))
    with _whole(path) as unfinished, pq.ParquetWriter(unfinished, schema, compression="zstd") as writer:
        for part in parts:
            writer.write_table(pq.read_table(part).cast(schema), row_group_size=_ROWS_A_GROUP)


def read_columns(path: Path, names: Sequence[str] | None = None) -> tuple[Columns, dict[str, str]]:
    """Return columns of a table that `write_columns` wrote, and its metadata.

    Numbers come as arrays; text, and integers with missing values, as lists.
    """
    parts = ParquetParts(path)
    wanted = known(names if names is not None else parts.names, parts.names, path)
    files = part_files(path) if wanted else []
    whole = [_read_file(file, wanted) for file in files]
    return {name: _joined([columns[name] for columns in whole]) for name in wanted}, parts.metadata


def column_names(path: Path) -> tuple[str, ...]:
    """Return the names of a table's columns."""
    return ParquetParts(path).names


def read_batches(path: Path, names: Sequence[str], start: int, stop: int, rows: int) -> Iterator[Columns]:
    """Yield columns of the rows from `start` until before `stop`, at most `rows` at a time, in order."""
    return ParquetParts(path).batches(names, start, stop, rows)


def _read_file(file: Path, names: Sequence[str]) -> Columns:
    with opened(file) as source:
        table = source.read(columns=list(names))
        return {name: array_or_list(table.column(name)) for name in names}


def _joined(parts: Sequence[np.ndarray | list[object]]) -> np.ndarray | list[object]:
    """Join what the files of a table hold of a column; one may have it in fewer bits than another."""
    arrays = [part for part in parts if isinstance(part, np.ndarray)]
    if len(arrays) == len(parts):
        return np.concatenate(arrays) if len(arrays) > 1 else arrays[0]
    return [value for part in parts for value in part]


def _evenly_spaced(count: int) -> list[int]:
    """Return at most 32 numbers below `count`, evenly, the first and the last among them."""
    return sorted({round(index) for index in np.linspace(0, count - 1, min(count, _SAMPLED_GROUPS))})


def _take(batches: Iterable[Any], chosen: np.ndarray) -> Iterator[Any]:
    """Yield of each batch the rows whose running numbers are among `chosen`."""
    start = 0
    for batch in batches:
        end = start + batch.num_rows
        low, high = np.searchsorted(chosen, (start, end))
        yield batch.take(pa.array(chosen[low:high] - start))
        start = end
