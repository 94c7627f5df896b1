"""docs/rules.md is true: its rules compile, its messages are the real ones, its tables hold."""

import math
import re

import pytest
import yaml

from fraud_detection.core.decide.rule_functions import FUNCTIONS
from fraud_detection.core.decide.rules import RuleSet, compile_rules
from fraud_detection.core.decision_settings import RuleSettings
from fraud_detection.core.decoding import decode
from fraud_detection.core.errors import ConfigError
from fraud_detection.core.events import Transaction
from fraud_detection.core.project_schema import (
    AmountSource,
    EntitySource,
    FieldSource,
    Project,
    Schema,
    TimeSource,
)
from tests.root import ROOT

PAGE = (ROOT / "docs/rules.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```yaml\n(.*?)```(?:\n\n```text\n(.*?)```)?", PAGE, flags=re.DOTALL)
SCHEMA = Schema(
    event_time=TimeSource(field="time"),
    amount=AmountSource(field="amount"),
    entities={name: EntitySource(field=name) for name in ("card", "device", "merchant")},
    categories={name: FieldSource(field=name) for name in ("country", "mcc", "channel")},
    numbers={"account_age_days": FieldSource(field="age")},
)
FEATURES = [
    "amount",
    "hour",
    "is_night",
    "account_age_days",
    "card_count_1h",
    "card_amount_mean_7d",
    "card_amount_zscore_7d",
    "card_seconds_since_last",
    "card_merchant_distinct_7d",
]
# The payment of the page's table: no device, an amount of 900; the first payment of its card.
PAYMENT = Transaction("t1", 0, 90_000, ("c1", None, "m1"), (math.nan,), ("DE", "5947", "chip"))
VALUES = [900.0, 3.0, 1.0, math.nan, 0.0, *[math.nan] * 4]


def compiled(block: str) -> RuleSet:
    content = yaml.safe_load(block)
    if isinstance(content, dict):
        project = decode(
            {"project": "page", "schema": {"event_time": {"field": "t"}}} | content, Project, "page"
        )
        return compile_rules(project.rules, SCHEMA, FEATURES, project.lists)
    return compile_rules(decode(content, tuple[RuleSettings, ...], "rules"), SCHEMA, FEATURES)


def fires(condition: str) -> bool:
    rules = compile_rules([RuleSettings(name="r", when=condition, action="review")], SCHEMA, FEATURES)
    return bool(rules.fired(PAYMENT, VALUES))


@pytest.mark.parametrize("block", [block for block, message in BLOCKS if not message])
def test_every_rule_on_the_page_is_accepted(block: str) -> None:
    compiled(block)


@pytest.mark.parametrize(("block", "message"), [(block, message) for block, message in BLOCKS if message])
def test_every_message_on_the_page_is_the_real_one(block: str, message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        compiled(block)
    assert str(refused.value) == " ".join(message.split())


@pytest.mark.parametrize(
    ("condition", "outcome"), re.findall(r"^\| `(.+?)` \| (fires|does not fire)", PAGE, re.MULTILINE)
)
def test_the_table_of_missing_values_is_true(condition: str, outcome: str) -> None:
    assert fires(condition) is (outcome == "fires")


@pytest.mark.parametrize("row", re.findall(r"^\| [^|`]+(?:`.+)?\| (`.+`) \|$", PAGE, re.MULTILINE))
def test_every_example_in_the_table_of_the_language_is_accepted(row: str) -> None:
    for condition in re.findall(r"`(.+?)`", row):
        fires(condition)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_table_of_the_language_has_every_function(name: str) -> None:
    assert re.search(rf"^\| [^|]+ \| `.*\b{name}\(", PAGE, re.MULTILINE)


def test_the_page_has_its_examples() -> None:
    assert len(BLOCKS) > 10
    assert not fires("amount / card_count_1h > 100")
