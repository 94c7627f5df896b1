"""The identity of an event whose schema declares no id: its offset in its source, never its content alone.

An event that comes again from the same offset is the same one; equal events at two offsets are two.
"""

from __future__ import annotations

import hashlib
import re

ID_BYTES = 16
RANDOM_REQUEST = "request-"
RANDOM_PIPE = "pipe-"
"""Prefixes of random identities: none of them comes a second time."""
MAX_PARTITION_KEY_LENGTH = 256
_REDRIVEN = re.compile(r"redriven:([^:]+):((\d+)(?:\.\d+)?):(.+)", re.DOTALL)
LABEL_ID_FIELD = "transaction_id"
"""Under this name a label states the identity of its payment, where the schema declares no field for ids."""


def record_identity(shard: str, number: str) -> str:
    """Return the identity of a record of a stream; `number` may have a part behind it.

    >>> record_identity("shardId-000000000000", "4954.2")
    'shardId-000000000000:4954.2'
    """
    return f"{shard}:{number}"


def is_random(identity: str) -> bool:
    """Return whether an identity is random: it belongs to its event alone.

    >>> is_random("request-5f3a"), is_random(key_identity("till", b"k1"))
    (True, False)
    """
    return identity.startswith((RANDOM_REQUEST, RANDOM_PIPE))


def redriven_key(shard: str, number: str, key: str) -> str:
    """Return the partition key of a record that is put again: it carries the record's first sequence number.

    number: with a part behind it where it is one event of an aggregate.

    A key that leaves no room for it stays as it is.

    >>> key = redriven_key("shardId-000000000000", "4954", "card-7")
    >>> key, redriven_from(key, "4960")
    ('redriven:shardId-000000000000:4954:card-7', ('shardId-000000000000', '4954', 'card-7'))
    """
    carrying = f"redriven:{shard}:{number}:{key}"
    return carrying if len(carrying) <= MAX_PARTITION_KEY_LENGTH else key


def redriven_from(key: str, number: str) -> tuple[str, str, str] | None:
    """Return shard, number and partition key that a record had first; None where its key carries none.

    number: that it has now.  Only an earlier one counts: no record can claim a later one.
    """
    match = _REDRIVEN.fullmatch(key)
    if match is None or int(match[3]) >= int(number):
        return None
    return match[1], match[2], match[4]


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
