"""What payments without an id are known by when they come over HTTP: the caller's key, or a random number."""

from __future__ import annotations

import re
import secrets

from fraud_detection.core.parse.identity import RANDOM_REQUEST, key_identity

RANDOM_BYTES = 16
KEY = re.compile(rb"[!-~]{1,255}")
"""An Idempotency-Key: printable, without spaces."""


def is_key(key: bytes | None) -> bool:
    """Return whether a caller may use it as an `Idempotency-Key`; none at all will do too.

    >>> is_key(None), is_key(b"order-7"), is_key(b"order 7"), is_key(b"")
    (True, True, False, False)
    """
    return key is None or KEY.fullmatch(key) is not None


def request_identities(caller: str, key: bytes | None, events: int, *, many: bool) -> list[str | None]:
    """Return the identities of the events of a request; in a list they are distinguished by their index."""
    if key:
        return [key_identity(caller, key, index if many else None) for index in range(events)]
    prefix = RANDOM_REQUEST + secrets.token_hex(RANDOM_BYTES)
    return [f"{prefix}-{index}" for index in range(events)] if many else [prefix]
