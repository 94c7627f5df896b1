"""Read Parquet files of payments, and keep the project's own columns in Parquet.

Times become integer milliseconds since 1970 (one without a zone is taken as UTC), dates
'YYYY-MM-DD', decimals and times of day text, NaN None.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fraud_detection.adapters.files.text_tables import known
from fraud_detection.core.errors import ConfigError

Columns = dict[str, "np.ndarray | list[object]"]

_SAMPLED_GROUPS = 32
_ROWS_A_GROUP = 1 << 20
_QUOTED = 200
"""So many characters of a message of Arrow are said."""


class ParquetTable:
    """A Parquet file with at least one row."""

    textual = False

    def __init__(self, path: Path) -> None:
        """Read the file's description of itself."""
        self.path = path
        with _opened(path) as file:
            schema = file.schema_arrow
            self.names: tuple[str, ...] = tuple(schema.names)
            self.times = frozenset(field.name for field in schema if _is_time(field.type))
            self.rows: int = file.metadata.num_rows
        for name in self.names:
            if self.names.count(name) > 1:
                raise ConfigError(f"{path}: two columns are named {name!r}; rename one of them")
        if self.rows == 0:
            raise ConfigError(f"{path}: has names of columns but no rows; it needs at least one payment")

    def sample(self, size: int) -> dict[str, list[object]]:
        """Return at most `size` rows by column, in file order, from at most 32 row groups."""
        with _opened(self.path) as file:
            groups = _spread(file.metadata.num_row_groups)
            total = sum(file.metadata.row_group(group).num_rows for group in groups)
            chosen = np.sort(np.random.default_rng(7).choice(total, min(size, total), replace=False))
            taken = list(_take(file.iter_batches(65_536, row_groups=groups), chosen))
            table = pa.Table.from_batches(taken, schema=file.schema_arrow)
            return {
                name: [value for chunk in table.column(place).chunks for value in self._plain(chunk, name)]
                for place, name in enumerate(self.names)
            }

    def records(
        self, batch_rows: int = 10_000, columns: Sequence[str] | None = None
    ) -> Iterator[list[dict[str, object]]]:
        """Yield all rows as native values by name."""
        names = known(columns if columns is not None else self.names, self.names, self.path)
        with _opened(self.path) as file:
            for batch in file.iter_batches(batch_rows, columns=list(names)):
                values = [self._plain(batch.column(name), name) for name in names]
                yield [dict(zip(names, row, strict=True)) for row in zip(*values, strict=True)]

    def _plain(self, column: Any, name: str) -> list[object]:  # noqa: ANN401 - pyarrow ships no types
        try:
            return plain(column)
        except pa.ArrowException as error:
            raise ConfigError(
                f"{self.path}: column {name!r}, {column.type}, cannot be read ({error}); write it as text"
            ) from None


def plain(column: Any) -> list[object]:  # noqa: ANN401 - pyarrow ships no types
    """Return the values of an Arrow array as plain Python values.

    >>> plain(pa.array([1.5, float("nan"), None]))
    [1.5, None, None]
    >>> plain(pa.array([1_000_000_000], pa.timestamp("ns")))
    [1000]
    """
    column = _simplified(column)
    if column.null_count == 0 and _is_numeric(column.type):
        values: list[object] = column.to_numpy(zero_copy_only=False).tolist()  # several times faster
        return values
    return list(column.to_pylist())


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
    except (pa.ArrowException, OSError, OverflowError, UnicodeDecodeError) as error:
        # What is read of a damaged page is found out while it is read.
        raise ConfigError(f"{path}: is not a Parquet file, is cut off or damaged ({_brief(error)})") from None


def _brief(error: Exception) -> str:
    return " ".join(str(error).split())[:_QUOTED]


def _spread(count: int) -> list[int]:
    """Return at most 32 numbers below `count`, evenly, the first and the last among them."""
    return sorted({round(place) for place in np.linspace(0, count - 1, min(count, _SAMPLED_GROUPS))})


def _take(batches: Iterable[Any], chosen: np.ndarray) -> Iterator[Any]:
    """Yield of each batch the rows whose running numbers are among `chosen`."""
    start = 0
    for batch in batches:
        end = start + batch.num_rows
        low, high = np.searchsorted(chosen, (start, end))
        yield batch.take(pa.array(chosen[low:high] - start))
        start = end


def _is_time(kind: Any) -> bool:  # noqa: ANN401 - pyarrow ships no types
    return bool(pa.types.is_timestamp(kind.value_type if pa.types.is_dictionary(kind) else kind))


def _is_numeric(kind: Any) -> bool:  # noqa: ANN401 - pyarrow ships no types
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind))


def _simplified(column: Any) -> Any:  # noqa: ANN401 - pyarrow ships no types
    """Return the array in a type whose values are plain."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        return _simplified(column.dictionary_decode())
    if pa.types.is_floating(kind):
        return _without_nan(column)
    if pa.types.is_timestamp(kind):
        return column.cast(pa.timestamp("ms", kind.tz), safe=False).cast(pa.int64())
    if pa.types.is_date(kind):
        return column.cast(pa.date32()).cast(pa.string())
    if pa.types.is_duration(kind):
        return column.cast(pa.int64())
    textual = (pa.types.is_decimal, pa.types.is_time, pa.types.is_binary, pa.types.is_large_binary)
    return column.cast(pa.string()) if any(is_kind(kind) for is_kind in textual) else column


def _without_nan(column: Any) -> Any:  # noqa: ANN401 - pyarrow ships no types
    numbers = column.cast(pa.float64()) if pa.types.is_float16(column.type) else column
    missing = pc.is_nan(numbers)
    return pc.if_else(missing, None, numbers) if pc.any(missing).as_py() else numbers


def _array_or_list(column: Any) -> np.ndarray | list[object]:  # noqa: ANN401 - pyarrow ships no types
    is_float = pa.types.is_floating(column.type)
    if is_float or (column.null_count == 0 and _is_numeric(column.type)):
        array: np.ndarray = column.to_numpy(zero_copy_only=False)
        return array
    return list(column.to_pylist())
