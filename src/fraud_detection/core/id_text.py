"""One canonical text of an id, also where a spreadsheet or a data frame made a float of it."""

from __future__ import annotations


def canonical_id(text: str) -> str:
    """Return the text of an id without a fraction of zeros; the digits are never reckoned with.

    >>> canonical_id("12.0"), canonical_id("-7.00"), canonical_id("12345678901234567890.0")
    ('12', '-7', '12345678901234567890')
    >>> [canonical_id(text) for text in ("12", "007", "12.50", "1e5", "10.0.0.0", ".0")]
    ['12', '007', '12.50', '1e5', '10.0.0.0', '.0']
    """
    number, point, fraction = text.partition(".")
    digits = number.removeprefix("-")
    if not point or not fraction or fraction.strip("0") or not (digits.isascii() and digits.isdigit()):
        return text
    return number if digits.strip("0") else digits
