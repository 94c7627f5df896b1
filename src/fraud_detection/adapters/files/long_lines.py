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

    def add(self, piece: bytes) -> None:
        """Take the next bytes; a CR or LF that may end the line is held back."""
        self.length += len(piece)
        self.tail = (self.tail + piece)[-MAX_LINE_BYTES:]
        text = self._end + piece
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
    oversize, piece = _OversizeLine(line), line
    while piece and not piece.endswith(b"\n"):
        piece = file.readline(CHUNK_BYTES)
        oversize.add(piece)
    return oversize.event(f"from byte {start:,} of the file on"), bool(piece)


class LineCutter:
    r"""Cuts what arrives on a pipe into lines, and holds no more of one than an event may have.

    >>> lines = LineCutter()
    >>> [list(lines.of(part)) for part in (b"a", b"b\nc", b"")]
    [[], [b'ab'], [b'c']]
    """

    def __init__(self) -> None:
        """Start with nothing left over."""
        self._pieces: list[bytes] = []
        self._held = 0
        self._oversize: _OversizeLine | None = None

    def of(self, chunk: bytes) -> Iterator[bytes]:
        """Yield the lines that are complete with these bytes, without their ends; no bytes are the end."""
        *ended, unfinished = chunk.split(b"\n")
        for line in ended:
            self._add(line)
            yield self._take()
        self._add(unfinished)
        if not chunk and (self._pieces or self._oversize):
            yield self._take()

    def _add(self, piece: bytes) -> None:
        if self._oversize is not None:
            self._oversize.add(piece)
        elif piece:
            self._pieces.append(piece)
            self._held += len(piece)
            if self._held > MAX_LINE_BYTES:
                self._oversize = _OversizeLine(b"".join(self._pieces))
                self._pieces = []

    def _take(self) -> bytes:
        line = b"".join(self._pieces) if self._oversize is None else self._oversize.event()
        self._pieces, self._held, self._oversize = [], 0, None
        return line
