"""Features in parts, as XGBoost takes them: all in one matrix, or page by page as often as it asks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from fraud_detection.adapters.xgboost.lean_import import without_scikit_learn

with without_scikit_learn():
    import xgboost as xgb

FeatureParts = Callable[[], Iterator[np.ndarray]]
"""Begins anew and yields float32 of shape (m, k) whenever it is called, the same each time."""


class Rows(Protocol):
    """Rows to learn from, n of them."""

    @property
    def label(self) -> np.ndarray:
        """Return 1 or 0 a row, shape (n,)."""

    @property
    def weight(self) -> np.ndarray | None:
        """Return how many payments each stands for, shape (n,); None where each stands for itself."""

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of the features; only `model.monotone` asks for them."""

    def parts(self) -> Iterator[np.ndarray]:
        """Yield the features in parts, in order."""

    def matrix(self) -> np.ndarray:
        """Return the features in one piece."""


@dataclass(frozen=True, slots=True)
class Sample:
    """Rows in memory: float32 features of shape (n, k), NaN where missing; the others as in `Rows`."""

    features: np.ndarray
    label: np.ndarray
    weight: np.ndarray | None = None
    names: tuple[str, ...] = ()

    def parts(self) -> Iterator[np.ndarray]:
        """Yield the features, all at once."""
        yield self.features

    def matrix(self) -> np.ndarray:
        """Return the features."""
        return self.features


@dataclass(frozen=True, slots=True)
class StoredSample:
    """Rows whose features are somewhere else, and are read whenever they are needed."""

    features: FeatureParts
    label: np.ndarray
    weight: np.ndarray | None = None
    names: tuple[str, ...] = ()

    def parts(self) -> Iterator[np.ndarray]:
        """Read the features and yield them in parts."""
        yield from self.features()

    def matrix(self) -> np.ndarray:
        """Read the features into one matrix."""
        empty = np.empty((0, len(self.names)), np.float32)
        return next(paged(self.parts(), max(self.label.size, 1)), empty)


@dataclass(frozen=True, slots=True)
class DiskCache:
    """A folder where pages of so many rows are kept while a model is fitted."""

    folder: Path
    page_rows: int


class PageIterator(xgb.DataIter):
    """Hands XGBoost the pages of features; it asks for all of them several times, and caches them on disk."""

    def __init__(self, rows: Rows, cache: DiskCache, name: str, report: Callable[[int], None]) -> None:
        """Cache under a name; report: called with the number of rows of each page that was handed over."""
        super().__init__(cache_prefix=str(cache.folder / name))
        self._rows, self._page_rows, self._report = rows, cache.page_rows, report
        self._pages: Iterator[np.ndarray] = iter(())
        self._at = 0

    def reset(self) -> None:
        """Begin anew."""
        self._pages, self._at = paged(self._rows.parts(), self._page_rows), 0

    def next(self, input_data: Callable[..., None]) -> bool:
        """Hand over the next page; return False when there is none."""
        page = next(self._pages, None)
        if page is None:
            return False
        own = slice(self._at, self._at + len(page))
        self._at = own.stop
        weight = None if self._rows.weight is None else self._rows.weight[own]
        input_data(data=page, label=self._rows.label[own], weight=weight)
        self._report(len(page))
        return True


def paged(parts: Iterable[np.ndarray], rows: int) -> Iterator[np.ndarray]:
    """Yield the same rows in pages of `rows`; the last may have fewer.

    >>> [page.ravel().tolist() for page in paged([np.ones((2, 1)), np.zeros((3, 1))], 4)]
    [[1.0, 1.0, 0.0, 0.0], [0.0]]
    """
    page, filled = np.empty((0, 0), np.float32), 0
    for part in parts:
        taken = 0
        while taken < len(part):
            if not filled:
                page = np.empty((rows, part.shape[1]), np.float32)
            some = part[taken : taken + rows - filled]
            page[filled : filled + len(some)] = some
            taken, filled = taken + len(some), filled + len(some)
            if filled == rows:
                yield page
                filled = 0
    if filled:
        yield page[:filled]
