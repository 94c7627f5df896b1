"""Open a file of payments, whatever its kind, as one table: names, rows, a sample, records.

A value arrives as the file holds it: CSV gives text, Parquet and JSON Lines give native
values.  An empty or undefined value is None everywhere.  Nothing is interpreted here; the
declared schema does that later, for files and live events alike.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from fraud_detection.adapters.files.parquet_parts import BATCH_ROWS, Columns, ParquetParts
from fraud_detection.adapters.files.parquet_tables import (
    ParquetTable,
    column_names,
    read_batches,
    read_columns,
    write_batches,
    write_columns,
)
from fraud_detection.adapters.files.text_tables import CsvTable, JsonTable, Stripe
from fraud_detection.core.errors import ConfigError

__all__ = [
    "BATCH_ROWS",
    "KINDS",
    "Columns",
    "ParquetParts",
    "Table",
    "column_names",
    "is_textual",
    "open_table",
    "read_batches",
    "read_columns",
    "write_batches",
    "write_columns",
]


class Table(Protocol):
    """A file of payments.

    names: the columns; textual: every value is text; times: columns that the file itself
    declares to be times, whose values are integer milliseconds since 1970.
    """

    path: Path
    names: tuple[str, ...]
    textual: bool
    times: frozenset[str]

    def __init__(self, path: Path) -> None:
        """Read the names; raise ConfigError where the file cannot be used."""

    @property
    def rows(self) -> int:
        """Return the number of rows; a text file is read through once to count them."""

    def sample(self, size: int) -> dict[str, list[object]]:
        """Return at most `size` rows by column, in file order, each row with the same chance.

        The choice is the same every time.
        """

    def records(
        self, batch_rows: int = 10_000, columns: Sequence[str] | None = None
    ) -> Iterator[list[dict[str, object]]]:
        """Yield all rows in file order, in lists of at most `batch_rows`."""

    def stripe(self, batch_rows: int, stripe: Stripe) -> Iterator[tuple[int, list[dict[str, object]]]]:
        """Yield the batches of a stripe, each with the number of its first row."""


KINDS: Mapping[str, type[Table]] = {
    ".csv": CsvTable,
    ".tsv": CsvTable,
    ".txt": CsvTable,
    ".parquet": ParquetTable,
    ".pq": ParquetTable,
    ".jsonl": JsonTable,
    ".ndjson": JsonTable,
    ".json": JsonTable,
}
"""What reads a file of payments, by its suffix; nothing else knows which kinds there are."""


def is_textual(path: Path) -> bool:
    """Return whether the file holds nothing but text, so that text is no drift of type.

    >>> from pathlib import Path
    >>> is_textual(Path("payments.CSV")), is_textual(Path("payments.pq"))
    (True, False)
    """
    kind = KINDS.get(path.suffix.lower())
    return kind is not None and kind.textual


def open_table(path: Path) -> Table:
    """Open a file by its suffix; raise ConfigError with what to change if it cannot be used.

    >>> from pathlib import Path
    >>> open_table(Path("payments.xlsx"))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    fraud_detection.core.errors.ConfigError: payments.xlsx: cannot read files that end in '.xlsx'; \
write it as .csv, .tsv, ...
    """
    _check_is_file(path)
    kind = KINDS.get(path.suffix.lower())
    if kind is None:
        *most, last = KINDS
        files = f"files that end in {path.suffix!r}" if path.suffix else "files without a suffix"
        raise ConfigError(f"{path}: cannot read {files}; write it as {', '.join(most)} or {last}")
    _check_exists(path)
    return kind(path)


def _check_is_file(path: Path) -> None:
    if path.is_dir():
        raise ConfigError(f"{path}: is a folder; name one file in it")
    if path == Path("-"):
        raise ConfigError(
            "-: standard input cannot be read here; write it to a file, such as payments.csv, and name that"
        )


def _check_exists(path: Path) -> None:
    if not path.is_file():
        raise ConfigError(f"{path}: no such file")
    if path.stat().st_size == 0:
        raise ConfigError(f"{path}: the file is empty; it needs named columns and at least one row")
