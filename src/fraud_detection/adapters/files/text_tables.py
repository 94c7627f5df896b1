"""Read CSV and JSON Lines files row by row, in bounded memory; every error names the line."""

from __future__ import annotations

import csv
import io
import itertools
import random
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import msgspec

from fraud_detection.adapters.files.csv_header import check_not_json, delimiter, header
from fraud_detection.core.errors import ConfigError, RejectError
from fraud_detection.core.lenient_json import read_object

T = TypeVar("T")


class Stripe(msgspec.Struct, frozen=True):
    """Every `count`-th batch of a file, beginning with that of number `index`.

    Stripes share a file among processes without knowing how long it is: each skips what is not its own before
    it makes values of it.
    """

    index: int = 0
    count: int = 1

    def has(self, number: int) -> bool:
        """Return whether a batch is in the stripe.

        >>> [number for number in range(7) if Stripe(1, 3).has(number)]
        [1, 4]
        """
        return number % self.count == self.index


_HEAD_CHARACTERS = 65_536
_NAMED_BY = 10_000
"""How many lines of a JSON Lines file are read to learn its names."""


class CsvTable:
    """A CSV file: UTF-8 with or without byte-order mark, separated by comma, semicolon, tab or bar."""

    textual = True
    times: frozenset[str] = frozenset()

    def __init__(self, path: Path) -> None:
        """Read the header, and see that a row follows it."""
        self.path = path
        head = self._head()
        check_not_json(head, path)
        self._delimiter = delimiter(head)
        self.names = header(self._named(), path)
        if next(self._rows(), None) is None:
            raise ConfigError(f"{path}: has names of columns but no rows; it needs at least one payment")

    @cached_property
    def rows(self) -> int:
        """Return the number of rows, counted by reading the file once."""
        return sum(1 for _ in self._rows())

    def sample(self, size: int) -> dict[str, list[object]]:
        """Return at most `size` rows by column, in file order."""
        rows, self.rows = thin(self._rows(), size)
        return {name: [row[index] or None for row in rows] for index, name in enumerate(self.names)}

    def records(
        self, batch_rows: int = 10_000, columns: Sequence[str] | None = None
    ) -> Iterator[list[dict[str, object]]]:
        """Yield all rows as text by name, an empty value as None."""
        names = self.names if columns is None else tuple(known(columns, self.names, self.path))
        indices = None if columns is None else [self.names.index(name) for name in names]
        for rows in batches(self._rows(), batch_rows):
            chosen = rows if indices is None else [[row[index] for index in indices] for row in rows]
            yield [dict(zip(names, _blank_to_none(row), strict=True)) for row in chosen]

    def stripe(self, batch_rows: int, stripe: Stripe) -> Iterator[tuple[int, list[dict[str, object]]]]:
        """Yield the batches of a stripe, each with the number of its first row."""
        for number, rows in enumerate(batches(self._rows(), batch_rows)):
            if stripe.has(number):
                yield (
                    number * batch_rows,
                    [dict(zip(self.names, _blank_to_none(row), strict=True)) for row in rows],
                )

    def _head(self) -> str:
        try:
            with self._open() as file:
                return file.read(_HEAD_CHARACTERS)
        except UnicodeDecodeError:
            raise ConfigError(f"{self.path}: is not UTF-8 text; save it as UTF-8") from None

    def _named(self) -> list[str]:
        try:
            with self._open() as file:
                return next((row for row in csv.reader(file, delimiter=self._delimiter) if row), [])
        except csv.Error as error:
            raise ConfigError(f"{self.path}: the line of names is not valid CSV: {error}") from None

    def _rows(self) -> Iterator[list[str]]:
        """Yield the rows after the header, skipping empty lines."""
        width = -1  # not known before the header
        with self._open() as file:
            reader = csv.reader(file, delimiter=self._delimiter, strict=True)
            try:
                for row in reader:
                    if len(row) == width:
                        yield row
                    elif row and width > 0:
                        raise ConfigError(self._ragged(reader.line_num, len(row), width))
                    elif row:
                        width = len(row)
            except csv.Error as error:
                raise ConfigError(f"{self.path}, line {reader.line_num}: not valid CSV: {error}") from None
            except UnicodeDecodeError:
                raise ConfigError(
                    f"{self.path}, after line {reader.line_num}: is not UTF-8 text; save the file as UTF-8"
                ) from None

    def _ragged(self, line: int, column_count: int, width: int) -> str:
        return (
            f"{self.path}, line {line}: {column_count} values where the header names {width}; "
            "quote values that hold the separator, or repair the line"
        )

    def _open(self) -> io.TextIOWrapper:
        return self.path.open(encoding="utf-8-sig", newline="")


class JsonTable:
    """A JSON Lines file: one object a line.  Names are those of the first 10,000 lines."""

    textual = False
    times: frozenset[str] = frozenset()

    def __init__(self, path: Path) -> None:
        """Read the names."""
        self.path = path
        first = itertools.islice(self._objects(), _NAMED_BY)
        self.names = tuple(dict.fromkeys(name for row in first for name in row))
        if not self.names:
            raise ConfigError(f"{path}: holds no named values; it needs one JSON object a line")

    @cached_property
    def rows(self) -> int:
        """Return the number of objects, counted by reading the file once."""
        return sum(1 for _ in self._objects())

    def sample(self, size: int) -> dict[str, list[object]]:
        """Return at most `size` rows by column, in file order; an absent name is None."""
        rows, self.rows = thin(self._objects(), size)
        return {name: [row.get(name) for row in rows] for name in self.names}

    def records(
        self, batch_rows: int = 10_000, columns: Sequence[str] | None = None
    ) -> Iterator[list[dict[str, object]]]:
        """Yield all objects as they are, or only their named values."""
        if columns is None:
            yield from batches(self._objects(), batch_rows)
            return
        names = known(columns, self.names, self.path)
        for rows in batches(self._objects(), batch_rows):
            yield [{name: row.get(name) for name in names} for row in rows]

    def stripe(self, batch_rows: int, stripe: Stripe) -> Iterator[tuple[int, list[dict[str, object]]]]:
        """Yield the batches of a stripe, each with the number of its first object."""
        for number, rows in enumerate(batches(self._objects(), batch_rows)):
            if stripe.has(number):
                yield number * batch_rows, rows

    def _objects(self) -> Iterator[dict[str, object]]:
        decoder = msgspec.json.Decoder(dict[str, object])
        with self.path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield self._decoded(decoder, line, number)

    def _decoded(
        self, decoder: msgspec.json.Decoder[dict[str, object]], line: bytes, number: int
    ) -> dict[str, object]:
        try:
            return decoder.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return self._decoded_loosely(line, number)

    def _decoded_loosely(self, line: bytes, number: int) -> dict[str, object]:
        try:
            return read_object(line)
        except RejectError as error:
            raise ConfigError(
                f"{self.path}, line {number}: not a JSON object on one line: {error.reason}; "
                "write one object a line"
            ) from None


def thin(rows: Iterable[T], size: int) -> tuple[list[T], int]:
    """Return at most `size` rows of a stream, each with the same chance, and how many there were.

    A row is kept with chance 1/k, and k doubles whenever too many are kept, so the
    length need not be known.  Every k-th row would not do: it never sees neighbours.

    >>> thin("abc", 5)
    (['a', 'b', 'c'], 3)
    >>> kept, count = thin(range(100_000), 100)
    >>> len(kept), count, kept == sorted(kept)
    (100, 100000, True)
    """
    dice = random.Random(7)  # noqa: S311 - it chooses rows and guards nothing
    sampled: list[tuple[int, T]] = []
    mask = count = 0
    for count, row in enumerate(rows, 1):  # noqa: B007 - the last count is the answer
        bits = dice.getrandbits(32)
        if bits & mask == 0:
            sampled.append((bits, row))
        if len(sampled) > 2 * size:
            mask = 2 * mask + 1
            sampled = [pair for pair in sampled if pair[0] & mask == 0]
    indices = sorted(dice.sample(range(len(sampled)), min(size, len(sampled))))
    return [sampled[index][1] for index in indices], count


def batches(rows: Iterator[T], size: int) -> Iterator[list[T]]:
    """Cut a stream into lists.

    >>> list(batches(iter("abc"), 2))
    [['a', 'b'], ['c']]
    """
    while batch := list(itertools.islice(rows, size)):
        yield batch


def known(wanted: Sequence[str], names: Sequence[str], path: Path) -> Sequence[str]:
    """Return `wanted`; raise ConfigError if the file lacks one of them."""
    for name in wanted:
        if name not in names:
            raise ConfigError(f"{path}: has no column {name!r} (there are: {', '.join(names)})")
    return wanted


def _blank_to_none(row: list[str]) -> Sequence[str | None]:
    return [value or None for value in row] if "" in row else row
