"""The functions of the rule language, one entry each: what it takes, and what it makes of it.

Parsing, the refusal that quotes the whole language, and the test of docs/rules.md read this table, so a new
function is one entry here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, Literal, NamedTuple

from fraud_detection.core.decide import rule_terms
from fraud_detection.core.decide.rule_terms import GroundTruth, Number, Term

Kind = Literal["name", "number", "..."]
"""A payment field or feature, or an expression that is a number; `...` at the end: more of the last kind."""


class Function(NamedTuple):
    """One function: the kinds of its arguments, and what makes a term of them.

    make: takes a `Field` for a name, else what reads the argument off a payment.
    """

    parameters: tuple[Kind, ...]
    make: Callable[..., Term]

    def kinds(self, count: int) -> tuple[Kind, ...] | None:
        """Return the kind of each of `count` arguments; None where it does not take so many.

        >>> FUNCTIONS["min"].kinds(3), FUNCTIONS["abs"].kinds(2)
        (('number', 'number', 'number'), None)
        """
        kinds = self.parameters
        if kinds[-1] == "...":
            fixed = kinds[:-1]
            kinds = (*fixed, *[fixed[-1]] * (count - len(fixed)))
        return kinds if len(kinds) == count else None


FUNCTIONS: Final[Mapping[str, Function]] = {
    "missing": Function(("name",), lambda field: GroundTruth(rule_terms.missing(field))),
    "abs": Function(("number",), lambda part: Number(rule_terms.applied(abs, part))),
    "min": Function(
        ("number", "number", "..."), lambda *parts: Number(rule_terms.applied(rule_terms.smallest, *parts))
    ),
    "max": Function(
        ("number", "number", "..."), lambda *parts: Number(rule_terms.applied(rule_terms.greatest, *parts))
    ),
}

SIGNATURES: Final = ", ".join(
    f"{name}({', '.join(function.parameters)})" for name, function in FUNCTIONS.items()
)
