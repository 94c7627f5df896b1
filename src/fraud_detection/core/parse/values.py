"""Find one value in an event, and read it as an id, a category or a number, or recognize it as missing."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final

from fraud_detection.core.errors import RejectError
from fraud_detection.core.id_text import canonical_id
from fraud_detection.core.parse.drift import SchemaDrift

MAX_ID_LENGTH: Final = 256
MAX_NUMBER: Final = 3.4028234663852886e38
"""Of 32-bit floats, in which a model sees its features."""
BLANKS: Final = "".join(filter(str.isspace, map(chr, range(0x3001))))


class Missing:
    """Markers of a missing value, compared without regard to case and blanks; empty text always is one.

    Markers that are numbers, such as -1, are compared as numbers: a file may hold either.
    """

    def __init__(self, markers: Iterable[str]) -> None:
        """Take the markers."""
        known = {word.strip().lower() for word in markers}
        self.markers: set[str] = {"", *known}
        self.numbers: set[float] = {number for word in known if math.isfinite(number := as_number(word))}
        self.has_numbers: bool = len(self.numbers) > 0
        begins = {word[0] for word in known if word}
        # With what a value begins that may be one: nearly all are recognized by it alone, millions of times.
        self.begins: set[str] = {*begins, *[begin.upper() for begin in begins], *BLANKS}
        if self.has_numbers:
            self.begins.update("0123456789.+-")

    def but(self, keep: Iterable[str]) -> Missing:
        """Return the markers without those that a field keeps as values."""
        excluded = {word.strip().lower() for word in keep}
        return Missing([word for word in self.markers if word not in excluded])

    def matches(self, value: object) -> bool:
        """Return whether a value that is there means that there is none."""
        if isinstance(value, str):
            if not value:
                return True
            if value[0] not in self.begins:
                return False
            text = value.strip().lower()
            return text in self.markers or (self.has_numbers and as_number(text) in self.numbers)
        return self.has_numbers and not isinstance(value, bool) and as_number(value) in self.numbers


class FieldReader:
    """Finds one declared value in an event: under its own name, or under an alias, which is counted."""

    def __init__(self, field: str, aliases: tuple[str, ...], drift: SchemaDrift, missing: Missing) -> None:
        """Take the names in the order in which they are tried, and what means that there is no value."""
        self.field: str = field
        self.aliases: tuple[str, ...] = aliases
        self.drift: SchemaDrift = drift
        self.missing: Missing = missing

    def find(self, event: dict[str, object], time_ms: int) -> object:
        """Return the value, None where there is none."""
        value = event.get(self.field)
        if value is not None and self.missing.matches(value):
            value = None
        if value is None and self.aliases:
            for alias in self.aliases:
                value = event.get(alias)
                if value is not None and not self.missing.matches(value):
                    self.drift.count("alias", self.field, time_ms, alias)
                    return value
            return None
        return value

    def number(self, event: dict[str, object], time_ms: int, textual: bool) -> float:  # noqa: FBT001 - compiled
        """Return the number, NaN where there is none; what it had to be read from is counted."""
        value = self.find(event, time_ms)
        number = as_number(value)
        if not abs(number) <= MAX_NUMBER:
            number = math.nan
            self.count_absent(value, time_ms)
        elif not textual and isinstance(value, str):
            self.drift.count("repaired", self.field, time_ms, value)
        return number

    def category(self, event: dict[str, object], time_ms: int, known: dict[str, float]) -> str | None:
        """Return the category, None where there is none; one that is not known is counted."""
        value = self.find(event, time_ms)
        text = as_category(value)
        if text is None:
            self.count_absent(value, time_ms)
        elif known and text not in known:
            self.drift.count("unknown_category", self.field, time_ms, text)
        return text

    def count_absent(self, value: object, time_ms: int) -> None:
        """Count that a value is missing, or cannot be read."""
        self.drift.count("missing" if value is None else "unreadable", self.field, time_ms, value)


def ids_of(
    readers: list[FieldReader], required: list[bool], event: dict[str, object], time_ms: int
) -> tuple[str | None, ...]:
    """Return the id of each field; raise RejectError for a required one that is missing."""
    ids: list[str | None] = []
    for position, reader in enumerate(readers):
        value = reader.find(event, time_ms)
        text = as_id(value)
        if text is None:
            if required[position]:
                raise RejectError("a required value is missing or is no id", f"$.{reader.field}")
            reader.count_absent(value, time_ms)
        ids.append(text)
    return tuple(ids)


def numbers_of(
    readers: list[FieldReader],
    event: dict[str, object],
    time_ms: int,
    textual: bool,  # noqa: FBT001 - compiled
) -> tuple[float, ...]:
    """Return the number of each field, NaN where there is none."""
    return tuple([reader.number(event, time_ms, textual) for reader in readers])


def categories_of(
    readers: list[FieldReader], known: list[dict[str, float]], event: dict[str, object], time_ms: int
) -> tuple[str | None, ...]:
    """Return the category of each field, None where there is none."""
    return tuple([reader.category(event, time_ms, known[index]) for index, reader in enumerate(readers)])


def as_id(value: object) -> str | None:
    """Return the id as text; whole numbers have no fraction, so that 7, 7.0, '7' and '7.0' agree."""
    if isinstance(value, str):
        text = value.strip()
        if text and text[-1] == "0" and ".0" in text:
            text = canonical_id(text)
    elif isinstance(value, bool):
        return None
    elif isinstance(value, int):
        text = str(value)
    elif isinstance(value, float) and value.is_integer():
        text = str(int(value))
    else:
        return None
    return text if 0 < len(text) <= MAX_ID_LENGTH else None


def as_category(value: object) -> str | None:
    """Return the category as text; a number with a fraction is written in full."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and math.isfinite(value) and not value.is_integer():
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
