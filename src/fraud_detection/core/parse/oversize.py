"""Events too large to be read: what is stored of them, and how equal ones are recognised.

Such an event can never be decided, so its beginning is stored, with the size and the SHA-256 of all of it.
"""

from __future__ import annotations

import hashlib
from typing import Final

MAX_EVENT_BYTES: Final = 256 * 1024
"""Bytes.  A decision is stored with its event, and stores bound what they take; a payment has hundreds."""

MAX_STORED_EVENT_BYTES: Final = 16 * 1024
"""Bytes.  Of a larger payment only the declared fields are stored: unread fields must not fill a disk."""

TRUNCATED_BYTES: Final = 64 * 1024
"""Bytes that are stored of a larger event."""


class CutEvent(bytes):
    """The beginning of an event that was skipped: one byte more than an event may have, so none reads it.

    size, sha256: of the whole, without the end of its line.  where: its offset in the source, as text.
    length: bytes in the source with the end of the line.  line_hash: by which the source knows it again.
    """

    size: int
    sha256: str
    where: str
    length: int
    line_hash: str


class TruncatedEvent(bytes):
    """The beginning of an event that was too large; full_sha256 sets it apart from others."""

    full_sha256: str


def truncated_event(raw: bytes) -> bytes:
    """Return what is stored of an event that cannot be decided: all, or of a larger one a `TruncatedEvent`.

    >>> len(truncated_event(b" " * MAX_EVENT_BYTES)), len(truncated_event(b" " * (MAX_EVENT_BYTES + 1)))
    (262144, 65536)
    """
    if len(raw) <= MAX_EVENT_BYTES:
        return raw
    part = TruncatedEvent(raw[:TRUNCATED_BYTES])
    part.full_sha256 = _sha256(raw)
    return part


def too_large(raw: bytes) -> str:
    """Return the reason that refuses an event of more than the largest size."""
    size, where = len(raw), ""
    if isinstance(raw, CutEvent):
        size = raw.size
        where = f" {raw.where}" if raw.where else ""
    return (
        f"an event has at most {MAX_EVENT_BYTES:,} bytes, got {size:,}{where}; "
        f"its first {TRUNCATED_BYTES:,} are stored, SHA-256 of all: {_sha256(raw)}"
    )


def _sha256(raw: bytes) -> str:
    return raw.sha256 if isinstance(raw, CutEvent) else hashlib.sha256(raw).hexdigest()
