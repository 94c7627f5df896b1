"""Data frames of any library in and out, by Arrow: pandas, Polars, DuckDB, pyarrow.

A frame is read as the Parquet file that it makes, so that it means what the same file means to a command.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from fraud_detection.core.errors import ConfigError

INDEX = "__index_level_"
"""How the columns begin that pandas makes of an index with names of its own."""


def as_file(data: object, folder: Path, name: str) -> Path:
    """Return the path of `data` if it is one, else a Parquet file of the frame, written into `folder`.

    data: a path, or whatever offers its rows by the Arrow PyCapsule interface.  Raises ConfigError otherwise.

    >>> as_file([1, 2], Path("."), "payments")
    Traceback (most recent call last):
    ...
    fraud_detection.core.errors.ConfigError: payments: expected a path or a data frame, got list
    """
    if isinstance(data, (str, Path)):
        return Path(data)
    if not hasattr(data, "__arrow_c_stream__"):
        kind = type(data).__name__
        raise ConfigError(f"{name}: expected a path or a data frame, got {kind}")
    try:
        table = pa.table(data)
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise ConfigError(
            f"{name}: a column mixes kinds of values that no file could hold: {error}"
        ) from None
    path = folder / f"{name}.parquet"
    pq.write_table(
        table.drop_columns([column for column in table.column_names if column.startswith(INDEX)]), path
    )
    return path


def as_given(columns: Mapping[str, Sequence[object]] | Path, like: object) -> Any:  # noqa: ANN401 - of the caller's library
    """Return columns, or the table of a Parquet file: as pandas if `like` is of pandas, else as Arrow."""
    table = pq.read_table(columns) if isinstance(columns, Path) else pa.table(dict(columns))
    return table.to_pandas() if type(like).__module__.partition(".")[0] == "pandas" else table
