"""The identity of an event whose schema declares no id: its place in its source, never its content alone.

An event that comes again from the same place is the same one; equal events of two places are two.
"""

from __future__ import annotations

import hashlib

ID_BYTES = 16
DRAWN_REQUEST = "request-"
DRAWN_PIPE = "pipe-"
"""What identities begin with that are drawn by chance: none of them comes a second time."""
LABEL_ID_FIELD = "transaction_id"
"""Under this name a label tells the identity of its payment, where the schema declares no field for ids."""


def record_identity(shard: str, number: str) -> str:
    """Return the identity of a record of a stream; `number` may have a part behind it.

    >>> record_identity("shardId-000000000000", "4954.2")
    'shardId-000000000000:4954.2'
    """
    return f"{shard}:{number}"


def is_drawn(identity: str) -> bool:
    """Tell whether an identity was drawn for its event alone.

    >>> is_drawn("request-5f3a"), is_drawn(key_identity("till", b"k1"))
    (True, False)
    """
    return identity.startswith((DRAWN_REQUEST, DRAWN_PIPE))


def key_identity(caller: str, key: bytes, index: int | None = None) -> str:
    """Return the identity of an event that was sent under a caller's own key; `index` in a list of them.

    >>> one = key_identity("till", b"k1")
    >>> one == key_identity("till", b"k1"), one == key_identity("shop", b"k1")
    (True, False)
    >>> key_identity("till", b"k1", 3) == f"{one}-3"
    True
    """
    digest = hashlib.blake2b(caller.encode() + b"\0" + key, digest_size=ID_BYTES).hexdigest()
    return f"key-{digest}" if index is None else f"key-{digest}-{index}"
