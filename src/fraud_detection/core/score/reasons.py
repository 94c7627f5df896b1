"""Write the model's reasons as text: "12 payments on this card in the last hour, usually 1".

Contributions are handed in (exact SHAP values in log-odds); this module ranks and words
them.  It computes none, and takes no part in the decision.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from fraud_detection.core.errors import ConfigError
from fraud_detection.core.events import Action, FeatureDefinition, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

NOT_KNOWN: Final = "not known"
SPANS: Final = ((86_400, "days"), (3_600, "hours"), (60, "minutes"))
SMALL_SHARE: Final = 9.95
"""Percentages that do not round to 10 or more have one decimal."""
LARGE_NUMBER: Final = 1000
YES_FROM: Final = 0.5
_VALUE_TITLES: Final = {"seconds": "time", "money": "money"}
"""What stands for a value that begins a sentence, where the sentence does not name it."""


class Reasons:
    """The features' definitions and their typical values, ready to word the reasons for a payment.

    >>> template = "{value} payments on this card, usually {typical}"
    >>> count = FeatureDefinition("card_count_1h", template, "count")
    >>> amount = FeatureDefinition("amount", "amount {value}, usually {typical}", "money")
    >>> reasons = Reasons([count, amount], typical_value=[1.0, 43.5])
    >>> [reason.message for reason in reasons.top([12.0, 1999.9], [0.4, 2.1], 2, Action.REVIEW)]
    ['amount 1,999.90, usually 43.50', '12 payments on this card, usually 1']

    A feature that lowers the score is no reason to stop the payment:

    >>> [reason.code for reason in reasons.top([12.0, 1999.9], [0.4, -2.1], 2, Action.DECLINE)]
    ['card_count_1h']
    """

    def __init__(
        self,
        definitions: Sequence[FeatureDefinition],
        typical_value: Sequence[float],
        categories: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        """Take the features in order, and each one's median on legitimate payments, NaN if unknown.

        categories: for features of the unit 'code', the values that the codes 0, 1, 2 ... stand for.
        """
        if len(typical_value) != len(definitions):
            message = f"{len(definitions)} features, {len(typical_value)} typical values: not one bundle"
            raise ConfigError(message)
        known = categories or {}
        self._messages = [
            _FeatureMessage(definition, value, known.get(definition.name, ()))
            for definition, value in zip(definitions, typical_value, strict=True)
        ]

    def top(
        self, values: Sequence[float], contributions: Iterable[float], n: int, action: Action
    ) -> list[Verdict]:
        """Return the n features that raise the score most, the strongest first, as reasons for `action`."""
        rows = zip(contributions, self._messages, values, strict=True)
        against = sorted((row for row in rows if row[0] > 0), key=lambda row: -row[0])
        return [Verdict(action, feature.name, feature.message(value)) for _, feature, value in against[:n]]

    def sentences(self, values: Sequence[float]) -> list[str]:
        """Return the sentence of every feature for a payment, in their order.

        >>> age = FeatureDefinition("age", "{value} since the last payment, usually {typical}", "seconds")
        >>> Reasons([age], typical_value=[7200.0]).sentences([90.0])
        ['90 seconds since the last payment, usually 2 hours']
        """
        return [feature.message(value) for feature, value in zip(self._messages, values, strict=True)]


def title(definition: FeatureDefinition) -> str:
    """Say what a feature is about, without a value of it.

    >>> title(FeatureDefinition("age", "{value} since the last payment, usually {typical}", "seconds"))
    'time since the last payment'
    """
    template = definition.template.partition(", ")[0]
    if template.startswith("{value}"):
        template = f"{_VALUE_TITLES.get(definition.unit, '')}{template.removeprefix('{value}')}"
    return _subject(template)


class _FeatureMessage:
    """One feature in words; the sentences are prepared at start."""

    def __init__(
        self, definition: FeatureDefinition, typical_value: float, categories: Sequence[str]
    ) -> None:
        self.name = definition.name
        self.format = _formatter(definition, categories)
        # A median of codes says nothing: they are numbered by how frequent they are.
        known = not (math.isnan(typical_value) or definition.unit == "code")
        typical_text = self.format(typical_value) if known else None
        self.present = _with_typical_value(definition.template, typical_text)
        self.absent = _with_typical_value(_without_value(definition.template), typical_text)

    def message(self, value: float) -> str:
        return self.absent if math.isnan(value) else self.present.replace("{value}", self.format(value))


def _with_typical_value(template: str, typical_value: str | None) -> str:
    """Fill in {typical}; where it is unknown, leave out the clause that is about nothing else."""
    if typical_value is not None:
        return template.replace("{typical}", typical_value)
    clauses = [clause for clause in template.split(", ") if "{typical}" not in clause or "{value}" in clause]
    return ", ".join(clauses).replace("{typical}", NOT_KNOWN)


def _without_value(template: str) -> str:
    """Say that the value is missing, whatever the sentence.

    >>> _without_value("{value} since the last payment, usually {typical}")
    'since the last payment: not known, usually {typical}'
    >>> _without_value("amount {value} times the mean")
    'amount … times the mean: not known'
    """
    head, comma, tail = template.partition(", ")
    return f"{_subject(head)}: {NOT_KNOWN}{comma}{tail}".replace("{value}", NOT_KNOWN)


def _subject(template: str) -> str:
    return template.replace("{value}", "…").strip(" …:")


def _formatter(definition: FeatureDefinition, categories: Sequence[str]) -> Callable[[float], str]:
    if definition.unit == "code":
        return lambda code: _category(code, categories)
    if definition.unit not in UNITS:
        message = (
            f"feature `{definition.name}` has the unknown unit `{definition.unit}`; "
            f"units are: {', '.join(UNITS)}, code"
        )
        raise ConfigError(message)
    return UNITS[definition.unit]


# `z` turns the -0 of a small negative number into 0.


def _count(value: float) -> str:
    return f"{value:z,.0f}"


def _money(value: float) -> str:
    return f"{value:z,.2f}"


def _share(value: float) -> str:
    percent = 100 * value
    return f"{percent:z.1f} %" if abs(percent) < SMALL_SHARE else f"{percent:z,.0f} %"


def _seconds(value: float) -> str:
    """Use the largest unit of which there are two, so that little is lost by rounding.

    >>> [_seconds(value) for value in (0.2, 1, 90, 7100, 7200, 432000)]
    ['0 seconds', '1 second', '90 seconds', '118 minutes', '2 hours', '5 days']
    """
    for length, unit in SPANS:
        if abs(value) >= 2 * length:
            return f"{value / length:z,.0f} {unit}"
    count = f"{value:z.0f}"
    return f"{count} second" if count == "1" else f"{count} seconds"


def _number(value: float) -> str:
    return f"{value:z,.0f}" if abs(value) >= LARGE_NUMBER else f"{value:z.4g}"


def _flag(value: float) -> str:
    return "yes" if value >= YES_FROM else "no"


def _category(code: float, categories: Sequence[str]) -> str:
    if code < 0:
        return "a rare or new value"
    return categories[int(code)] if code < len(categories) else f"code {code:g}"


UNITS: Final[Mapping[str, Callable[[float], str]]] = {
    "count": _count,
    "money": _money,
    "share": _share,
    "seconds": _seconds,
    "number": _number,
    "flag": _flag,
}
"""How to print the numbers of a unit; 'code' needs its feature's categories and is apart."""
