"""What a compiled condition is made of: closures over a payment and its feature values.

A condition has three values: True, False, and None for "not known", which is the answer
of every comparison with a missing value.  `not`, `and` and `or` treat None as SQL does:
without that, `not amount > 500` would hold for a payment without an amount.

Each closure is made once and called for every payment; none of them can fail.
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final, TypeVar

from fraud_detection.core.events import Transaction

T = TypeVar("T")

ReadNumber = Callable[[Transaction, Sequence[float]], float]
"""Reads a number off a payment and its features; NaN where it is missing."""

ReadText = Callable[[Transaction, Sequence[float]], str | None]
"""Reads a text off a payment; None where it is missing."""

Condition = Callable[[Transaction, Sequence[float]], bool | None]
"""Returns whether something holds; None where that is not known."""


@dataclass(frozen=True, slots=True)
class Number:
    """An expression whose value is a number."""

    read: ReadNumber
    kind: ClassVar[str] = "a number"


@dataclass(frozen=True, slots=True)
class Text:
    """An expression whose value is a text."""

    read: ReadText
    kind: ClassVar[str] = "text"


@dataclass(frozen=True, slots=True)
class GroundTruth:
    """An expression that holds or does not."""

    read: Condition
    kind: ClassVar[str] = "a condition"


Field = Number | Text
Term = Number | Text | GroundTruth


def always(value: T) -> Callable[[Transaction, Sequence[float]], T]:
    """Return the same value for every payment."""
    return lambda _payment, _values: value


def amount(minor_units: int) -> ReadNumber:
    """Read the amount in whole units."""

    def read(payment: Transaction, _values: Sequence[float]) -> float:
        return math.nan if payment.amount is None else payment.amount / minor_units

    return read


def number(position: int) -> ReadNumber:
    """Read a declared number."""
    return lambda payment, _values: payment.numbers[position]


def feature(position: int) -> ReadNumber:
    """Read a feature."""
    return lambda _payment, values: values[position]


def entity(position: int) -> ReadText:
    """Read the id of an entity."""
    return lambda payment, _values: payment.entities[position]


def category(position: int) -> ReadText:
    """Read a category."""
    return lambda payment, _values: payment.categories[position]


def missing(field: Field) -> Condition:
    """Return whether a payment lacks the field; this is always known."""
    read = field.read

    def holds(payment: Transaction, values: Sequence[float]) -> bool:
        value = read(payment, values)
        return value is None or value != value  # noqa: PLR0124 - only NaN differs from itself

    return holds


def negation(part: Condition) -> Condition:
    """Negate a condition; unknown stays unknown."""

    def holds(payment: Transaction, values: Sequence[float]) -> bool | None:
        value = part(payment, values)
        return None if value is None else not value

    return holds


def junction(parts: Sequence[Condition], *, decisive: bool) -> Condition:
    """Join by `and` (one False decides) or by `or` (one True decides).

    >>> one, none, unknown = always(True), always(False), always(None)
    >>> payment = Transaction("t1", 0, None)
    >>> junction([unknown, none], decisive=False)(payment, [])
    False
    >>> junction([unknown, one], decisive=False)(payment, []) is None
    True
    """

    def holds(payment: Transaction, values: Sequence[float]) -> bool | None:
        result: bool | None = not decisive
        for part in parts:
            value = part(payment, values)
            if value is None:
                result = None
            elif value == decisive:
                return decisive
        return result

    return holds


def comparison(left: ReadNumber, compare: Callable[[float, float], bool], right: ReadNumber) -> Condition:
    """Compare two numbers."""

    def holds(payment: Transaction, values: Sequence[float]) -> bool | None:
        a, b = left(payment, values), right(payment, values)
        return compare(a, b) if a == a and b == b else None  # noqa: PLR0124 - only NaN differs from itself

    return holds


def sameness(left: ReadText, right: ReadText, *, wanted: bool) -> Condition:
    """Return whether two texts are the same, or, with wanted=False, whether they differ."""

    def holds(payment: Transaction, values: Sequence[float]) -> bool | None:
        a, b = left(payment, values), right(payment, values)
        return None if a is None or b is None else (a == b) is wanted

    return holds


def membership(field: Field, members: frozenset[float | str], *, wanted: bool) -> Condition:
    """Return whether a value is one of the members, or, with wanted=False, none of them."""
    read = field.read

    def holds(payment: Transaction, values: Sequence[float]) -> bool | None:
        value = read(payment, values)
        if value is None or value != value:  # noqa: PLR0124 - only NaN differs from itself
            return None
        return (value in members) is wanted

    return holds


def applied(operation: Callable[..., float], *parts: ReadNumber) -> ReadNumber:
    """Calculate with numbers."""
    return lambda payment, values: operation(*[part(payment, values) for part in parts])


def quotient(a: float, b: float) -> float:
    """Divide; nothing is known of a division by zero.

    >>> quotient(1.0, 4.0), quotient(1.0, 0.0)
    (0.25, nan)
    """
    return a / b if b else math.nan


def smallest(*numbers: float) -> float:
    """Return the smallest number, NaN if any is missing (`min` would depend on the order)."""
    return math.nan if any(map(math.isnan, numbers)) else min(numbers)


def greatest(*numbers: float) -> float:
    """Return the largest number, NaN if any is missing."""
    return math.nan if any(map(math.isnan, numbers)) else max(numbers)


COMPARISONS: Final[Mapping[type[ast.cmpop], Callable[[float, float], bool]]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}

ARITHMETIC: Final[Mapping[type[ast.operator], Callable[[float, float], float]]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: quotient,
}
