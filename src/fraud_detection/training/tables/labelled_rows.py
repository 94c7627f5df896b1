"""Rows of a table with the labels that were known at a moment: what is learned from.

In memory are two bytes of each, for its label and whether it is selected, and eight more where payments weigh
differently.  Features stay where they are and are read as often as somebody asks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from fraud_detection.evaluation.time_split import UNKNOWN
from fraud_detection.evaluation.weights import are_equal
from fraud_detection.training.tables.dataset import FeatureTableInfo
from fraud_detection.training.tables.feature_table import Table


@dataclass(frozen=True, slots=True)
class LabelledRows:
    """Some rows of a table, n of them, in order.

    rows: numbers among which they lie; selected: which of these, bool, one each.
    label: int8, shape (n,), 1 or 0.  weight: float64, shape (n,).
    """

    table: Table
    rows: range
    selected: np.ndarray
    label: np.ndarray
    weight: np.ndarray

    @classmethod
    def of(cls, table: Table, rows: range, as_of: int) -> LabelledRows:
        """Return those of the rows whose label was known at `as_of`, with that label and no later one.

        A payment without a label is left out; it is never taken for a legitimate one.
        """
        heard = np.full(len(rows), UNKNOWN, np.int8)
        weights, at = [], 0
        for payments in table.payments(rows):
            labels = payments.labels(as_of)
            heard[at : at + len(payments)] = labels
            weights.append(_compact(payments.weight[labels != UNKNOWN]))
            at += len(payments)
        selected = heard != UNKNOWN
        return cls(table, rows, selected, heard[selected], _joined(weights))

    def __len__(self) -> int:
        """Return the number of rows."""
        return int(self.label.size)

    @property
    def info(self) -> FeatureTableInfo:
        """Return what the table says about itself."""
        return self.table.info

    def with_weight(self) -> LabelledRows:
        """Return the rows that stand for a payment at all: those with a weight above 0."""
        return self.where(self.weight > 0)

    def where(self, mask: np.ndarray) -> LabelledRows:
        """Return the rows that a mask of shape (n,) selects."""
        if mask.all():
            return self
        selected = self.selected.copy()
        selected[selected] = mask
        return replace(self, selected=selected, label=self.label[mask], weight=_compact(self.weight[mask]))

    def split(self, row: int) -> tuple[LabelledRows, LabelledRows]:
        """Return the rows before a row of the table, and those from it on."""
        near = min(max(row - self.rows.start, 0), len(self.rows))
        own = int(np.count_nonzero(self.selected[:near]))
        return (
            replace(
                self,
                rows=self.rows[:near],
                selected=self.selected[:near],
                label=self.label[:own],
                weight=self.weight[:own],
            ),
            replace(
                self,
                rows=self.rows[near:],
                selected=self.selected[near:],
                label=self.label[own:],
                weight=self.weight[own:],
            ),
        )

    def feature_parts(self) -> Iterator[np.ndarray]:
        """Yield their features in batches: float32, shape (m, number of features), NaN where missing."""
        yield from selected_parts(self.table.feature_parts(self.rows), self.selected)

    def features(self, columns: list[int]) -> np.ndarray:
        """Return some features of all rows, by their numbers: float32, shape (n, features)."""
        matrix = np.empty((len(self), len(columns)), np.float32)
        at = 0
        for part in selected_parts(self.table.feature_parts(self.rows, columns), self.selected):
            matrix[at : at + len(part)] = part
            at += len(part)
        return matrix

    def rows_of(self, positions: np.ndarray) -> np.ndarray:
        """Return the numbers in the table of rows by their positions here."""
        numbers: np.ndarray = self.rows.start + np.flatnonzero(self.selected)[positions]
        return numbers


def selected_parts(parts: Iterable[np.ndarray], selected: np.ndarray) -> Iterator[np.ndarray]:
    """Yield of each part, in order, the rows that `selected` of all parts' length marks."""
    at = 0
    for part in parts:
        mask = selected[at : at + len(part)]
        at += len(part)
        if mask.any():
            yield part[mask]


def gathered(table: Table, numbers: np.ndarray) -> np.ndarray:
    """Return the features of a few rows of a table by their rising numbers, float32, shape (m, features)."""
    if not numbers.size:
        return np.empty((0, len(table.info.features)), np.float32)
    rows = range(int(numbers[0]), int(numbers[-1]) + 1)
    selected = np.zeros(len(rows), bool)
    selected[numbers - rows.start] = True
    return np.concatenate(list(selected_parts(table.feature_parts(rows), selected)))


def _compact(weight: np.ndarray) -> np.ndarray:
    """Return the weights; where each is 1, as without a control group, in no memory."""
    compact: np.ndarray = _ones(weight.size) if are_equal(weight) else weight
    return compact


def _joined(weights: list[np.ndarray]) -> np.ndarray:
    if all(are_equal(each) for each in weights):
        return _ones(sum(each.size for each in weights))
    return np.concatenate(weights)


def _ones(count: int) -> np.ndarray:
    ones: np.ndarray = np.broadcast_to(np.float64(1), count)
    return ones
