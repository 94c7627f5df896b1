"""Find one value in an event, and read it as an id, a category or a number, or say that it is none."""

from __future__ import annotations

import hashlib
import math
from typing import Final

from fraud_detection.parse.drift import SchemaDrift

LONGEST_ID: Final = 256


class FieldReader:
    """Finds one declared value in an event: under its own name, or under an alias, which is counted."""

    def __init__(self, field: str, aliases: tuple[str, ...], drift: SchemaDrift) -> None:
        """Take the names in the order in which they are tried."""
        self.field: str = field
        self.aliases: tuple[str, ...] = aliases
        self.drift: SchemaDrift = drift

    def find(self, event: dict[str, object], time_ms: int) -> object:
        """Return the value, None where there is none."""
        value = event.get(self.field)
        if value is None and self.aliases:
            for alias in self.aliases:
                value = event.get(alias)
                if value is not None:
                    self.drift.count("alias", self.field, time_ms, alias)
                    return value
        return value


def as_id(value: object) -> str | None:
    """Return the id as text; numbers are written without a fraction, so that 7, 7.0 and '7' agree."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        return None
    text = str(value).strip()
    return text if 0 < len(text) <= LONGEST_ID else None


def as_category(value: object) -> str | None:
    """Return the category as text; a number with a fraction is written in full."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and not math.isnan(value) and not value.is_integer():
        return repr(value)
    return as_id(value)


def as_number(value: object) -> float:
    """Return the number that the value holds, NaN where it holds none."""
    if isinstance(value, (float, int)):
        try:
            return float(value)
        except OverflowError:
            return math.nan
    if isinstance(value, str):
        try:
            return float(value.strip().replace("_", "x"))
        except ValueError:
            return math.nan
    return math.nan


def content_id(raw: bytes) -> str:
    """Return an id made of an event's content, for events that have none of their own."""
    return hashlib.blake2b(raw, digest_size=12).hexdigest()
