"""Columns of Arrow as plain Python values, for every kind of file that Arrow reads.

Times become integer milliseconds since 1970 (one without a zone is taken as UTC), dates
'YYYY-MM-DD', decimals and times of day text, NaN None.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from fraud_detection.core.errors import ConfigError

DAMAGE = (pa.ArrowException, OSError, OverflowError, UnicodeDecodeError)
"""What Arrow raises, some of it late, where a file is cut off, damaged or of another kind."""
_QUOTED = 200
"""So many characters of a message of Arrow are said."""


def check_usable(path: Path, names: Sequence[str], rows: int) -> None:
    """Raise ConfigError where two columns have one name, or the file has no rows."""
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"{path}: two columns are named {name!r}; rename one of them")
    if rows == 0:
        raise ConfigError(f"{path}: has names of columns but no rows; it needs at least one payment")


def time_columns(schema: Any) -> frozenset[str]:  # noqa: ANN401 - pyarrow ships no types
    """Return the columns that the file itself declares to be times."""
    return frozenset(field.name for field in schema if _is_time(field.type))


def rows_of(batch: Any, names: Sequence[str], path: Path) -> list[dict[str, object]]:  # noqa: ANN401
    """Return the rows of a record batch as plain values by name; `path` is named in refusals."""
    values = [plain(batch.column(name), name, path) for name in names]
    return [dict(zip(names, row, strict=True)) for row in zip(*values, strict=True)]


def plain(column: Any, name: str, path: Path) -> list[object]:  # noqa: ANN401 - pyarrow ships no types
    """Return the values of an Arrow array; raise ConfigError where Python has none for their type.

    >>> plain(pa.array([1.5, float("nan"), None]), "amount", Path("p.parquet"))
    [1.5, None, None]
    >>> plain(pa.array([1_000_000_000], pa.timestamp("ns")), "time", Path("p.parquet"))
    [1000]
    """
    try:
        column = _simplified(column)
        if column.null_count == 0 and is_numeric(column.type):
            values: list[object] = column.to_numpy(zero_copy_only=False).tolist()  # several times faster
            return values
        return list(column.to_pylist())
    except pa.ArrowException as error:
        raise ConfigError(
            f"{path}: column {name!r}, {column.type}, cannot be read ({error}); write it as text"
        ) from None


def brief(error: Exception) -> str:
    """Return Arrow's error message on one line."""
    return " ".join(str(error).split())[:_QUOTED]


def _is_time(kind: Any) -> bool:  # noqa: ANN401 - pyarrow ships no types
    return bool(pa.types.is_timestamp(kind.value_type if pa.types.is_dictionary(kind) else kind))


def is_numeric(kind: Any) -> bool:  # noqa: ANN401 - pyarrow ships no types
    """Return whether a type's values are numbers or booleans."""
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
