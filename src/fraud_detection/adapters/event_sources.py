"""Where raw events come from: a file of JSON Lines, a pipe, or a table of rows.

Each yields batches with the place reached, which the door commits with the outcomes.
"""

from __future__ import annotations

import os
import select
from collections.abc import Iterator
from pathlib import Path

import msgspec

from fraud_detection.adapters.tables import Table, open_table
from fraud_detection.errors import ConfigError

PIPE_BYTES = 1 << 18
JSON_LINES = {".jsonl", ".ndjson", ".json"}


class Batch(msgspec.Struct, frozen=True):
    """Events in arrival order; `position` is the place in the source after the last of them.

    identities: ids for rows of files that have none; None where events have their own.
    """

    events: list[bytes]
    identities: list[str] | None
    position: int


class JsonLinesFile:
    """Events of a file, one a line; positions are byte offsets.  A last line without an end is read too."""

    def __init__(self, path: Path) -> None:
        """Check that the file can be read."""
        if not path.is_file():
            raise ConfigError(f"{path}: no such file")
        self.path = path

    def batches(self, position: int, most: int) -> Iterator[Batch]:
        """Yield batches of at most `most` events from `position` on; blank lines are passed over."""
        with self.path.open("rb") as file:
            # A file that is shorter than what was read of it is another file.
            position = position if position <= self.path.stat().st_size else 0
            file.seek(position)
            while True:
                lines = [line for line in (file.readline() for _ in range(most)) if line]
                if not lines:
                    return
                position += sum(map(len, lines))
                yield Batch([line.rstrip(b"\r\n") for line in lines if line.strip()], None, position)


class Pipe:
    """Events of a pipe or terminal, handed on as soon as they are there; positions count events."""

    def __init__(self, descriptor: int) -> None:
        """Read the file descriptor."""
        self.descriptor = descriptor

    def batches(self, position: int, most: int, wait_s: float = 0.5) -> Iterator[Batch]:
        """Yield what has arrived, an empty batch after `wait_s` of silence; end with the pipe."""
        rest = b""
        while True:
            ready, _, _ = select.select([self.descriptor], [], [], wait_s)
            if not ready:
                yield Batch([], None, position)
                continue
            chunk = os.read(self.descriptor, PIPE_BYTES)
            lines = (rest + chunk).split(b"\n")
            rest = lines.pop() if chunk else b""
            events = [line for line in lines if line.strip()]
            for start in range(0, len(events), most):
                part = events[start : start + most]
                position += len(part)
                yield Batch(part, None, position)
            if not chunk:
                return


class TableRows:
    """Rows of a CSV or Parquet file as events; positions count rows, which number the rows without an id."""

    def __init__(self, table: Table, *, numbered: bool) -> None:
        """Take an open table; numbered: the rows need ids of their own."""
        self.table = table
        self.numbered = numbered

    def batches(self, position: int, most: int) -> Iterator[Batch]:
        """Yield batches of at most `most` rows from row `position` on."""
        row = 0
        for records in self.table.records(batch_rows=most):
            first, row = row, row + len(records)
            if row <= position:
                continue
            fresh = records[max(position - first, 0) :]
            start = row - len(fresh)
            names = [f"row-{start + n + 1}" for n in range(len(fresh))] if self.numbered else None
            yield Batch([msgspec.json.encode(record) for record in fresh], names, row)


Source = JsonLinesFile | Pipe | TableRows


def open_source(source: str, *, numbered: bool) -> Source:
    """Return the source for a file's path, or for standard input when it is '-'."""
    if source == "-":
        return Pipe(0)
    path = Path(source)
    if path.suffix.lower() in JSON_LINES:
        return JsonLinesFile(path)
    return TableRows(open_table(path), numbered=numbered)
