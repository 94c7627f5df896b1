"""Payments as columns: whole numbers where possible, one array a field.

Codes stand for names (`naming` writes them out).  Rows of tables can be joined and
picked; nothing here knows what a payment means.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self, TypeVar

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fraud_detection.simulator.settings import Codes, Flags, Floats, Ints

T = TypeVar("T", bound="Table")

_KINDS = {"device": np.uint64, "code": np.uint64, "latitude": np.float64, "longitude": np.float64}


@dataclass(frozen=True, slots=True)
class Table:
    """Columns of one length; a column may be a table itself."""

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.parts()[0])

    def parts(self) -> list[Any]:
        """Return the columns in the order of their declaration."""
        return [getattr(self, field.name) for field in dataclasses.fields(self)]

    def pick(self, rows: Ints | Flags | slice) -> Self:
        """Return the rows that a mask, a list of positions or a slice names."""
        return type(self)(
            *(part.pick(rows) if isinstance(part, Table) else part[rows] for part in self.parts())
        )


def joined(tables: Sequence[T]) -> T:
    """Return the rows of all tables (at least one), one table after another."""
    if len(tables) == 1:
        return tables[0]
    return type(tables[0])(*map(_stacked, *(table.parts() for table in tables)))


def _stacked(*parts: Any) -> Any:  # noqa: ANN401 - arrays or tables
    return joined(parts) if isinstance(parts[0], Table) else np.concatenate(parts)


@dataclass(frozen=True, slots=True)
class Payments(Table):
    """Payments before the bank has labelled them.

    time: ms since 1970.  issue: how often the card was replaced.  device: 0 is none.
    terminal: -1 is none.  amount: cents.  latitude, longitude: NaN is unknown.
    scenario: 0 is honest.  report: when the fraud would be reported, 0 for honest ones.
    """

    time: Ints
    card: Ints
    issue: Ints
    device: Codes
    merchant: Ints
    terminal: Ints
    amount: Ints
    channel: Ints
    entry: Ints
    latitude: Floats
    longitude: Floats
    scenario: Ints
    report: Ints

    @classmethod
    def none(cls) -> Payments:
        """Return a table without rows."""
        return cls(*(_empty(field.name) for field in dataclasses.fields(cls)))


@dataclass(frozen=True, slots=True)
class Block(Table):
    """Payments with their ids and with what the bank will know: its label, and from when on."""

    code: Codes
    is_fraud: Ints
    known_at: Ints
    payments: Payments

    @classmethod
    def none(cls) -> Block:
        """Return a block without rows."""
        return cls(_empty("code"), _empty("is_fraud"), _empty("known_at"), Payments.none())


def _empty(name: str) -> npt.NDArray[Any]:
    return np.empty(0, dtype=_KINDS.get(name, np.int64))
