"""A feature table on disk, read a batch of rows at a time: its size is no matter of memory.

`Table` is what training reads from; a `Dataset` in memory is one, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from fraud_detection.adapters.files.tables import BATCH_ROWS, Columns, ParquetParts
from fraud_detection.core.errors import ConfigError
from fraud_detection.training.tables.dataset import (
    COLUMNS,
    PREFIX,
    FeatureTableInfo,
    Payments,
    check_columns_exist,
    read_info,
    typed,
)

TIME = "event_time"


class Table(Protocol):
    """Payments with their features, in order of event time, in memory or not."""

    @property
    def info(self) -> FeatureTableInfo:
        """Return what the table says about itself."""

    def __len__(self) -> int:
        """Return the number of payments."""

    def row_range(self, start: int, end: int) -> range:
        """Return the numbers of the rows with start <= event_time < end, both in ms."""

    def payments(self, rows: range) -> Iterator[Payments]:
        """Yield the payments of some rows without their features, in batches."""

    def feature_parts(self, rows: range, columns: Sequence[int] | None = None) -> Iterator[np.ndarray]:
        """Yield the features of some rows in batches: float32, shape (m, k), NaN where missing.

        columns: the numbers of those wanted, in this order; None for all.
        """


class FeatureTable:
    """A feature table in a Parquet file, or in a folder of them; `batch_rows` are read at a time."""

    def __init__(self, path: Path, batch_rows: int = BATCH_ROWS) -> None:
        """Open it; raise ConfigError when it is no feature table or a column is missing."""
        self.path, self._batch_rows = path, batch_rows
        self.info = read_info(path)
        self._names = [PREFIX + name for name in self.info.names]
        check_columns_exist(path, [*COLUMNS, *self._names])
        self._parts = ParquetParts(path)

    def __len__(self) -> int:
        """Return the number of payments."""
        return self._parts.rows

    def row_range(self, start: int, end: int) -> range:
        """Return the numbers of the rows with start <= event_time < end, both in ms."""
        first = self._rows_before(start)
        return range(first, max(first, self._rows_before(end)))

    def payments(self, rows: range) -> Iterator[Payments]:
        """Yield the payments of some rows without their features; raise ConfigError for a wrong order."""
        latest = None
        for columns in self._parts.batches(COLUMNS, rows.start, rows.stop, self._batch_rows):
            named: dict[str, Any] = {name: typed(name, columns[name]) for name in COLUMNS}
            latest = self._check_order(named[TIME], latest)
            yield Payments(**named, info=self.info)

    def feature_parts(self, rows: range, columns: Sequence[int] | None = None) -> Iterator[np.ndarray]:
        """Yield the features of some rows in batches: float32, shape (m, k), NaN where missing."""
        names = self._names if columns is None else [self._names[number] for number in columns]
        for batch in self._parts.batches(names, rows.start, rows.stop, self._batch_rows):
            yield _matrix(batch, names)

    def _rows_before(self, moment: int) -> int:
        """Return how many rows are earlier; of most row groups only the limits are read."""
        for group in self._parts.groups:
            limits = group.limits(TIME)
            if limits is not None and limits[1] < moment:
                continue
            if limits is not None and limits[0] >= moment:
                return group.start
            times = self._times(group.start, group.stop)
            if not times.size or times[-1] < moment:
                continue
            return group.start + int(np.searchsorted(times, moment))
        return len(self)

    def _times(self, start: int, stop: int) -> np.ndarray:
        parts = [typed(TIME, batch[TIME]) for batch in self._parts.batches([TIME], start, stop)]
        times = np.concatenate(parts) if parts else np.zeros(0, np.int64)
        self._check_order(times, None)
        return times

    def _check_order(self, times: np.ndarray, latest: int | None) -> int | None:
        """Return the last time; raise ConfigError where one follows a later one."""
        if not times.size:
            return latest
        if (np.diff(times) < 0).any() or (latest is not None and times[0] < latest):
            raise ConfigError(
                f"{self.path}: its payments are not in order of time; make it again with `fraud features`"
            )
        return int(times[-1])


def _matrix(columns: Columns, names: Sequence[str]) -> np.ndarray:
    matrix = np.empty((len(columns[names[0]]) if names else 0, len(names)), np.float32)
    for i, name in enumerate(names):
        matrix[:, i] = np.asarray(columns.pop(name), np.float32)
    return matrix
