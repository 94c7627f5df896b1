"""Read Parquet files of payments, and store the project's own columns in Parquet."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fraud_detection.adapters.files.arrow_values import (
    DAMAGE,
    brief,
    check_usable,
    is_numeric,
    plain,
    rows_of,
    time_columns,
)
from fraud_detection.adapters.files.text_tables import Stripe, known
from fraud_detection.core.errors import ConfigError

Columns = dict[str, "np.ndarray | list[object]"]

_SAMPLED_GROUPS = 32
_ROWS_A_GROUP = 1 << 20


class ParquetTable:
    """A Parquet file with at least one row."""

    textual = False

    def __init__(self, path: Path) -> None:
        """Read the file's description of itself."""
        self.path = path
        with _opened(path) as file:
            schema = file.schema_arrow
            self.names: tuple[str, ...] = tuple(schema.names)
            self.times = time_columns(schema)
            self.rows: int = file.metadata.num_rows
        check_usable(path, self.names, self.rows)

    def sample(self, size: int) -> dict[str, list[object]]:
        """Return at most `size` rows by column, in file order, from at most 32 row groups."""
        with _opened(self.path) as file:
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
        with _opened(self.path) as file:
            for batch in file.iter_batches(batch_rows, columns=list(names)):
                yield rows_of(batch, names, self.path)

    def stripe(self, batch_rows: int, stripe: Stripe) -> Iterator[tuple[int, list[dict[str, object]]]]:
        """Yield the batches of a stripe, each with the number of its first row."""
        row = 0
        with _opened(self.path) as file:
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
    table = pa.table({name: pa.array(values) for name, values in columns.items()})
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.unfinished")
    try:
        pq.write_table(
            table.replace_schema_metadata(dict(metadata or {})),
            unfinished,
            compression="zstd",
            row_group_size=_ROWS_A_GROUP,
        )
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def concatenate(parts: Sequence[Path], path: Path, metadata: Mapping[str, str]) -> None:
    """Write the rows of files that `write_columns` wrote as one, whole or not at all.

    Of a column with several types it takes the widest.  A row group is held in memory at a time.
    """
    schemas = [pq.read_schema(part).remove_metadata() for part in parts]
    schema = pa.unify_schemas(schemas, promote_options="permissive").with_metadata(dict(metadata))
    unfinished = path.with_name(f".{path.name}.unfinished")
    try:
        with pq.ParquetWriter(unfinished, schema, compression="zstd") as writer:
            for part in parts:
                writer.write_table(pq.read_table(part).cast(schema), row_group_size=_ROWS_A_GROUP)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def read_columns(path: Path, names: Sequence[str] | None = None) -> tuple[Columns, dict[str, str]]:
    """Return columns of a file that `write_columns` wrote, and its metadata.

    Numbers come as arrays; text, and integers with missing values, as lists.
    """
    with _opened(path) as file:
        schema = file.schema_arrow
        wanted = known(names if names is not None else schema.names, schema.names, path)
        table = file.read(columns=list(wanted))
        metadata = {key.decode(): value.decode() for key, value in (schema.metadata or {}).items()}
        return {name: _array_or_list(table.column(name)) for name in wanted}, metadata


def column_names(path: Path) -> tuple[str, ...]:
    """Return the names of a file's columns."""
    with _opened(path) as file:
        return tuple(file.schema_arrow.names)


def read_batches(
    path: Path, names: Sequence[str], start: int, stop: int, rows: int
) -> Iterator[dict[str, np.ndarray | list[object]]]:
    """Yield columns of the rows from `start` until before `stop`, at most `rows` at a time, in order."""
    with _opened(path) as file:
        wanted = known(names, file.schema_arrow.names, path)
        edges = np.cumsum([0, *(file.metadata.row_group(n).num_rows for n in range(file.num_row_groups))])
        groups = [n for n in range(file.num_row_groups) if edges[n] < stop and edges[n + 1] > start]
        at = int(edges[groups[0]]) if groups else 0
        for batch in file.iter_batches(rows, row_groups=groups, columns=list(wanted)):
            own = batch.slice(min(max(start - at, 0), batch.num_rows), max(stop - max(start, at), 0))
            at += batch.num_rows
            if own.num_rows:
                yield {name: _array_or_list(own.column(name)) for name in wanted}


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        with pq.ParquetFile(path) as file:
            yield file
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file") from None
    except DAMAGE as error:
        raise ConfigError(f"{path}: is not a Parquet file, is cut off or damaged ({brief(error)})") from None


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


def _array_or_list(column: Any) -> np.ndarray | list[object]:  # noqa: ANN401 - pyarrow ships no types
    is_float = pa.types.is_floating(column.type)
    if is_float or (column.null_count == 0 and is_numeric(column.type)):
        array: np.ndarray = column.to_numpy(zero_copy_only=False)
        return array
    return list(column.to_pylist())
