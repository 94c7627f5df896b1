"""Declared rules: conditions on a payment and its features, compiled once, checked at start.

A rule whose inputs are missing does not fire, unless it asks for that with `missing(name)`.
The language of conditions is in `language`; what names mean is decided here.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from fraud_detection.decide.language import compile_condition
from fraud_detection.decide.terms import Condition, Field, Number, ReadNumber, ReadText, Text
from fraud_detection.errors import ConfigError
from fraud_detection.events import Action, Transaction, Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fraud_detection.config import RuleSettings, Schema

RESERVED: Final = ("score", "no_score")
"""Codes of the policy's own verdicts, which no rule may take."""


class RuleSet:
    """Rules ready to be asked about payments.

    >>> from fraud_detection.config import RuleSettings, Schema, TimeSource
    >>> rule = RuleSettings(name="burst", when="card_count_1h >= 10", action="review", words="a burst")
    >>> rules = compile_rules([rule], Schema(event_time=TimeSource(field="t")), ["card_count_1h"])
    >>> rules.fired(Transaction("t1", 0, 999), [12.0])
    [Verdict(action=<Action.REVIEW: 1>, code='burst', words='a burst')]
    >>> rules.fired(Transaction("t1", 0, 999), [math.nan])
    []
    """

    def __init__(self, rules: Sequence[tuple[Condition, Verdict]]) -> None:
        """Take conditions, each with the verdict to give when it holds; see `compile_rules`."""
        self._rules = tuple(rules)

    def fired(self, payment: Transaction, values: Sequence[float]) -> list[Verdict]:
        """Return the verdict of every rule that holds, in the order of declaration."""
        return [verdict for holds, verdict in self._rules if holds(payment, values)]


def compile_rules(rules: Sequence[RuleSettings], schema: Schema, feature_names: Sequence[str]) -> RuleSet:
    """Compile all rules; raise ConfigError with the path of the first that is wrong.

    feature_names are those of the bundle, in the order of the values given to `fired`.

    >>> from fraud_detection.config import RuleSettings, Schema, TimeSource
    >>> typo = RuleSettings(name="burst", when="card_cuont_1h >= 10", action="review")
    >>> compile_rules([typo], Schema(event_time=TimeSource(field="t")), ["card_count_1h", "amount"])
    Traceback (most recent call last):
    ...
    fraud_detection.errors.ConfigError: `card_cuont_1h >= 10`: no payment field or feature is called \
`card_cuont_1h`; nearest: `card_count_1h`, `amount`, `transaction_id` - at `$.rules[0].when`
    """
    fields = _fields(schema, feature_names)
    _refuse_taken([rule.name for rule in rules])
    return RuleSet(
        [
            (compile_condition(rule.when, fields, f"$.rules[{position}].when"), _verdict(rule))
            for position, rule in enumerate(rules)
        ]
    )


def _verdict(rule: RuleSettings) -> Verdict:
    return Verdict(Action[rule.action.upper()], rule.name, rule.words or " ".join(rule.when.split()))


def _refuse_taken(names: Sequence[str]) -> None:
    for position, name in enumerate(names):
        if name in names[:position] or name in RESERVED:
            owner = "another rule" if name in names[:position] else "a reason of the policy"
            message = f"the name `{name}` is taken by {owner}; choose another - at `$.rules[{position}].name`"
            raise ConfigError(message)


def _fields(schema: Schema, feature_names: Sequence[str]) -> dict[str, Field]:
    fields: dict[str, Field] = {"transaction_id": Text(lambda payment, _values: payment.transaction_id)}
    if schema.amount is not None:
        fields["amount"] = Number(_amount(10**schema.amount.decimals))
    # A later entry wins.  A feature is the number its model sees; an id or a category is better said as text.
    fields |= {name: Number(_number(position)) for position, name in enumerate(schema.numbers)}
    fields |= {name: Number(_feature(position)) for position, name in enumerate(feature_names)}
    fields |= {name: Text(_entity(position)) for position, name in enumerate(schema.entities)}
    fields |= {name: Text(_category(position)) for position, name in enumerate(schema.categories)}
    return fields


def _amount(minor_units: int) -> ReadNumber:
    def read(payment: Transaction, _values: Sequence[float]) -> float:
        return math.nan if payment.amount is None else payment.amount / minor_units

    return read


def _number(position: int) -> ReadNumber:
    return lambda payment, _values: payment.numbers[position]


def _feature(position: int) -> ReadNumber:
    return lambda _payment, values: values[position]


def _entity(position: int) -> ReadText:
    return lambda payment, _values: payment.entities[position]


def _category(position: int) -> ReadText:
    return lambda payment, _values: payment.categories[position]
