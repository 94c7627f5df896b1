"""A source of events that was read before: its name, offset and fingerprint."""

from __future__ import annotations

import msgspec


class KnownSource(msgspec.Struct, frozen=True):
    """A source that was read before.

    length, fingerprint: how much of it was read, and the digest of that part.  offset: where reading resumes:
    at the length, or at 0 where the file was loaded as history and not decided.  Both count bytes or rows.
    """

    name: str
    length: int = 0
    fingerprint: str = ""
    offset: int = 0
