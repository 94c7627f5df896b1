"""Recognise a file as a known source of events by its content, under any name.

A source is named at first sight after the digest of the whole file.  The state file stores the offset reached
and the digest of everything before it, its fingerprint.  A file is a known source if it begins with the
content that was read: a renamed, copied or grown file is, one that is shorter or differs anywhere in that
part is not.  Either digest takes one sequential read; only sources whose first event is the same are
compared.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

from fraud_detection.core.sources import KnownSource

DIGITS = 32
"""Of a SHA-256, in hexadecimal digits."""
CHUNK_BYTES = 1 << 20


class FileSource(ABC):
    """A file that is read as a source."""

    path: Path

    @cached_property
    def name(self) -> str:
        """Return the name of the source: the digest of the whole file, unless one was set."""
        with self.path.open("rb") as file:
            return self.beginning + hashlib.file_digest(file, "sha256").hexdigest()[:DIGITS]

    @property
    @abstractmethod
    def beginning(self) -> str:
        """Return the prefix of its name: its kind and a short hash of its first event."""

    @abstractmethod
    def digests(self, lengths: Collection[int]) -> Mapping[int, str]:
        """Return the digests of its first `length` bytes or rows; lengths beyond its end are left out."""


def recognised(source: FileSource, known: Sequence[KnownSource]) -> KnownSource:
    """Return the known source that a file continues, else a new one; the file takes its name."""
    digests = source.digests({candidate.length for candidate in known if candidate.length})
    same = [
        candidate
        for candidate in known
        if candidate.length and digests.get(candidate.length) == candidate.fingerprint
    ]
    if same:
        recognized = max(same, key=lambda candidate: candidate.length)
    else:
        # The file as it was at first sight; more of the source was read from a longer one since.
        alike = (
            candidate
            for candidate in known
            if candidate.name == source.name and candidate.length not in digests
        )
        recognized = next(alike, KnownSource(source.name))
    source.name = recognized.name
    return recognized


class PrefixDigest:
    """Running digest of the first bytes of an open file."""

    def __init__(self, file: BinaryIO) -> None:
        """Begin with no bytes."""
        self._file = file
        self._position = 0
        self._hash = hashlib.sha256()

    def until(self, offset: int) -> str:
        """Return the digest of everything before a position, and seek to it; positions must ascend."""
        self._file.seek(self._position)
        while chunk := self._file.read(min(CHUNK_BYTES, offset - self._position)):
            self._hash.update(chunk)
            self._position += len(chunk)
        self._file.seek(offset)
        return self._hash.hexdigest()[:DIGITS]
