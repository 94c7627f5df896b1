"""Lists of values, and rules that expire or are silent for a while."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraud_detection.core.decide.policy import Policy
from fraud_detection.core.decide.rules import RuleSet, compile_rules
from fraud_detection.core.decision_settings import ListEntry, ListSettings, RuleSettings
from fraud_detection.core.decoding import Moment
from fraud_detection.core.errors import ConfigError
from fraud_detection.core.events import Action, Transaction
from fraud_detection.core.project_schema import AmountSource, EntitySource, FieldSource, Schema, TimeSource

SCHEMA = Schema(
    event_time=TimeSource(field="time"),
    amount=AmountSource(field="amount"),
    entities={"card": EntitySource(field="card"), "device": EntitySource(field="device")},
    categories={"country": FieldSource(field="country")},
)
POLICY = Policy("p", review_at=0.5, decline_at=0.9)


def payment(time_ms: int = 100, card: str | None = "c1", country: str | None = "DE") -> Transaction:
    return Transaction("t1", time_ms, 999, (card, None), (), (country,))


def listed(kind: str, value: str = "c1", of: str = "card", **more: object) -> ListSettings:
    entry = ListEntry(value=value, reason="seen before")
    return ListSettings(name=f"{kind}_{of}s", kind=kind, of=of, entries=(entry,), **more)  # type: ignore[arg-type]


def verdict(rules: RuleSet, transaction: Transaction, score: float | None) -> tuple[Action, list[str]]:
    decision = POLICY.decide(transaction.transaction_id, score, rules.fired(transaction, ()))
    return decision.action, [reason.code for reason in decision.reasons]


@pytest.mark.parametrize(
    ("kind", "score", "expected"),
    [
        ("deny", 0.0, Action.DECLINE),
        ("watch", 0.0, Action.REVIEW),
        ("watch", 0.95, Action.DECLINE),
        ("allow", 0.95, Action.APPROVE),
        ("allow", None, Action.APPROVE),
    ],
)
def test_a_list_holds_for_its_values_and_for_no_other(
    kind: str, score: float | None, expected: Action
) -> None:
    rules = compile_rules((), SCHEMA, (), [listed(kind)])
    action, codes = verdict(rules, payment(), score)
    assert action is expected
    assert f"{kind}_cards" in codes
    without = POLICY.decide("t1", score).action
    for unlisted in (payment(card="c2"), payment(card=None)):
        assert verdict(rules, unlisted, score)[0] is without


def test_whoever_is_denied_is_not_allowed_by_another_list_or_milder_by_a_rule() -> None:
    allow, deny = listed("allow"), listed("deny", "DE", "country")
    for lists in itertools.permutations([allow, deny]):
        rules = compile_rules((), SCHEMA, (), lists)
        assert verdict(rules, payment(), 0.0) == (Action.DECLINE, ["deny_countrys"])
    rule = RuleSettings(name="all", when="True", action="decline")
    assert verdict(compile_rules([rule], SCHEMA, (), [allow]), payment(), 0.99)[0] is Action.APPROVE
    assert verdict(compile_rules([rule], SCHEMA, (), [listed("watch")]), payment(), 0.0)[0] is Action.DECLINE


def test_the_words_name_which_field_is_on_which_list_and_why() -> None:
    (verdict,) = compile_rules((), SCHEMA, (), [listed("deny")]).fired(payment(), ())
    assert verdict.message == "card is on the list `deny_cards`: seen before"


@given(
    time_ms=st.integers(0, 50),
    expires=st.none() | st.integers(0, 50),
    snoozed=st.none() | st.integers(0, 50),
    entry_expires=st.none() | st.integers(0, 50),
    entry_snoozed=st.none() | st.integers(0, 50),
)
def test_rules_and_lists_hold_from_the_end_of_their_snooze_until_they_expire(
    time_ms: int,
    expires: int | None,
    snoozed: int | None,
    entry_expires: int | None,
    entry_snoozed: int | None,
) -> None:
    def moment(ms: int | None) -> Moment | None:
        return None if ms is None else Moment(ms)

    def holds(until: int | None, since: int | None) -> bool:
        return (until is None or time_ms < until) and (since is None or time_ms >= since)

    until, since = moment(expires), moment(snoozed)
    entry = ListEntry(value="c1", expires=moment(entry_expires), snoozed_until=moment(entry_snoozed))
    deny_list = ListSettings(
        name="deny", kind="deny", of="card", entries=(entry,), expires=until, snoozed_until=since
    )
    rule = RuleSettings(name="rule", when="amount > 1", action="review", expires=until, snoozed_until=since)
    codes = {
        verdict.code for verdict in compile_rules([rule], SCHEMA, (), [deny_list]).fired(payment(time_ms), ())
    }
    assert ("rule" in codes) == holds(expires, snoozed)
    assert ("deny" in codes) == (holds(expires, snoozed) and holds(entry_expires, entry_snoozed))


@pytest.mark.parametrize(
    ("lists", "message"),
    [
        (
            [listed("deny", of="merchant")],
            "no entity or category; there are: transaction_id, card, device, co",
        ),
        ([listed("deny"), listed("deny")], "taken by another list; choose another - at `$.lists[1].name`"),
        (
            [
                ListSettings(
                    name="d", kind="deny", of="card", entries=(ListEntry(value="c"), ListEntry(value="c"))
                )
            ],
            "`c` appears twice on `d` - at `$.lists[0].entries[1]`",
        ),
    ],
)
def test_a_list_that_cannot_be_understood_stops_the_start(lists: list[ListSettings], message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        compile_rules((), SCHEMA, (), lists)
    assert message in str(refused.value)


def test_a_rule_and_a_list_cannot_share_a_name() -> None:
    rule = RuleSettings(name="deny_cards", when="True", action="review")
    with pytest.raises(ConfigError, match="taken by another rule"):
        compile_rules([rule], SCHEMA, (), [listed("deny")])
