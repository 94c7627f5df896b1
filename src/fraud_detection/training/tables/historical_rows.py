"""Historical payments as they were served: their fields, features and labels, read back from the table.

The columns beside the features hold what a payment declared, so that the very rules that decide live
payments can be asked about those of history.  Training reads none of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fraud_detection.adapters.files.tables import column_names, read_batches, read_columns
from fraud_detection.core.errors import ConfigError
from fraud_detection.core.events import Transaction
from fraud_detection.core.project_schema import Schema
from fraud_detection.evaluation.time_split import UNKNOWN
from fraud_detection.training.tables.dataset import (
    COLUMNS,
    PREFIX,
    Correction,
    check_columns_exist,
    read_info,
    typed,
)

DECLARED = "payment."
"""Before the name of an entity, a number or a category, in the name of its column."""

AT_ONCE = 16_384


def declared_columns(
    schema: Schema, payments: Sequence[Transaction]
) -> Mapping[str, np.ndarray | Sequence[object]]:
    """Return the columns that hold what payments declare: ids, numbers and categories.

    The place is not among them, since no rule can name it, nor the sender's clock.
    """
    columns: dict[str, np.ndarray | Sequence[object]] = {}
    for index, name in enumerate(schema.entities):
        columns[DECLARED + name] = [payment.entities[index] for payment in payments]
    for index, name in enumerate(schema.numbers):
        columns[DECLARED + name] = np.array([payment.numbers[index] for payment in payments], np.float64)
    for index, name in enumerate(schema.categories):
        columns[DECLARED + name] = [payment.categories[index] for payment in payments]
    return columns


@dataclass(frozen=True, slots=True)
class HistoricalRows:
    """Some payments, in order of time.

    amount: float64 major units, NaN where none.  label, known_at: the verdict that stood at the moment that
    was asked for, UNKNOWN where none was known, and when it became known in ms.
    weight: float64, for how many payments each stands, see docs/labels.md.
    features: float64, shape (rows, number of features), as they were served.
    """

    payments: list[Transaction]
    amount: np.ndarray
    label: np.ndarray
    known_at: np.ndarray
    weight: np.ndarray
    features: np.ndarray


class HistoricalTable:
    """A feature table that stores what its payments declared."""

    def __init__(self, path: Path, schema: Schema) -> None:
        """Open the table; raise ConfigError when it does not hold what the schema declares."""
        self.path, self.schema, self.info = path, schema, read_info(path)
        names = (*schema.entities, *schema.numbers, *schema.categories)
        self._declared = [DECLARED + name for name in names]
        absent = [name for name in self._declared if name not in column_names(path)]
        if absent:
            raise ConfigError(
                f"{path}: does not store what its payments declared ({', '.join(absent)}), so no rule can be "
                "asked about them; make it again with `fraud features`"
            )
        self._features = [PREFIX + name for name in self.info.names]
        check_columns_exist(path, [*COLUMNS, *self._features])

    def times(self) -> np.ndarray:
        """Return the event times of all payments, in order, int64 ms."""
        return typed("event_time", read_columns(self.path, ["event_time"])[0]["event_time"])

    def latest_known_at(self) -> int:
        """Return the last known moment in ms: of a payment, or when a label became known.

        A label that does not say when it became known says nothing: its time is reckoned by the delay.
        """
        known_until = self.info.known_until
        return int(self.times()[-1]) if known_until is None else known_until

    def batches(self, start: int, stop: int, as_of: int) -> Iterator[HistoricalRows]:
        """Yield the payments from row `start` until before row `stop`, as somebody knew them at `as_of`."""
        names = [*COLUMNS, *self._declared, *self._features]
        for columns in read_batches(self.path, names, start, stop, AT_ONCE):
            label_columns = [typed(name, columns[name]) for name in ("label", "known_at", "corrections")]
            label, known_at = current_labels(label_columns[0], label_columns[1], label_columns[2], as_of)
            amount = typed("amount", columns["amount"])
            features = [np.asarray(columns[name], np.float64) for name in self._features]
            payments = self._payments(columns, amount)
            weight = typed("weight", columns["weight"])
            yield HistoricalRows(payments, amount, label, known_at, weight, np.column_stack(features))

    def _payments(
        self, columns: Mapping[str, np.ndarray | list[object]], amount: np.ndarray
    ) -> list[Transaction]:
        schema, rows = self.schema, len(amount)
        scale = 10.0 ** (schema.amount.decimals if schema.amount else 0)
        minor = [None if value != value else round(value * scale) for value in amount.tolist()]  # noqa: PLR0124 - NaN
        ids, times = columns["transaction_id"], typed("event_time", columns["event_time"]).tolist()
        entities = _rows([columns[DECLARED + name] for name in schema.entities], rows)
        numbers = _rows([_floats(columns[DECLARED + name]) for name in schema.numbers], rows)
        categories = _rows([columns[DECLARED + name] for name in schema.categories], rows)
        fields = zip(ids, times, minor, entities, numbers, categories, strict=True)
        return [Transaction(*row) for row in fields]


def current_labels(
    label: np.ndarray, known_at: np.ndarray, corrections: np.ndarray, as_of: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the verdict that stood at `as_of`, UNKNOWN where none was known, and when it became known.

    Silence is no verdict, however long it has lasted: that a label came later was not known.

    >>> none = np.array(["", "", '[[0,9]]'], object)
    >>> labels = np.array([1, 1, 1], np.int8), np.array([5, 50, 5]), none
    >>> [array.tolist() for array in current_labels(*labels, as_of=8)]
    [[1, -1, 1], [5, 0, 5]]
    >>> [array.tolist() for array in current_labels(*labels, as_of=9)]
    [[1, -1, 0], [5, 0, 9]]
    """
    known = (label != UNKNOWN) & (known_at <= as_of)
    verdict = np.where(known, label, UNKNOWN).astype(np.int8)
    since = np.where(known, known_at, 0)
    for row in np.flatnonzero(corrections != ""):
        for correction in Correction.read(corrections[row]):
            if correction.known_at <= as_of:
                verdict[row], since[row] = correction.fraud, correction.known_at
    return verdict, since


def _rows(columns: Sequence[Any], rows: int) -> Iterator[tuple[Any, ...]]:
    """Yield one tuple a row, empty ones where there is no column."""
    return zip(*columns, strict=True) if columns else iter([()] * rows)


def _floats(values: np.ndarray | list[object]) -> list[float]:
    floats: list[float] = np.asarray(values, np.float64).tolist()
    return floats
