"""Where raw events come from: a file of JSON Lines, a pipe, or a table of rows.

Each yields batches with the place reached, which the door commits with the outcomes.  A place
carries a mark of the event before it, so that another file under the same name is noticed.
"""

from __future__ import annotations

import os
import secrets
import select
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import msgspec

from fraud_detection.adapters.long_lines import LONGEST, LineCutter, mark, read_line
from fraud_detection.adapters.tables import Table, open_table
from fraud_detection.errors import ConfigError, RejectError
from fraud_detection.events import Sender
from fraud_detection.loose_json import object_of
from fraud_detection.parse.identity import DRAWN_PIPE
from fraud_detection.parse.oversize import CutEvent

PIPE_BYTES = 1 << 18
NAME_BYTES = 16
MOST_BYTES = 1 << 23
"""Of a batch: few large events make one, so that many of them take little memory."""
LOOK_BACK_ROWS = 4096
JSON_LINES = {".jsonl", ".ndjson", ".json"}


class Batch(msgspec.Struct, frozen=True):
    """Events in arrival order; `position` is the place in the source after the last of them.

    identities: the places of the events, see `parse.identity`, by which those without an id are known.
    mark: of the last event before the position, see `mark`.  senders: of the events, where they are known.
    """

    events: list[bytes]
    identities: Sequence[str | None] | None
    position: int
    mark: str = ""
    senders: list[Sender] | None = None


class JsonLinesFile:
    """Events of a file, one a line; positions are byte offsets.

    Events are named after their offset and content.
    growing: somebody may still be writing the last line.  Then one without an end is read only if it is a
    whole JSON object, and is else left for the next time; `unfinished` tells so.
    """

    def __init__(self, path: Path, *, growing: bool = False) -> None:
        """Check that the file can be read."""
        if not path.is_file():
            raise ConfigError(f"{path}: no such file")
        self.path = path
        self.growing = growing
        self.unfinished = False

    def batches(self, position: int, most: int) -> Iterator[Batch]:
        """Yield batches of at most `most` events from `position` on; blank lines are passed over."""
        with self.path.open("rb") as file:
            file.seek(position)
            while True:
                lines = self._lines(file, most, position)
                if not lines:
                    return
                starts = [position]
                for line in lines:
                    starts.append(starts[-1] + _length(line))
                position = starts.pop()
                at = [
                    (start, line if isinstance(line, CutEvent) else line.strip(b"\r\n"))
                    for start, line in zip(starts, lines, strict=True)
                    if line.strip()
                ]
                names = [f"byte-{start}-{mark(line)}" for start, line in at]
                yield Batch([line for _, line in at], names, position, mark(lines[-1]))

    def holds(self, position: int, expected: str) -> bool:
        """Return whether the line that ends at `position` is still the one with that mark."""
        with self.path.open("rb") as file:
            before = position
            line = b""
            while before > 0 and b"\n" not in line[:-1] and len(line) < LONGEST:
                size = min(before, PIPE_BYTES)
                before -= size
                file.seek(before)
                line = file.read(size) + line
        return len(line) + before == position and mark(line[:-1].rpartition(b"\n")[2] + line[-1:]) == expected

    def _lines(self, file: BinaryIO, most: int, position: int) -> list[bytes]:
        """Read at most `most` lines; what follows a line without an end is not there yet."""
        lines: list[bytes] = []
        size = 0
        while len(lines) < most and size < MOST_BYTES:
            line, has_end = read_line(file, position)
            if not line:
                break
            if not has_end:
                self.unfinished = self.growing and (isinstance(line, CutEvent) or not is_object(line))
                return lines if self.unfinished else [*lines, line]
            lines.append(line)
            size += len(line)
            position += _length(line)
        return lines


class Pipe:
    """Events of a pipe or terminal, handed on as soon as they are there; positions count events.

    Events are numbered behind a name that is drawn anew here: nobody can tell whether what another process
    reads was read before.
    """

    def __init__(self, descriptor: int) -> None:
        """Read the file descriptor."""
        self.descriptor = descriptor
        self.name = DRAWN_PIPE + secrets.token_hex(NAME_BYTES)
        self.unfinished = False

    def holds(self, position: int, expected: str) -> bool:
        """Return that nothing was read before: a pipe begins anew with every process."""
        return position == 0 and not expected

    def batches(self, position: int, most: int, wait_s: float = 0.5) -> Iterator[Batch]:
        """Yield what has arrived, an empty batch after `wait_s` of silence; end with the pipe."""
        cutter = LineCutter()
        while True:
            ready, _, _ = select.select([self.descriptor], [], [], wait_s)
            if not ready:
                yield Batch([], None, position)
                continue
            chunk = os.read(self.descriptor, PIPE_BYTES)
            events = [line for line in cutter.of(chunk) if line.strip()]
            for start in range(0, len(events), most):
                part = events[start : start + most]
                names = [f"{self.name}-{position + n}" for n in range(1, len(part) + 1)]
                position += len(part)
                yield Batch(part, names, position)
            if not chunk:
                return


class TableRows:
    """Rows of a CSV or Parquet file as events; positions count rows.

    Rows are named after their number and content.
    """

    def __init__(self, table: Table) -> None:
        """Take an open table."""
        self.table = table
        self.unfinished = False

    def batches(self, position: int, most: int) -> Iterator[Batch]:
        """Yield batches of at most `most` rows from row `position` on."""
        row = 0
        for records in self.table.records(batch_rows=most):
            first, row = row, row + len(records)
            if row <= position:
                continue
            fresh = records[max(position - first, 0) :]
            start = row - len(fresh)
            events = [msgspec.json.encode(record) for record in fresh]
            names = [f"row-{start + n}-{mark(event)}" for n, event in enumerate(events, start=1)]
            yield Batch(events, names, row, mark(events[-1]))

    def holds(self, position: int, expected: str) -> bool:
        """Return whether row `position` is still the one with that mark."""
        last = next(self.batches(position - 1, LOOK_BACK_ROWS), None)
        return last is not None and mark(last.events[0]) == expected


def _length(line: bytes) -> int:
    """Return the bytes of a line in its file."""
    return line.length if isinstance(line, CutEvent) else len(line)


Source = JsonLinesFile | Pipe | TableRows


def open_source(source: str, *, growing: bool = False) -> Source:
    """Return the source for a file's path, or for standard input when it is '-'.

    growing: a file may still be written to.
    """
    if source == "-":
        return Pipe(0)
    path = Path(source)
    if path.suffix.lower() in JSON_LINES:
        return JsonLinesFile(path, growing=growing)
    return TableRows(open_table(path))


def is_object(line: bytes) -> bool:
    """Return whether a line is one whole JSON object.

    >>> is_object(b'{"id": 1}'), is_object(b'{"id": '), is_object(b"id,amount")
    (True, False, False)
    """
    try:
        object_of(line)
    except RejectError:
        return False
    return True
