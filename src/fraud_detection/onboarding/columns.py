"""Profile one column of a sample: its different values, how often each occurs, and what they are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from fraud_detection.core.parse.values import Missing, as_number
from fraud_detection.core.project_schema import MISSING_MARKERS

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Kind = Literal["empty", "number", "text", "nested"]

MOSTLY = 0.8
"""From this share of numbers on a column is numeric; what is left counts as missing."""
_PROBES = 100
_MISSING = Missing(MISSING_MARKERS)


@dataclass(frozen=True, slots=True)
class Profile:
    """A column as its different values (missing is none), and which of them each row has.

    codes: by row, a position in `values`, -1 where missing; counts: rows of each value;
    numbers: by value, NaN where it is none; numeric: share of numbers among present rows.
    missing_markers: texts that mark a missing value -> rows; such rows count as missing.

    >>> age = profile("age", ["30", None, "41", "30", "n/a"])
    >>> age.kind, age.values, age.codes.tolist(), age.counts.tolist(), age.missing_markers
    ('number', ('30', '41'), [0, -1, 1, 0, -1], [2, 1], {'n/a': 1})
    """

    name: str
    values: tuple[object, ...]
    codes: Integers
    counts: Integers
    numbers: Floats
    numeric: float
    kind: Kind
    is_time: bool = False
    missing_markers: Mapping[str, int] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """Return the number of rows in the sample."""
        return len(self.codes)

    @property
    def present(self) -> int:
        """Return the number of rows with a value."""
        return int(self.counts.sum())

    @property
    def missing(self) -> float:
        """Return the share of rows without a value."""
        return 1 - self.present / max(self.rows, 1)

    @property
    def distinct(self) -> int:
        """Return the number of different values."""
        return len(self.values)

    @property
    def unique(self) -> float:
        """Return the share of present rows whose value is new."""
        return self.distinct / max(self.present, 1)

    @property
    def is_integer(self) -> bool:
        """Return whether all numbers are whole."""
        numbers = self.finite
        return len(numbers) > 0 and bool((numbers == np.floor(numbers)).all())

    @property
    def finite(self) -> Floats:
        """Return the different values that are finite numbers."""
        finite: Floats = self.numbers[np.isfinite(self.numbers)]
        return finite

    @property
    def by_row(self) -> Floats:
        """Return the numbers by row, NaN where there is none."""
        return values_by_row(self.numbers, self.codes)

    @property
    def texts(self) -> list[str]:
        """Return the different values as text."""
        return [str(value) for value in self.values]

    @property
    def examples(self) -> str:
        """Return a few values, the most frequent first, as a person would list them."""
        most_frequent = np.argsort(-self.counts, kind="stable")[:3]
        return ", ".join(f"{str(self.values[index])[:30]!r}" for index in most_frequent)


def profile(name: str, values: Sequence[object], *, is_time: bool = False) -> Profile:
    """Profile a column; lists and objects inside a value make it 'nested'."""
    code_of: dict[object, int] = {None: -1, "": -1}
    try:
        codes = np.array([code_of.setdefault(value, len(code_of) - 2) for value in values], np.int64)
    except TypeError:
        nothing = np.full(len(values), -1, np.int64)
        return Profile(name, (), nothing, nothing[:0], np.empty(0), 0.0, "nested")
    different, codes, missing_markers = _without_missing(tuple(code_of)[2:], codes)
    counts = np.bincount(codes[codes >= 0], minlength=len(different)).astype(np.int64)
    numbers = _numbers(different)
    numeric = _numeric_share(different, counts, numbers)
    kind: Kind = "empty" if not different else "number" if numeric >= MOSTLY else "text"
    return Profile(name, different, codes, counts, numbers, numeric, kind, is_time, missing_markers)


def _without_missing(
    different: tuple[object, ...], codes: Integers
) -> tuple[tuple[object, ...], Integers, dict[str, int]]:
    """Take the markers of a missing value out of the values, and count their rows."""
    strange = [index for index, value in enumerate(different) if means_missing(value)]
    if not strange:
        return different, codes, {}
    rows = np.bincount(codes[codes >= 0], minlength=len(different))
    markers: Counter[str] = Counter()
    for index in strange:
        markers[str(different[index]).strip().lower()] += int(rows[index])
    renumbered = np.full(len(different) + 1, -1, np.int64)
    present = np.delete(np.arange(len(different)), strange)
    renumbered[present] = np.arange(len(present))
    return (
        tuple(different[index] for index in present),
        renumbered[codes],
        {k: n for k, n in markers.items() if k},
    )


def values_by_row(by_value: Floats, codes: Integers) -> Floats:
    """Return what belongs to each row, NaN for rows without a value.

    >>> values_by_row(np.array([10.0, 20.0]), np.array([1, -1, 0])).tolist()
    [20.0, nan, 10.0]
    """
    rows: Floats = np.append(by_value, np.nan)[codes]
    return rows


def repeats(column: Profile, rows: int) -> float:
    """Return in how many other rows of the whole file a row's value occurs, on average.

    Counting pairs in the sample answers this for a file of any length: a sample thins
    pairs evenly, whereas ids of a thin sample all look unique.

    >>> two_rows_each = profile("card", [number // 2 for number in range(1000)])
    >>> round(repeats(two_rows_each, 1000), 3), repeats(profile("id", range(1000)), 1000)
    (1.0, 0.0)
    """
    present = column.present
    if present < 2:  # noqa: PLR2004 - a pair needs two
        return 0.0
    pairs = float((column.counts * (column.counts - 1)).sum())
    return pairs / (present * (present - 1)) * (rows * (1 - column.missing) - 1)


def different(column: Profile, rows: int) -> float:
    """Return the share of rows of the whole file, of those with a value, whose value is new.

    A thin sample parts most pairs, so where it is not the whole file the pairs still in it
    are scaled up; values that it holds more often are rare exceptions, or seen well enough.

    >>> different(profile("id", ["a", "b", "a", "c"]), 4)
    0.75
    >>> different(profile("id", [*range(990), *range(10)]), 100_000) < 0.55
    True
    """
    twice = int((column.counts == 2).sum())  # noqa: PLR2004 - a pair
    if column.present >= rows or not twice:
        return column.unique
    others = 2 * twice / (column.present * (column.present - 1)) * (rows * (1 - column.missing) - 1)
    return min(column.unique, max(1 / (1 + others), 1 - others / 2))


def counts_rows(column: Profile, rows: int) -> bool:
    """Return whether the column numbers the rows: whole, rising, nearly one value a row.

    >>> counts_rows(profile("index", range(100)), 100), counts_rows(profile("n", [3, 1, 2] * 30), 90)
    (True, False)
    >>> counts_rows(profile("index", [None if row % 9 == 0 else row for row in range(100)]), 100)
    True
    """
    if column.kind != "number" or column.unique < 0.99 or not column.is_integer:  # noqa: PLR2004 - nearly all
        return False
    by_row = column.by_row
    numbers = by_row[~np.isnan(by_row)]
    rising = float((np.diff(numbers) > 0).mean()) if len(numbers) > 1 else 0.0
    reach = (numbers[-1] - numbers[0] + 1) / rows
    return bool(rising > 0.99 and 0.5 < reach < 2)  # noqa: PLR2004 - nearly all, nearly one by one


def same_partition(first: Profile, second: Profile) -> bool:
    """Return whether the two columns put the same rows together, so that either says all the other does."""
    return first.distinct == second.distinct == _pairs(first, second)


def depends_on(column: Profile, leader: Profile) -> bool:
    """Return whether the column has one value, or none, for each value of `leader`.

    >>> card, town = profile("card", ["a", "a", "b", "c"]), profile("town", ["x", "x", "x", "y"])
    >>> depends_on(town, card), depends_on(card, town), same_partition(card, town)
    (True, False, False)
    """
    both = (column.codes >= 0) & (leader.codes >= 0)
    return _pairs(column, leader) <= len(np.unique(leader.codes[both]))


def _pairs(first: Profile, second: Profile) -> int:
    both = (first.codes >= 0) & (second.codes >= 0)
    return len(np.unique(first.codes[both] * max(second.distinct, 1) + second.codes[both]))


def means_missing(value: object) -> bool:
    """Return whether the value is a word for 'missing'."""
    return isinstance(value, str) and _MISSING.matches(value)


def _numbers(values: tuple[object, ...]) -> Floats:
    """Read the values as the parser does; where no probe is a number, none is looked for."""
    if set(map(type, values)) == {float}:
        return np.array(values, np.float64)
    step = max(len(values) // _PROBES, 1)
    if not any(np.isfinite(as_number(value)) for value in values[::step]):
        return np.full(len(values), np.nan)
    return np.array([as_number(value) for value in values], np.float64)


def _numeric_share(values: tuple[object, ...], counts: Integers, numbers: Floats) -> float:
    """Return the share of numbers among the rows that hold more than a word for 'missing'."""
    finite = np.isfinite(numbers)
    if not finite.any():
        return 0.0
    strange = np.flatnonzero(~finite)
    meant = counts[finite].sum() + sum(
        int(counts[index]) for index in strange if not means_missing(values[index])
    )
    return float(counts[finite].sum() / meant)
