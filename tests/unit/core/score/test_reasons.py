"""How the model's reasons are chosen, and how they are said."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraud_detection.core.errors import ConfigError
from fraud_detection.core.events import Action, FeatureDefinition, Verdict
from fraud_detection.core.score.reasons import UNITS, Reasons

NAN = math.nan
COUNT = FeatureDefinition(
    "card_count_1h", "{value} payments on this card in the last hour, usually {typical}", "count"
)
REASONS = Reasons([FeatureDefinition(f"f{position}", "{value}", "count") for position in range(6)], [0.0] * 6)

rows = st.lists(st.floats() | st.sampled_from([0.0, 1.0]), min_size=6, max_size=6)
units = st.sampled_from([*UNITS, "code"])


def message_of(
    value: float, unit: str = "count", template: str = "{value}", typical_value: float = NAN
) -> str:
    reasons = Reasons([FeatureDefinition("f", template, unit)], [typical_value])
    (reason,) = reasons.top([value], [1.0], 1, Action.REVIEW)
    return reason.message


@given(rows, st.integers(0, 8))
def test_the_reasons_are_the_largest_contributions_to_fraud(contributions: list[float], n: int) -> None:
    chosen = [int(reason.code[1:]) for reason in REASONS.top([1.0] * 6, contributions, n, Action.REVIEW)]
    against = sorted((each for each in contributions if each > 0), reverse=True)
    assert [contributions[position] for position in chosen] == against[:n]
    assert len(set(chosen)) == len(chosen)


@given(st.sampled_from([Action.REVIEW, Action.DECLINE]))
def test_a_reason_has_the_feature_s_name_its_message_and_the_decision_s_action(action: Action) -> None:
    expected = Verdict(action, "card_count_1h", "12 payments on this card in the last hour, usually 1")
    assert Reasons([COUNT], [1.0]).top([12.0], [0.7], 3, action) == [expected]


@given(
    units,
    st.floats(),
    st.floats(),
    st.sampled_from(["{value} so, usually {typical}", "so {value}", "so"]),
)
def test_any_value_can_be_said(unit: str, value: float, typical_value: float, template: str) -> None:
    sentence = message_of(value, unit, template, typical_value)
    assert "so" in sentence
    assert "{" not in sentence
    assert "nan" not in sentence
    assert math.isnan(value) == ("so: not known" in sentence)


@pytest.mark.parametrize(
    ("unit", "value", "expected"),
    [
        ("count", 12.0, "12"),
        ("count", 12345.0, "12,345"),
        ("money", 1234.5, "1,234.50"),
        ("money", -0.001, "0.00"),
        ("share", 0.12, "12 %"),
        ("share", 0.0312, "3.1 %"),
        ("share", 0.0996, "10 %"),
        ("share", 1.0, "100 %"),
        ("seconds", 1.0, "1 second"),
        ("seconds", 42.0, "42 seconds"),
        ("seconds", 119.0, "119 seconds"),
        ("seconds", 120.0, "2 minutes"),
        ("seconds", 180.0, "3 minutes"),
        ("seconds", 7200.0, "2 hours"),
        ("seconds", 172_800.0, "2 days"),
        ("seconds", 432_000.0, "5 days"),
        ("number", 2.71828, "2.718"),
        ("number", 40.0, "40"),
        ("number", 1000.0, "1,000"),
        ("number", -12_345.6, "-12,346"),
        ("flag", 1.0, "yes"),
        ("flag", 0.0, "no"),
        ("flag", 0.5, "yes"),
        ("code", -1.0, "a rare or new value"),
        ("code", 3.0, "code 3"),
    ],
)
def test_a_value_is_said_in_its_unit(unit: str, value: float, expected: str) -> None:
    assert message_of(value, unit) == expected


def test_typical_values_are_given_in_the_same_unit() -> None:
    template = "{value} spent on this card, usually {typical}"
    assert (
        message_of(1234.5, "money", template, typical_value=40.0)
        == "1,234.50 spent on this card, usually 40.00"
    )


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{value} payments on this card, usually {typical}", "3 payments on this card"),
        ("{value} payments, usually {typical}, on this card", "3 payments, on this card"),
        ("{value} payments instead of {typical}", "3 payments instead of not known"),
    ],
)
def test_an_unknown_typical_value_is_left_out(template: str, expected: str) -> None:
    assert message_of(3.0, "count", template, typical_value=NAN) == expected


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        (
            "{value} since the last payment on this card, usually {typical}",
            "since the last payment on this card: not known, usually 2",
        ),
        ("amount {value}, usually {typical}", "amount: not known, usually 2"),
        (
            "amount {value} times the mean of this card, usually {typical}",
            "amount … times the mean of this card: not known, usually 2",
        ),
        ("first payment of this card here: {value}", "first payment of this card here: not known"),
        ("unusual channel", "unusual channel: not known"),
    ],
)
def test_a_missing_value_is_said_to_be_not_known(template: str, expected: str) -> None:
    assert message_of(NAN, "number", template, typical_value=2.0) == expected


def test_a_code_is_said_as_the_category_it_stands_for() -> None:
    definition = FeatureDefinition("channel_code", "channel {value}, usually {typical}", "code")
    reasons = Reasons([definition], [0.0], {"channel_code": ["chip", "web"]})
    assert [reasons.top([code], [1.0], 1, Action.REVIEW)[0].message for code in (0.0, 1.0, -1.0, 7.0)] == [
        "channel chip",
        "channel web",
        "channel a rare or new value",
        "channel code 7",
    ]


def test_contributions_of_another_width_are_a_bug_and_no_reasons() -> None:
    with pytest.raises(ValueError, match="zip"):
        REASONS.top([1.0] * 6, [1.0] * 7, 3, Action.REVIEW)


def test_typical_values_of_another_width_are_refused() -> None:
    with pytest.raises(ConfigError, match="1 features, 2 typical values"):
        Reasons([COUNT], [1.0, 2.0])


def test_an_unknown_unit_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigError) as refused:
        message_of(1.0, "furlongs")
    assert str(refused.value) == (
        "feature `f` has the unknown unit `furlongs`; "
        "units are: count, money, share, seconds, number, flag, code"
    )
