"""The table that training reads: one row a payment, its features, and when its label became known.

It is made by replaying history and by nothing else.  A label is only ever asked
for as of a moment; what was not known by then is not there.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from fraud_detection.adapters.files.tables import column_names, read_columns, write_columns
from fraud_detection.core.errors import ConfigError
from fraud_detection.core.events import FeatureDefinition
from fraud_detection.evaluation.time_split import UNKNOWN, Boundaries, labels_as_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

METADATA_KEY = "fraud_detection"
PREFIX = "feature."
"""Of the columns that hold features, so that one named `amount` is not taken for the amount."""

READ_AT_ONCE = 16
"""Columns of features."""


class FeatureTableInfo(msgspec.Struct, frozen=True):
    """What the file says about itself.

    fingerprint: of the feature code and settings that made the columns.
    category_encoding: the codes of the category values, as the replay left them.
    delay_ms: how long after a payment its label usually becomes known.
    as_of: the moment in ms by which all this was known; None where history is whole.
    known_until: then the last moment in ms that history knows of: of a payment, or of a label that says
    itself when it became known; None in tables of before, which do not say.
    source: a hash of the files and of the schema that the payments were read by; "" where that was not kept.
    """

    fingerprint: str
    features: list[FeatureDefinition]
    boundaries: Boundaries
    category_encoding: dict[str, dict[str, float]]
    delay_ms: int
    as_of: int | None = None
    source: str = ""
    known_until: int | None = None

    @property
    def mature_until(self) -> int | None:
        """Return the time in ms from which on labels are immature; None where the table does not say."""
        moment = self.known_until if self.as_of is None else self.as_of
        return None if moment is None else moment - self.delay_ms + 1

    @property
    def names(self) -> list[str]:
        """Return the feature columns in order."""
        return [feature.name for feature in self.features]


class Correction(msgspec.Struct, frozen=True, array_like=True):
    """A verdict that took the one before it back, when it became known in ms.

    >>> text = Correction.write([Correction(0, 5), Correction(1, 9)])
    >>> text, Correction.read(text)
    ('[[0,5],[1,9]]', [Correction(fraud=0, known_at=5), Correction(fraud=1, known_at=9)])
    >>> Correction.write([]), Correction.read("")
    ('', [])
    """

    fraud: int
    known_at: int

    @classmethod
    def write(cls, corrections: Sequence[Correction]) -> str:
        """Return them as the table holds them, in the order in which they became known."""
        return msgspec.json.encode(corrections).decode() if corrections else ""

    @classmethod
    def read(cls, text: str) -> list[Correction]:
        """Return what `write` wrote."""
        return msgspec.json.decode(text, type=list[cls]) if text else []  # type: ignore[valid-type]


@dataclass(frozen=True, slots=True)
class Payments:
    """What a table knows of payments beside their features: each array of n rows, in order of event time.

    event_time, known_at: int64 ms since 1970 UTC; amount: float64 major units, NaN where none.
    card: the ordering entity's id, "" where none.  label: int8, 1, 0 or UNKNOWN, the first that became
    known, at `known_at`.  corrections: what took it back and when, see `Correction`; "" where nothing did.
    weight: float64, for how many payments it stands in what is learned and measured, see docs/labels.md.
    """

    transaction_id: np.ndarray
    event_time: np.ndarray
    amount: np.ndarray
    card: np.ndarray
    label: np.ndarray
    known_at: np.ndarray
    corrections: np.ndarray
    weight: np.ndarray
    info: FeatureTableInfo

    def __len__(self) -> int:
        """Return the number of payments."""
        return int(self.event_time.size)

    def labels(self, as_of: int) -> np.ndarray:
        """Return 1, 0 or UNKNOWN a row, as somebody asking at `as_of` would have heard."""
        heard = labels_as_of(self.label, self.known_at, self.event_time, as_of, self.info.delay_ms)
        for row in np.flatnonzero(self.corrections != ""):
            for correction in Correction.read(self.corrections[row]):
                if correction.known_at <= as_of:
                    heard[row] = correction.fraud
        return heard


COLUMNS = tuple(field.name for field in fields(Payments) if field.name != "info")


@dataclass(frozen=True, slots=True)
class Dataset(Payments):
    """Payments with their features, in memory.

    features: shape (n, number of features), NaN where missing; float32, or float64 where they are to be
    stored exactly as they were served.
    """

    features: np.ndarray

    def take(self, mask: np.ndarray) -> Dataset:
        """Return the rows that `mask` selects."""
        arrays = {column: getattr(self, column)[mask] for column in (*COLUMNS, "features")}
        return replace(self, **arrays)

    def slice(self, start: int, end: int) -> Dataset:
        """Return the payments with start <= event_time < end."""
        return self.take((self.event_time >= start) & (self.event_time < end))

    def labelled(self, as_of: int) -> Dataset:
        """Return the rows whose label was known at `as_of`, with that label and no later one.

        A payment without a label is left out; it is never taken for a legitimate one.
        """
        heard = self.labels(as_of)
        return replace(self, label=heard).take(heard != UNKNOWN)

    def row_range(self, start: int, end: int) -> range:
        """Return the numbers of the rows with start <= event_time < end."""
        first, last = np.searchsorted(self.event_time, (start, end))
        return range(int(first), int(last))

    def payments(self, rows: range) -> Iterator[Payments]:
        """Yield the payments of some rows, all at once."""
        at = slice(rows.start, rows.stop)
        yield Payments(**{column: getattr(self, column)[at] for column in COLUMNS}, info=self.info)

    def feature_parts(self, rows: range, columns: Sequence[int] | None = None) -> Iterator[np.ndarray]:
        """Yield the features of some rows, float32, all at once; columns: which, by number, None for all."""
        part = self.features[rows.start : rows.stop]
        yield np.asarray(part if columns is None else part[:, columns], np.float32)


_TYPES: dict[str, type] = {
    "event_time": np.int64,
    "amount": np.float64,
    "label": np.int8,
    "known_at": np.int64,
    "weight": np.float64,
}


def write_dataset(
    path: Path, dataset: Dataset, more: Mapping[str, np.ndarray | Sequence[object]] | None = None
) -> None:
    """Write the table with its description; equal tables give equal files.

    more: columns that stand beside the table and that training does not read.
    """
    columns = {column: getattr(dataset, column) for column in COLUMNS}
    columns |= {PREFIX + name: _narrow(dataset.features[:, i]) for i, name in enumerate(dataset.info.names)}
    described = {METADATA_KEY: msgspec.json.encode(dataset.info).decode()}
    write_columns(path, {**columns, **(more or {})}, described)


def read_info(path: Path) -> FeatureTableInfo:
    """Read only what the table says about itself; raise ConfigError when it is no feature table."""
    return _info(path, read_columns(path, ())[1])


def read_dataset(path: Path) -> Dataset:
    """Read the table; raise ConfigError when it is no feature table or a column is missing."""
    info = read_info(path)
    features = [PREFIX + name for name in info.names]
    check_columns_exist(path, [*COLUMNS, *features])
    columns = read_columns(path, COLUMNS)[0]
    named: dict[str, Any] = {name: typed(name, columns.pop(name)) for name in COLUMNS}
    return Dataset(**named, features=_matrix(path, features, len(named["event_time"])), info=info)


def check_columns_exist(path: Path, names: Sequence[str]) -> None:
    """Raise ConfigError when the table lacks one of the columns."""
    present = set(column_names(path))
    missing = [name for name in names if name not in present]
    if missing:
        raise ConfigError(
            f"{path}: no column {', '.join(missing)}; make the table again with `fraud features`"
        )


def typed(name: str, values: np.ndarray | list[object]) -> np.ndarray:
    """Return one of COLUMNS in the type that it has in a Dataset."""
    return np.asarray(values, dtype=_TYPES.get(name, object))


def _info(path: Path, metadata: dict[str, str]) -> FeatureTableInfo:
    try:
        return msgspec.json.decode(metadata[METADATA_KEY], type=FeatureTableInfo)
    except (KeyError, msgspec.DecodeError) as error:
        raise ConfigError(f"{path}: is no feature table ({error}); make one with `fraud features`") from None


def _narrow(values: np.ndarray) -> np.ndarray:
    """Return the values as float32 if that loses nothing."""
    narrow = values.astype(np.float32)
    return narrow if np.array_equal(narrow, values, equal_nan=True) else values


def _matrix(path: Path, names: list[str], rows: int) -> np.ndarray:
    # Read and freed some columns at a time: the table is held in memory once, not twice.
    matrix = np.empty((rows, len(names)), np.float32)
    for start in range(0, len(names), READ_AT_ONCE):
        some = names[start : start + READ_AT_ONCE]
        columns, _ = read_columns(path, some)
        for i, name in enumerate(some, start=start):
            matrix[:, i] = np.asarray(columns.pop(name), np.float32)
    return matrix
