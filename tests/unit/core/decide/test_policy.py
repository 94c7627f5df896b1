"""How a score and the rules become one decision."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraud_detection.core.decide.policy import Policy, explained
from fraud_detection.core.errors import ConfigError
from fraud_detection.core.events import Action, Decision, Verdict

POLICY = Policy("p", review_at=0.5, decline_at=0.9)

shares = st.floats(0, 1)
policies = (
    st.lists(shares, min_size=2, max_size=2).map(sorted).map(lambda cuts: Policy("p", cuts[0], cuts[1]))
)
impossible = st.none() | st.floats().filter(lambda score: not 0 <= score <= 1)
rules = st.builds(
    Verdict, st.sampled_from([Action.REVIEW, Action.DECLINE]), st.sampled_from("abcdef"), st.text(max_size=5)
)
fired_rules = st.lists(rules, max_size=4)


def codes(decision: Decision) -> list[str]:
    return [reason.code for reason in decision.reasons]


@given(policies, shares, shares, fired_rules)
def test_a_higher_score_is_never_milder(
    policy: Policy, first: float, second: float, fired: list[Verdict]
) -> None:
    low, high = sorted([first, second])
    assert policy.decide("t", low, fired).action <= policy.decide("t", high, fired).action
    assert policy.decide("t", 1.0, fired).action is Action.DECLINE


@given(policies, shares | impossible, fired_rules)
def test_a_decision_is_as_severe_as_every_rule_that_fired(
    policy: Policy, score: float | None, fired: list[Verdict]
) -> None:
    assert all(policy.decide("t", score, fired).action >= rule.action for rule in fired)


@given(policies, shares | impossible, fired_rules)
def test_a_decision_is_as_severe_as_the_score_alone_or_a_rule_and_no_more(
    policy: Policy, score: float | None, fired: list[Verdict]
) -> None:
    alone = policy.decide("t", score).action
    assert policy.decide("t", score, fired).action is max([alone, *(rule.action for rule in fired)])


@given(policies, shares | impossible, fired_rules)
def test_every_rule_that_fired_is_a_reason(policy: Policy, score: float | None, fired: list[Verdict]) -> None:
    reasons = policy.decide("t", score, fired).reasons
    assert [reason for reason in reasons if reason.code not in {"score", "no_score"}] == sorted(
        fired, key=lambda rule: -rule.action
    )


@given(policies, shares | impossible, fired_rules)
def test_a_decision_has_reasons_exactly_when_it_is_no_approval(
    policy: Policy, score: float | None, fired: list[Verdict]
) -> None:
    decision = policy.decide("t", score, fired)
    severities = [reason.action for reason in decision.reasons]
    assert severities == sorted(severities, reverse=True)
    assert max(severities, default=Action.APPROVE) is decision.action
    assert Action.APPROVE not in severities


@given(policies, impossible)
def test_silence_is_never_approval(policy: Policy, score: float | None) -> None:
    decision = policy.decide("t", score)
    assert decision.action is Action.REVIEW
    assert codes(decision) == ["no_score"]
    assert decision.score is None


def test_an_impossible_score_is_said_in_the_reason() -> None:
    assert POLICY.decide("t", None).reasons[0].message == "the model did not answer"
    assert POLICY.decide("t", 1.5).reasons[0].message == "the model answered 1.5, which is no probability"
    assert (
        POLICY.decide("t", math.nan).reasons[0].message == "the model answered nan, which is no probability"
    )


@pytest.mark.parametrize(
    ("score", "action"),
    [
        (0.0, Action.APPROVE),
        (math.nextafter(0.5, 0), Action.APPROVE),
        (0.5, Action.REVIEW),
        (math.nextafter(0.9, 0), Action.REVIEW),
        (0.9, Action.DECLINE),
        (1.0, Action.DECLINE),
    ],
)
def test_a_cut_off_belongs_to_the_severer_side(score: float, action: Action) -> None:
    assert POLICY.decide("t", score).action is action


@pytest.mark.parametrize(
    ("score", "message"),
    [
        (0.5, "fraud probability 50 % is at or above the review cut-off of 50 %"),
        (0.97, "fraud probability 97 % is at or above the decline cut-off of 90 %"),
        (0.9012, "fraud probability 90.1 % is at or above the decline cut-off of 90 %"),
    ],
)
def test_the_score_is_a_reason_with_a_message(score: float, message: str) -> None:
    assert POLICY.decide("t", score).reasons == (Verdict(POLICY.verdicts(score)[0], "score", message),)


def test_the_severer_verdict_comes_first() -> None:
    rule = Verdict(Action.DECLINE, "stolen", "reported stolen")
    assert codes(POLICY.decide("t", 0.6, [rule])) == ["stolen", "score"]
    assert codes(POLICY.decide("t", 0.95, [rule])) == ["score", "stolen"]


def test_a_decision_can_be_traced() -> None:
    decision = POLICY.decide("t1", 0.2, bundle="b1")
    assert decision == Decision("t1", Action.APPROVE, 0.2, (), policy="p", bundle="b1")


@given(policies, shares | impossible, fired_rules, fired_rules)
def test_an_explanation_adds_reasons_and_changes_nothing_else(
    policy: Policy, score: float | None, fired: list[Verdict], explanation: list[Verdict]
) -> None:
    before = policy.decide("t", score, fired, "b")
    after = explained(before, explanation)
    added = () if before.action is Action.APPROVE else tuple(explanation)
    assert after.reasons == before.reasons + added
    assert (after.action, after.score, after.policy, after.bundle) == (before.action, before.score, "p", "b")


@pytest.mark.parametrize(
    ("review_at", "decline_at"), [(0.9, 0.5), (-0.1, 0.5), (0.5, 1.1), (math.nan, 0.5), (0.5, math.nan)]
)
def test_contradictory_cut_offs_are_refused_with_their_values(review_at: float, decline_at: float) -> None:
    with pytest.raises(ConfigError, match="policy 'p': need 0 <= review_at <= decline_at <= 1") as refused:
        Policy("p", review_at, decline_at)
    assert f"review_at={review_at}, decline_at={decline_at}" in str(refused.value)
