"""The identity of a file as a source of events: its content, whatever its name.

A source is named at first sight after the digest of all that the file holds then.  A state keeps how far it
was read, and the digest of what was read.  A file is a known source if it begins with what was read of that
source: one that was renamed, copied or has grown is, one that differs anywhere in it or is shorter is not.
Either digest takes one sequential reading; only sources whose first event is the same are compared.
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
PIECE = 1 << 20


class FileSource(ABC):
    """A file that is read as a source."""

    path: Path

    @cached_property
    def name(self) -> str:
        """Return what its events are named after: the name of a new source, where none was set."""
        with self.path.open("rb") as file:
            return self.beginning + hashlib.file_digest(file, "sha256").hexdigest()[:DIGITS]

    @property
    @abstractmethod
    def beginning(self) -> str:
        """Return its kind and a mark of its first event, with which the names of alike sources begin."""

    @abstractmethod
    def digests(self, lengths: Collection[int]) -> Mapping[int, str]:
        """Return the digests of its beginnings of these lengths, without those that it has not."""


def recognised(source: FileSource, known: Sequence[KnownSource]) -> KnownSource:
    """Return which of the known sources a file is, else a new one; the file takes its name."""
    digests = source.digests({one.length for one in known if one.length})
    same = [one for one in known if one.length and digests.get(one.length) == one.digest]
    if same:
        found = max(same, key=lambda one: one.length)
    else:
        # As a source was at first sight: all of it was read, if more of that source was since.
        alike = (one for one in known if one.name == source.name and one.length not in digests)
        found = next(alike, KnownSource(source.name))
    source.name = found.name
    return found


class PrefixDigest:
    """The digest of the first bytes of an open file, kept up while the file is read."""

    def __init__(self, file: BinaryIO) -> None:
        """Begin with no bytes."""
        self._file = file
        self._position = 0
        self._hash = hashlib.sha256()

    def until(self, position: int) -> str:
        """Return the digest of all before a position, which only rises, and leave the file at it."""
        self._file.seek(self._position)
        while piece := self._file.read(min(PIECE, position - self._position)):
            self._hash.update(piece)
            self._position += len(piece)
        self._file.seek(position)
        return self._hash.hexdigest()[:DIGITS]
