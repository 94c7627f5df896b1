"""What names in rules mean, and which rules fire."""

import math
from collections.abc import Sequence
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraud_detection.core.decide.rules import compile_rules
from fraud_detection.core.decision_settings import RuleSettings
from fraud_detection.core.errors import ConfigError
from fraud_detection.core.events import Action, Transaction, Verdict
from fraud_detection.core.project_schema import AmountSource, EntitySource, FieldSource, Schema, TimeSource

TIME = TimeSource(field="time")
SCHEMA = Schema(
    event_time=TIME,
    amount=AmountSource(field="amount", decimals=2),
    entities={"card": EntitySource(field="card"), "device": EntitySource(field="device")},
    numbers={"age": FieldSource(field="age"), "score_before": FieldSource(field="score")},
    categories={"country": FieldSource(field="country"), "channel": FieldSource(field="channel")},
)
Severity = Literal["review", "decline"]
ACTIONS: tuple[Severity, ...] = ("review", "decline")
PAYMENT = Transaction("t1", 0, 1250, ("c1", None), (41.0, math.nan), ("DE", "web"))


def fired(
    when: str,
    payment: Transaction = PAYMENT,
    values: Sequence[float] = (),
    names: Sequence[str] = (),
    schema: Schema = SCHEMA,
) -> bool:
    rules = compile_rules([RuleSettings(name="r", when=when, action="review")], schema, names)
    return bool(rules.fired(payment, values))


@pytest.mark.parametrize(
    ("holds", "fails"),
    [
        ("amount == 12.5", "amount != 12.5"),
        ("transaction_id == 't1'", "transaction_id != 't1'"),
        ("card == 'c1'", "card == 'c2'"),
        ("missing(device)", "missing(card)"),
        ("age == 41", "age < 41"),
        ("missing(score_before)", "missing(age)"),
        ("country == 'DE'", "country == 'web'"),
        ("channel == 'web'", "channel == 'DE'"),
        ("card_count == 3", "card_count == 7"),
        ("is_night == 7", "is_night == 3"),
    ],
)
def test_a_name_is_the_value_that_the_schema_or_the_bundle_defines(holds: str, fails: str) -> None:
    assert fired(holds, values=[3.0, 7.0], names=["card_count", "is_night"])
    assert not fired(fails, values=[3.0, 7.0], names=["card_count", "is_night"])


@given(st.integers(0, 10**12), st.integers(0, 6))
def test_an_amount_is_exactly_what_one_writes(minor: int, decimals: int) -> None:
    schema = Schema(event_time=TIME, amount=AmountSource(field="a", decimals=decimals))
    written = f"{minor // 10**decimals}.{minor % 10**decimals:0{decimals}}" if decimals else str(minor)
    assert fired(f"amount == {written}", Transaction("t", 0, minor), schema=schema)


def test_an_amount_may_be_missing() -> None:
    assert fired("missing(amount)", Transaction("t", 0, None))


def test_a_number_is_the_feature_of_that_name() -> None:
    assert fired("age == 8 and amount == 9", values=[8.0, 9.0], names=["age", "amount"])


def test_a_category_stays_a_text_whatever_features_are_called() -> None:
    assert fired("country == 'DE' and card == 'c1'", values=[8.0, 9.0], names=["country", "card"])


def test_what_the_schema_does_not_declare_has_no_name() -> None:
    with pytest.raises(ConfigError, match="no payment field or feature is called `amount`"):
        fired("amount > 5", schema=Schema(event_time=TIME))


@given(st.lists(st.tuples(st.booleans(), st.sampled_from(ACTIONS)), max_size=6))
def test_exactly_the_rules_that_hold_fire_in_their_order(rules: list[tuple[bool, Severity]]) -> None:
    settings = [
        RuleSettings(name=f"r{position}", when=f"age {'>' if holds else '<'} 5", action=action)
        for position, (holds, action) in enumerate(rules)
    ]
    expected = [
        Verdict(Action[rule.action.upper()], rule.name, rule.when) for rule in settings if ">" in rule.when
    ]
    assert compile_rules(settings, SCHEMA, []).fired(PAYMENT, []) == expected


def test_a_rule_shows_its_message_or_else_its_condition() -> None:
    rules = [
        RuleSettings(name="a", when="age > 5", action="decline", message="too old"),
        RuleSettings(name="b", when="age > 5\n  and amount > 1\n", action="review"),
    ]
    assert compile_rules(rules, SCHEMA, []).fired(PAYMENT, []) == [
        Verdict(Action.DECLINE, "a", "too old"),
        Verdict(Action.REVIEW, "b", "age > 5 and amount > 1"),
    ]


def test_a_wrong_rule_is_named_by_its_path() -> None:
    good = RuleSettings(name="good", when="age > 5", action="review")
    wrong = RuleSettings(name="wrong", when="card_cuont > 5", action="review")
    with pytest.raises(ConfigError) as refused:
        compile_rules([good, wrong], SCHEMA, ["card_count"])
    problem = "no payment field or feature is called `card_cuont`; nearest: `card_count`, "
    assert str(refused.value).startswith(f"`card_cuont > 5`: {problem}")
    assert str(refused.value).endswith(" - at `$.rules[1].when`")


@pytest.mark.parametrize(
    ("name", "owner"),
    [("good", "another rule"), ("score", "a reason of the policy"), ("no_score", "a reason of the policy")],
)
def test_a_reason_code_means_one_thing(name: str, owner: str) -> None:
    rules = [RuleSettings(name=rule_name, when="age > 5", action="review") for rule_name in ("good", name)]
    with pytest.raises(ConfigError) as refused:
        compile_rules(rules, SCHEMA, [])
    assert str(refused.value) == (
        f"the name `{name}` is taken by {owner}; choose another - at `$.rules[1].name`"
    )


def test_too_few_values_are_a_bug_and_no_missing_values() -> None:
    with pytest.raises(IndexError):
        fired("is_night == 1", values=[1.0], names=["card_count", "is_night"])
