"""Event sources: a file of JSON Lines, a pipe, or a table of rows.

Each yields batches with the offset reached, which the service commits with the outcomes.  A file's offset
comes with a fingerprint, the digest of all before it, so that the file is recognised under any name.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import secrets
import select
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

import msgspec

from fraud_detection.adapters.files.long_lines import LineCutter, line_hash, read_line
from fraud_detection.adapters.files.source_identity import DIGITS, FileSource, PrefixDigest
from fraud_detection.adapters.files.tables import KINDS, Table, open_table
from fraud_detection.adapters.files.text_tables import JsonTable, Stripe
from fraud_detection.core.errors import ConfigError, RejectError
from fraud_detection.core.events import Sender
from fraud_detection.core.lenient_json import object_of
from fraud_detection.core.parse.identity import RANDOM_PIPE
from fraud_detection.core.parse.oversize import CutEvent

PIPE_BYTES = 1 << 18
NAME_BYTES = 16
MAX_BYTES = 1 << 23
"""Of a batch: few large events make one, so that many of them take little memory."""
ROWS = 4096


class Batch(msgspec.Struct, frozen=True):
    """Events in arrival order; `offset` in the source is that after the last of them.

    identities: ids of events that carry none, made of their offsets, see `parse.identity`.
    fingerprint: digest of a file up to the offset.  senders: of the events, where they are known.
    """

    events: list[bytes]
    identities: Sequence[str | None] | None
    offset: int
    fingerprint: str = ""
    senders: list[Sender] | None = None


class JsonLinesFile(FileSource):
    """Events of a file, one a line; offsets count bytes.

    Events without an id are named after the source and their offset.
    growing: somebody may still be writing the last line.  Then one without an end is read only if it is a
    whole JSON object, and is else left for the next time; `unfinished` says so.
    """

    def __init__(self, path: Path, *, growing: bool = False) -> None:
        """Check that the file can be read."""
        if not path.is_file():
            raise ConfigError(f"{path}: no such file")
        self.path = path
        self.growing = growing
        self.unfinished = False

    @property
    def beginning(self) -> str:
        """Return the kind of the source and a short hash of its first line."""
        with self.path.open("rb") as file:
            return f"lines-{line_hash(read_line(file, 0)[0])}"

    def digests(self, lengths: Collection[int]) -> Mapping[int, str]:
        """Return the digests of the first bytes, as many as are asked for and there."""
        size = self.path.stat().st_size
        with self.path.open("rb") as file:
            prefix = PrefixDigest(file)
            return {length: prefix.until(length) for length in sorted(lengths) if length <= size}

    def batches(self, offset: int, max_events: int) -> Iterator[Batch]:
        """Yield batches of at most `max_events` events from `offset` on; blank lines are passed over."""
        with self.path.open("rb") as file:
            prefix = PrefixDigest(file)
            prefix.until(offset)
            while lines := self._lines(file, max_events, offset):
                starts, offset = _starts(lines, offset)
                at = _not_blank(starts, lines)
                names = [f"{self.name}-{start}" for start, _ in at]
                yield Batch([line for _, line in at], names, offset, prefix.until(offset))

    def stripe(self, stripe: Stripe) -> Iterator[tuple[int, bytes, str]]:
        """Yield the events of a stripe, each with its offset and the id that it has if it carries none."""
        offset = 0
        with self.path.open("rb") as file:
            for number in itertools.count():
                lines = self._lines(file, ROWS, offset)
                if not lines:
                    return
                starts, offset = _starts(lines, offset)
                if stripe.has(number):
                    for start, line in _not_blank(starts, lines):
                        yield start, line, f"{self.name}-{start}"

    def _lines(self, file: BinaryIO, max_events: int, offset: int) -> list[bytes]:
        """Read at most `max_events` lines; what follows a line without an end is not there yet."""
        lines: list[bytes] = []
        size = 0
        while len(lines) < max_events and size < MAX_BYTES:
            line, has_end = read_line(file, offset)
            if not line:
                break
            if not has_end:
                self.unfinished = self.growing and (isinstance(line, CutEvent) or not is_object(line))
                return lines if self.unfinished else [*lines, line]
            lines.append(line)
            size += len(line)
            offset += _length(line)
        return lines


class Pipe:
    """Events of a pipe or terminal, yielded as soon as they arrive; offsets count events.

    Events are numbered after a random name, new for each process: whether another process has read them
    before cannot be known.
    """

    def __init__(self, descriptor: int) -> None:
        """Read the file descriptor."""
        self.descriptor = descriptor
        self.name = RANDOM_PIPE + secrets.token_hex(NAME_BYTES)
        self.unfinished = False

    def batches(self, offset: int, max_events: int, wait_s: float = 0.5) -> Iterator[Batch]:
        """Yield what has arrived, an empty batch after `wait_s` of silence; end with the pipe."""
        cutter = LineCutter()
        while True:
            ready, _, _ = select.select([self.descriptor], [], [], wait_s)
            if not ready:
                yield Batch([], None, offset)
                continue
            chunk = os.read(self.descriptor, PIPE_BYTES)
            events = [line for line in cutter.of(chunk) if line.strip()]
            for start in range(0, len(events), max_events):
                batch = events[start : start + max_events]
                names = [f"{self.name}-{offset + n}" for n in range(1, len(batch) + 1)]
                offset += len(batch)
                yield Batch(batch, names, offset)
            if not chunk:
                return


class TableRows(FileSource):
    """Rows of a CSV or Parquet file as events; offsets count rows.

    Events without an id are named after the source and their row.  A known source is compared by its rows, so
    a table that was rewritten with more rows is still the same source.
    """

    def __init__(self, table: Table) -> None:
        """Take an open table."""
        self.table, self.path = table, table.path
        self.unfinished = False

    @property
    def beginning(self) -> str:
        """Return the kind of the source and a short hash of its first row."""
        return f"rows-{line_hash(next(self._events(1))[0])}"

    def digests(self, lengths: Collection[int]) -> Mapping[int, str]:
        """Return the digests of the first rows, as many as are asked for and there."""
        digest_at, prefix = dict[int, str](), hashlib.sha256()
        rows = itertools.chain.from_iterable(self._events(ROWS))
        for row, event in enumerate(itertools.islice(rows, max(lengths, default=0)), 1):
            prefix.update(event + b"\n")
            if row in lengths:
                digest_at[row] = prefix.hexdigest()[:DIGITS]
        return digest_at

    def batches(self, offset: int, max_events: int) -> Iterator[Batch]:
        """Yield batches of at most `max_events` rows from row `offset` on."""
        row, prefix = 0, hashlib.sha256()
        for events in self._events(max_events):
            first, row = row, row + len(events)
            prefix.update(b"".join(event + b"\n" for event in events))
            if row > offset:
                fresh = events[max(offset - first, 0) :]
                names = [f"{self.name}-{number}" for number in range(row - len(fresh) + 1, row + 1)]
                yield Batch(fresh, names, row, prefix.hexdigest()[:DIGITS])

    def stripe(self, stripe: Stripe) -> Iterator[tuple[int, bytes, str]]:
        """Yield the rows of a stripe, each with its number and the id that it has if it carries none."""
        for first, records in self.table.stripe(ROWS, stripe):
            for row, record in enumerate(records, first):
                yield row, msgspec.json.encode(record), f"{self.name}-{row + 1}"

    def _events(self, max_events: int) -> Iterator[list[bytes]]:
        for records in self.table.records(batch_rows=max_events):
            yield [msgspec.json.encode(record) for record in records]


def _starts(lines: Sequence[bytes], offset: int) -> tuple[list[int], int]:
    """Return the offset of each line, and that after the last one."""
    starts = [offset]
    for line in lines:
        starts.append(starts[-1] + _length(line))
    return starts, starts.pop()


def _not_blank(starts: Sequence[int], lines: Sequence[bytes]) -> list[tuple[int, bytes]]:
    return [
        (start, line if isinstance(line, CutEvent) else line.strip(b"\r\n"))
        for start, line in zip(starts, lines, strict=True)
        if line.strip()
    ]


def _length(line: bytes) -> int:
    """Return the bytes of a line in its file."""
    return line.length if isinstance(line, CutEvent) else len(line)


Source = JsonLinesFile | Pipe | TableRows


def open_source(source: str, *, growing: bool = False) -> Source:
    """Return the source for a file's path, or for standard input when it is '-'.

    growing: a file may still be written to.
    """
    return Pipe(0) if source == "-" else open_file(Path(source), growing=growing)


def open_file(path: Path, *, growing: bool = False) -> JsonLinesFile | TableRows:
    """Return the source for a file."""
    if KINDS.get(path.suffix.lower()) is JsonTable:
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
