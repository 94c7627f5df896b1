"""Declared rules and lists: conditions on a payment and its features, compiled once, checked at start.

A rule whose inputs are missing does not fire, unless it tests for that with `missing(name)`.
The language of conditions is in `language`; what names mean is decided here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fraud_detection.core.decide import rule_terms as terms
from fraud_detection.core.decide.lists import Span, ValueList, compile_list, span
from fraud_detection.core.decide.rule_language import compile_condition
from fraud_detection.core.decide.rule_terms import Condition, Field, Number, Text
from fraud_detection.core.errors import ConfigError
from fraud_detection.core.events import DECLINE_CAP, Action, Transaction, Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fraud_detection.core.decision_settings import ListSettings, RuleSettings
    from fraud_detection.core.project_schema import Schema

RESERVED: Final = ("score", "no_score", DECLINE_CAP)
"""Codes of the policy's own verdicts, which no rule or list may take."""


class RuleSet:
    """Compiled rules and lists.

    >>> from fraud_detection.core.decision_settings import RuleSettings
    >>> from fraud_detection.core.project_schema import Schema, TimeSource
    >>> rule = RuleSettings(name="burst", when="card_count_1h >= 10", action="review", message="a burst")
    >>> rules = compile_rules([rule], Schema(event_time=TimeSource(field="t")), ["card_count_1h"])
    >>> rules.fired(Transaction("t1", 0, 999), [12.0])
    [Verdict(action=<Action.REVIEW: 1>, code='burst', message='a burst')]
    >>> rules.fired(Transaction("t1", 0, 999), [float("nan")])
    []
    """

    def __init__(
        self, rules: Sequence[tuple[Condition, Verdict, Span]], lists: Sequence[ValueList] = ()
    ) -> None:
        """Take conditions, each with the verdict to give when it holds, and lists; see `compile_rules`."""
        self._rules = tuple(rules)
        self._lists = tuple(lists)
        self._terminal = frozenset(value_list.name for value_list in lists if value_list.denies)

    def fired(self, payment: Transaction, values: Sequence[float]) -> list[Verdict]:
        """Return the verdict of every list and rule that holds, in the order of declaration.

        Where a list denies, no list approves.
        """
        time_ms = payment.event_time
        by_rules = [
            verdict
            for holds, verdict, (since, until) in self._rules
            if since <= time_ms < until and holds(payment, values)
        ]
        if not self._lists:
            return by_rules
        by_lists = [
            verdict for value_list in self._lists if (verdict := value_list.verdict(payment)) is not None
        ]
        if any(verdict.action is Action.DECLINE for verdict in by_lists):
            by_lists = [verdict for verdict in by_lists if verdict.action is not Action.APPROVE]
        return by_lists + by_rules

    def conditions(self, payment: Transaction, values: Sequence[float]) -> list[bool | None]:
        """Return the value of each rule's condition, in order, also of rules that are not in force.

        None where that is not known, because a value is missing.
        """
        return [holds(payment, values) for holds, _, _ in self._rules]

    def is_terminal(self, reasons: Sequence[Verdict]) -> bool:
        """Return whether a list that denies is among the reasons of a decision."""
        return bool(self._terminal) and any(reason.code in self._terminal for reason in reasons)


def compile_rules(
    rules: Sequence[RuleSettings],
    schema: Schema,
    feature_names: Sequence[str],
    lists: Sequence[ListSettings] = (),
) -> RuleSet:
    """Compile all rules and lists; raise ConfigError with the path of the first that is wrong.

    feature_names are those of the bundle, in the order of the values given to `fired`.

    >>> from fraud_detection.core.decision_settings import RuleSettings
    >>> from fraud_detection.core.project_schema import Schema, TimeSource
    >>> typo = RuleSettings(name="burst", when="card_cuont_1h >= 10", action="review")
    >>> compile_rules([typo], Schema(event_time=TimeSource(field="t")), ["card_count_1h", "amount"])
    Traceback (most recent call last):
    ...
    fraud_detection.core.errors.ConfigError: `card_cuont_1h >= 10`: no payment field or feature is called \
`card_cuont_1h`; nearest: `card_count_1h`, `amount`, `transaction_id` - at `$.rules[0].when`
    """
    fields = _fields(schema, feature_names)
    names = [(rule.name, f"$.rules[{index}]") for index, rule in enumerate(rules)]
    _check_not_reserved(
        [*names, *((settings.name, f"$.lists[{index}]") for index, settings in enumerate(lists))]
    )
    texts = {name: field.read for name, field in fields.items() if isinstance(field, Text)}
    return RuleSet(
        [
            (compile_condition(rule.when, fields, f"$.rules[{index}].when"), _verdict(rule), span(rule))
            for index, rule in enumerate(rules)
        ],
        [compile_list(settings, texts, f"$.lists[{index}]") for index, settings in enumerate(lists)],
    )


def _verdict(rule: RuleSettings) -> Verdict:
    return Verdict(Action[rule.action.upper()], rule.name, rule.message or " ".join(rule.when.split()))


def _check_not_reserved(names: Sequence[tuple[str, str]]) -> None:
    used = dict.fromkeys(RESERVED, "a reason of the policy")
    for name, json_path in names:
        if name in used:
            message = f"the name `{name}` is taken by {used[name]}; choose another - at `{json_path}.name`"
            raise ConfigError(message)
        used[name] = "another list" if json_path.startswith("$.lists") else "another rule"


def _fields(schema: Schema, feature_names: Sequence[str]) -> dict[str, Field]:
    fields: dict[str, Field] = {"transaction_id": Text(lambda payment, _values: payment.transaction_id)}
    if schema.amount is not None:
        fields["amount"] = Number(terms.amount(10**schema.amount.decimals))
    # A later entry wins.  A feature is the number its model sees; an id or a category is compared as text.
    fields |= {name: Number(terms.number(position)) for position, name in enumerate(schema.numbers)}
    fields |= {name: Number(terms.feature(position)) for position, name in enumerate(feature_names)}
    fields |= {name: Text(terms.entity(position)) for position, name in enumerate(schema.entities)}
    fields |= {name: Text(terms.category(position)) for position, name in enumerate(schema.categories)}
    return fields
