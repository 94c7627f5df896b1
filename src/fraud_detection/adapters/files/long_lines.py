"""Lines of a source, of which those that are longer than any event are skipped in pieces.

So no line takes more memory than an event, and the source goes on behind it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import BinaryIO

from fraud_detection.core.parse.oversize import MAX_EVENT_BYTES, CutEvent

MAX_LINE_BYTES = MAX_EVENT_BYTES + 1
"""Bytes of a line before its end; one byte more than an event may have, for the CR of a CRLF."""
CHUNK_BYTES = 1 << 18
HASH_BYTES = 4


class _OversizeLine:
    """An oversize line that is being skipped: its beginning, and the size and digest of what came so far."""

    def __init__(self, begin: bytes) -> None:
        self._head = begin[:MAX_LINE_BYTES]
        self._digest, self._end = hashlib.sha256(), b""
        self._size = self.length = 0
        self.tail = b""
        self.add(begin)

    def add(self, chunk: bytes) -> None:
        """Take the next bytes; a CR or LF that may end the line is held back."""
        self.length += len(chunk)
        self.tail = (self.tail + chunk)[-MAX_LINE_BYTES:]
        text = self._end + chunk
        content = text.rstrip(b"\r\n")
        self._end = text[len(content) :]
        self._digest.update(content)
        self._size += len(content)

    def event(self, where: str = "") -> CutEvent:
        """Return what stands for the line, at its end."""
        cut = CutEvent(self._head)
        cut.size, cut.sha256, cut.where = self._size, self._digest.hexdigest(), where
        cut.length, cut.line_hash = self.length, line_hash(self.tail)
        return cut


def line_hash(event: bytes) -> str:
    """Return eight hexadecimal digits by which a line is known again; one too long is known by its end.

    >>> line_hash(b'{"amount": 1}'), line_hash(b'{"amount": 2}')
    ('7c419680', 'f95620b9')
    """
    if isinstance(event, CutEvent):
        return event.line_hash
    return hashlib.blake2b(event[-MAX_LINE_BYTES:].strip(), digest_size=HASH_BYTES).hexdigest()


def read_line(file: BinaryIO, start: int) -> tuple[bytes, bool]:
    """Return the line that begins at `start`, with its end, and whether it has one; empty where none is left.

    One that is too long is returned as a `CutEvent`.
    """
    line = file.readline(MAX_LINE_BYTES + 1)
    if line.endswith(b"\n") or len(line) <= MAX_LINE_BYTES:
        return line, line.endswith(b"\n")
    oversize, chunk = _OversizeLine(line), line
    while chunk and not chunk.endswith(b"\n"):
        chunk = file.readline(CHUNK_BYTES)
        oversize.add(chunk)
    return oversize.event(f"from byte {start:,} of the file on"), bool(chunk)


class LineCutter:
    r"""Cuts what arrives on a pipe into lines, and holds no more of one than an event may have.

    >>> lines = LineCutter()
    >>> [list(lines.of(part)) for part in (b"a", b"b\nc", b"")]
    [[], [b'ab'], [b'c']]
    """

    def __init__(self) -> None:
        """Start with nothing left over."""
        self._chunks: list[bytes] = []
        self._held = 0
        self._oversize: _OversizeLine | None = None

    def of(self, chunk: bytes) -> Iterator[bytes]:
        """Yield the lines that are complete with these bytes, without their ends; no bytes are the end."""
        *ended, unfinished = chunk.split(b"\n")
        for line in ended:
            self._add(line)
            yield self._take()
        self._add(unfinished)
        if not chunk and (self._chunks or self._oversize):
            yield self._take()

    def _add(self, chunk: bytes) -> None:
        if self._oversize is not None:
            self._oversize.add(chunk)
        elif chunk:
            self._chunks.append(chunk)
            self._held += len(chunk)
            if self._held > MAX_LINE_BYTES:
                self._oversize = _OversizeLine(b"".join(self._chunks))
                self._chunks = []

    def _take(self) -> bytes:
        line = b"".join(self._chunks) if self._oversize is None else self._oversize.event()
        self._chunks, self._held, self._oversize = [], 0, None
        return line
