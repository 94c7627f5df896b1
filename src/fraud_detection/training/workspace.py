"""Where a model is fitted: in memory where its rows fit, else with pages of them on disk.

The model is the same either way (docs/adr/0027), so the choice may depend on the machine.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fraud_detection.adapters.host.memory import available_memory
from fraud_detection.adapters.host.scratch import remove_left, scratch_folder
from fraud_detection.adapters.xgboost.pages import DiskCache
from fraud_detection.core.errors import ConfigError

VALUE_BYTES = 17
"""Of a feature of a row in memory: as float32, its bin by row and by column, and the number of its row, which
XGBoost keeps where some feature is missing in most rows."""
STORED_VALUE_BYTES = 13
"""Of the same in a page on disk, which has no floats."""
BUILT_VALUE_BYTES = 21
"""Of the same in the page that is being made: as in memory, and the bins once more as they are written."""
ROW_BYTES = 64
"""Of a row wherever its features are: label, gradient, prediction, position in the tree."""
BASE_BYTES = 350_000_000
"""Of a process that has loaded its libraries."""
FEATURE_BYTES = 2_500_000
"""Of a feature while batches are read: the dictionary and the buffers of its column."""
MIN_PAGE_ROWS = 65_536
MAX_PAGE_ROWS = 262_144
SHARE = 0.5
"""Of the memory that is available: what is taken where no limit is given."""


@dataclass(frozen=True, slots=True)
class Workspace:
    """A limit of memory in bytes, None for half of what is available, and a folder in which pages may lie.

    log: told in a sentence when pages are on disk, and why.
    page_rows: keep pages of so many rows on disk whatever the limit; None where the limit decides.
    """

    folder: Path
    limit: int | None = None
    log: Callable[[str], None] = lambda _: None
    page_rows: int | None = None

    @classmethod
    def next_to(
        cls, target: Path, limit: int | None = None, log: Callable[[str], None] = lambda _: None
    ) -> Workspace:
        """Return the one beside an output; what killed processes left there is removed."""
        remove_left(target.parent)
        return cls(target.parent, limit, log)

    @contextmanager
    def cache(self, rows: int, features: int) -> Iterator[DiskCache | None]:
        """Yield a cache for so many rows, or None where they fit into memory; it is removed at the end.

        Raises ConfigError when not even pages on disk keep to the limit, or the disk has no room for them.
        """
        size, reason = self._planned(rows, features)
        if size is None:
            yield None
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        with scratch_folder(self.folder) as folder:
            _check_room(folder, rows * features * STORED_VALUE_BYTES)
            self.log(f"{reason}: pages of {size:,} rows are kept in {folder} meanwhile")
            yield DiskCache(folder, size)

    def _planned(self, rows: int, features: int) -> tuple[int | None, str]:
        """Return how many rows a page has and why; None where all of them fit into memory."""
        if self.page_rows is not None:
            return self.page_rows, "as it was asked"
        limit = self.limit if self.limit is not None else int(available_memory() * SHARE)
        needed = _base(features) + rows * (features * VALUE_BYTES + ROW_BYTES)
        if needed <= limit:
            return None, ""
        return page_rows(rows, features, limit), (
            f"{rows:,} rows of {features} features may take {_gb(needed)} in memory, and the limit is "
            f"{_gb(limit)}"
        )


def page_rows(rows: int, features: int, limit: int) -> int:
    """Return how many rows a page may have; raise ConfigError where the limit is too low for any.

    >>> page_rows(10_000_000, 57, 1_300_000_000), page_rows(10_000_000, 57, 4_000_000_000)
    (139933, 262144)
    """
    left = limit - _base(features) - rows * ROW_BYTES
    size = min(rows, MAX_PAGE_ROWS, left // (features * BUILT_VALUE_BYTES))
    if size < min(rows, MIN_PAGE_ROWS):
        least = limit - left + MIN_PAGE_ROWS * features * BUILT_VALUE_BYTES
        raise ConfigError(
            f"{rows:,} rows of {features} features need at least {_gb(least)} of memory, and the limit is "
            f"{_gb(limit)}; give more with --memory, or fewer rows"
        )
    return size


def _base(features: int) -> int:
    return BASE_BYTES + features * FEATURE_BYTES


def _check_room(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise ConfigError(
            f"{folder}: the pages of the rows need {_gb(needed)}, and the disk has {_gb(free)} left; give "
            "more memory with --memory, or name an output on a larger disk"
        )


def _gb(size: int) -> str:
    return f"{size / 1e9:.1f} GB"
