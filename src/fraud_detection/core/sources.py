"""A source of events that was read before: its name, and how far it is known."""

from __future__ import annotations

import msgspec


class KnownSource(msgspec.Struct, frozen=True):
    """A source that was read before.

    length, digest: how much of it is known, and the digest of that.  position: where reading goes on: at the
    length, or at 0 where a file was taken in as history and not decided.  Both count bytes or rows.
    """

    name: str
    length: int = 0
    digest: str = ""
    position: int = 0
