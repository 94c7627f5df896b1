"""A profile as bytes: what a store holds, and what the profiles are in memory that are not in use.

The bytes are MessagePack: the number of the last event that the profile includes as it was saved, and its
content.
"""

from __future__ import annotations

from typing import Final

from fraud_detection.core.features.packed import ENCODER, Cursor, array_head
from fraud_detection.core.features.profile import Profile, ProfilePlan

MAX_NUMBER: Final = 1 << 63
PARTS: Final = 2


def encode_profile(profile: Profile, saved_at: int) -> bytes:
    """Return a profile as it is stored when it is saved at an event."""
    return _head(saved_at) + profile.packed()


def decode_profile(plan: ProfilePlan, content: bytes) -> Profile:
    """Return the profile that bytes hold; raise ConfigError where another version has written them."""
    profile, cursor = Profile(plan), Cursor(content, 0)
    cursor.length()
    profile.saved_at = cursor.number()
    profile.load(cursor)
    return profile


def saved_later(content: bytes, saved_at: int) -> bytes:
    """Return the same profile as it is stored when it is saved at a later event."""
    cursor = Cursor(content, 0)
    cursor.length()
    cursor.number()
    return _head(saved_at) + content[cursor.at :]


def _head(saved_at: int) -> bytes:
    # The numbers of a stream may be longer than what a byte format takes as a number.
    number: bytes = ENCODER.encode(saved_at if saved_at < MAX_NUMBER else str(saved_at))
    return array_head(PARTS) + number
