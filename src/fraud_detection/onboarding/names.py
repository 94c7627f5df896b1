"""Make names for the project file of the names of columns."""

from __future__ import annotations

from collections.abc import Iterable

from fraud_detection.onboarding.column_keywords import identifier

RESERVED = frozenset({"amount", "hour", "weekday", "is_night"})
"""Features that every project has already."""
_OF_A_CATEGORY = ("", "_code", "_frequency")


class Namer:
    """Makes lawful names, each different from all before, so that no two features share one.

    >>> name = Namer(["card"])
    >>> name.number("Card"), name.number("DayOfWeek"), name.number("day_of_week"), name.number("hour")
    ('card_2', 'day_of_week', 'day_of_week_2', 'hour_2')

    A category makes two features, and keeps their names too:

    >>> name.category("merchant_category"), name.number("merchant_category_code")
    ('merchant_category', 'merchant_category_code_2')
    """

    def __init__(self, reserved: Iterable[str]) -> None:
        """Start with names that are taken already."""
        self._taken = {*reserved, *RESERVED}

    def number(self, column: str) -> str:
        """Return the name for a numeric column."""
        return self._make(column, ("",))

    def category(self, column: str) -> str:
        """Return the name for a categorical column."""
        return self._make(column, _OF_A_CATEGORY)

    def _make(self, column: str, endings: tuple[str, ...]) -> str:
        wanted = name = identifier(column)
        number = 2
        while any(name + ending in self._taken for ending in endings):
            name = f"{wanted}_{number}"
            number += 1
        self._taken |= {name + ending for ending in endings}
        return name
