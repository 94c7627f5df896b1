"""Turn a fraud score, and the rules that fired, into one decision.

The last pure step: no I/O, no clock, no logging.  It decides for every score, missing
ones too, so its callers need no `try`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from fraud_detection.core.errors import ConfigError
from fraud_detection.core.events import DECLINE_CAP, INTERNAL_ERROR, Action, Decision, Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class Policy:
    """Score cut-offs, named so that a decision can be traced to them.

    >>> policy = Policy("2026-08", review_at=0.5, decline_at=0.9)
    >>> action, (reason,) = policy.verdicts(0.97)
    >>> action.label, reason.code, reason.message
    ('decline', 'score', 'fraud probability 97 % is at or above the decline cut-off of 90 %')

    A rule can make the action more severe, never milder:

    >>> rule = Verdict(Action.REVIEW, "new_device", "a device never seen before")
    >>> action, reasons = policy.verdicts(0.12, [rule])
    >>> action.label, [reason.code for reason in reasons]
    ('review', ['new_device'])
    >>> action, reasons = policy.verdicts(0.97, [rule])
    >>> action.label, [reason.code for reason in reasons]
    ('decline', ['score', 'new_device'])

    But for a list of what is always approved, which overrides everything:

    >>> trusted = Verdict(Action.APPROVE, "trusted", "card is on the list `trusted`")
    >>> action, reasons = policy.verdicts(0.97, [rule, trusted])
    >>> action.label, [reason.code for reason in reasons]
    ('approve', ['trusted'])

    No score means that the model returned none.  That is never an approval:

    >>> action, (reason,) = policy.verdicts(None)
    >>> action.label, reason.code, reason.message
    ('review', 'no_score', 'the model did not answer')
    """

    name: str
    review_at: float
    decline_at: float

    def __post_init__(self) -> None:
        """Refuse cut-offs that contradict one another."""
        if not 0 <= self.review_at <= self.decline_at <= 1:
            message = (
                f"policy {self.name!r}: need 0 <= review_at <= decline_at <= 1, "
                f"got review_at={self.review_at}, decline_at={self.decline_at}"
            )
            raise ConfigError(message)

    def verdicts(
        self, score: float | None, fired: Sequence[Verdict] = ()
    ) -> tuple[Action, tuple[Verdict, ...]]:
        """Return the most severe action, and every verdict against the payment, the most severe first.

        A verdict in `fired` that approves is that of an allow list: nothing else counts then.
        """
        allowed = tuple(verdict for verdict in fired if verdict.action is Action.APPROVE)
        if allowed:
            return Action.APPROVE, allowed
        opinions = [*self._on_score(score), *fired]
        against = [verdict for verdict in opinions if verdict.action is not Action.APPROVE]
        against.sort(key=lambda verdict: -verdict.action)
        return (against[0].action if against else Action.APPROVE), tuple(against)

    def decide(
        self,
        transaction_id: str,
        score: float | None,
        fired: Sequence[Verdict] = (),
        bundle: str = "",
        config_id: str = "",
    ) -> Decision:
        """Return the decision, with the score's and the rules' reasons; `explained` adds the model's."""
        if not fired and score is not None and 0 <= score < self.review_at:
            # Nearly all payments: no rule fired, and the score is low.
            return Decision(transaction_id, Action.APPROVE, score, (), self.name, bundle, config_id)
        action, reasons = self.verdicts(score, fired)
        known = score if _is_possible(score) else None
        return Decision(
            transaction_id, action, known, reasons, policy=self.name, bundle=bundle, config_id=config_id
        )

    def _on_score(self, score: float | None) -> list[Verdict]:
        if score is None:
            return [Verdict(Action.REVIEW, "no_score", "the model did not answer")]
        if not _is_possible(score):
            return [
                Verdict(Action.REVIEW, "no_score", f"the model answered {score}, which is no probability")
            ]
        if score >= self.decline_at:
            return [_reached(score, Action.DECLINE, self.decline_at)]
        if score >= self.review_at:
            return [_reached(score, Action.REVIEW, self.review_at)]
        return []


def explained(decision: Decision, explanation: Sequence[Verdict]) -> Decision:
    """Return the decision with the model's reasons behind its own; approvals need none.

    Apart from `decide`, because these are expensive and made in one go for the few that need them.

    >>> late = Verdict(Action.REVIEW, "is_night", "paid at night: yes")
    >>> policy = Policy("p", review_at=0.5, decline_at=0.9)
    >>> [reason.code for reason in explained(policy.decide("t1", 0.7), [late]).reasons]
    ['score', 'is_night']
    >>> explained(policy.decide("t2", 0.1), [late]).reasons
    ()
    """
    if decision.action is Action.APPROVE:
        return decision
    return msgspec.structs.replace(decision, reasons=(*decision.reasons, *explanation))


def capped(decision: Decision, message: str) -> Decision:
    """Return a decline as a review, with the decline cap's reason before those that led to the decline.

    >>> policy = Policy("p", review_at=0.5, decline_at=0.9)
    >>> held = capped(policy.decide("t1", 0.97), "too many declines")
    >>> held.action.label, [reason.code for reason in held.reasons]
    ('review', ['decline_cap', 'score'])
    """
    reason = Verdict(Action.REVIEW, DECLINE_CAP, message)
    return msgspec.structs.replace(decision, action=Action.REVIEW, reasons=(reason, *decision.reasons))


def unforeseen(transaction_id: str, policy: str, bundle: str = "", config_id: str = "") -> Decision:
    """Return the review of a payment with which the program met an error: silence is never approval.

    >>> unforeseen("t1", "p").action.label
    'review'
    """
    reason = Verdict(Action.REVIEW, INTERNAL_ERROR, "the program met an error with this payment")
    return Decision(
        transaction_id, Action.REVIEW, None, (reason,), policy=policy, bundle=bundle, config_id=config_id
    )


def _is_possible(score: float | None) -> bool:
    return score is not None and 0 <= score <= 1


def _reached(score: float, action: Action, cut_off: float) -> Verdict:
    cut = f"the {action.label} cut-off of {_percent(cut_off)}"
    return Verdict(action, "score", f"fraud probability {_percent(score)} is at or above {cut}")


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"
