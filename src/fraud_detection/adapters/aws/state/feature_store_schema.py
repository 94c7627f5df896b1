"""What a feature group of profiles looks like: names and types of its features, and the ids of its records.

The template that makes the groups and the store that fills them read it here.  It talks to nobody.
"""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime
from typing import Final, Literal

from fraud_detection.core.errors import ConfigError

FeatureType = Literal["String", "Integral", "Fractional"]

RECORD_IDENTIFIER: Final = "entity_id"
EVENT_TIME: Final = "event_time"

FEATURES: Final[dict[str, FeatureType]] = {
    RECORD_IDENTIFIER: "String",
    EVENT_TIME: "String",
    "version": "Integral",
    "shard": "String",
    "sequence": "String",
    "profile": "String",
}
"""version: how often it was saved.  shard, sequence: the shard that saved it, and its last event in it.
profile: the memory itself, deflated, in base64.  event_time: when it was saved; it rises with each save."""

MAX_PLAIN_ID_LENGTH: Final = 1_024
NAME: Final = re.compile(r"[a-zA-Z0-9]([-_]*[a-zA-Z0-9]){0,63}")


def group_name(prefix: str, entity: str) -> str:
    """Return the name of the group of an entity; raise ConfigError for one that AWS does not take.

    >>> group_name("fraud-live", "card")
    'fraud-live-card'
    """
    name = f"{prefix}-{entity}"
    if not NAME.fullmatch(name):
        raise ConfigError(
            f"feature group {name!r}: a name has up to 64 letters, digits, '-' and '_', with a letter or "
            "digit at both ends: choose another prefix"
        )
    return name


def record_id(identifier: str) -> str:
    r"""Return what stands for an entity's id: itself where the service takes it, else '#' and a digest.

    >>> record_id("card 7/ä#")
    'card 7/ä#'
    >>> record_id("two\nlines")[:13]
    '#3b2ba84d3f39'
    """
    plain = identifier.isprintable() and identifier == identifier.strip() and identifier[:1] not in {"", "#"}
    if plain and len(identifier.encode()) <= MAX_PLAIN_ID_LENGTH:
        return identifier
    return "#" + hashlib.blake2b(identifier.encode("utf-8", "surrogatepass"), digest_size=32).hexdigest()


def as_time(ms: int) -> str:
    """Return milliseconds since 1970 as a feature group wants them.

    >>> as_time(1_785_542_400_007)
    '2026-08-01T00:00:00.007Z'
    """
    seconds, milliseconds = divmod(ms, 1000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{milliseconds:03d}Z"


def as_ms(time: str) -> int:
    """Return the milliseconds since 1970 of such a time; raise ValueError for any other text.

    >>> as_ms("2026-08-01T00:00:00.007Z"), as_ms("2026-08-01T00:00:00Z")
    (1785542400007, 1785542400000)
    """
    if not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3})?Z", time):
        raise ValueError(f"{time!r} is not like 2026-08-01T00:00:00.007Z")
    return round(datetime.fromisoformat(time).timestamp() * 1000)
