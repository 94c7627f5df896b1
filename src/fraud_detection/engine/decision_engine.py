"""From payments and feature rows to decisions: rules, score, policy, decline cap, reasons, control group.

It knows the order of these and nothing of where rows come from: live services, replays and backtests decide
by it alike.  It does no I/O; its only state is how many payments were declined lately.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Sequence

import msgspec

from fraud_detection.core.decide.control_group import ControlGroupSampler
from fraud_detection.core.decide.decline_cap import DeclineCap
from fraud_detection.core.decide.policy import Policy, capped, explained, unforeseen
from fraud_detection.core.decide.rules import RuleSet
from fraud_detection.core.errors import NOT_OF_ONE_EVENT, Failure, RetryError
from fraud_detection.core.events import Action, ControlGroupAssignment, Decision, Transaction
from fraud_detection.core.metrics import DECIDE, REASONS, SCORE, StageTimes
from fraud_detection.core.ports import Scorer
from fraud_detection.core.score.reasons import Reasons

_SHARES = 1 << 64


class DecisionStrategy(msgspec.Struct, frozen=True):
    """Policy, rules, scorer and reasons that decide together; without a scorer every payment goes to review.

    config_id: names all of it by its content.
    """

    policy: Policy
    rules: RuleSet
    scorer: Scorer | None = None
    reasons: Reasons | None = None
    reasons_shown: int = 3
    bundle: str = ""
    config_id: str = ""
    sampler: ControlGroupSampler | None = None


class Canary(msgspec.Struct, frozen=True):
    """Another strategy for a share of the cards; a card stays with it.

    salt: which cards these are; a canary keeps it when its rules change.
    Cards are those of the entity that orders the stream; a payment without one stays with the champion.
    """

    strategy: DecisionStrategy
    share: float
    salt: str

    def selects(self, payment: Transaction) -> bool:
        """Return whether a payment is one of its share."""
        card = payment.entities[0] if payment.entities else None
        if card is None:
            return False
        salted = f"{self.salt}\0{card}".encode()
        return int.from_bytes(hashlib.blake2b(salted, digest_size=8).digest(), "big") < self.share * _SHARES


class Redelivered(msgspec.Struct, frozen=True, gc=False):
    """A payment that an earlier delivery of its record has decided.

    index: of the next payment of the batch that is decided now.  declined: whether a decline cap counts it
    so.
    """

    index: int
    event_time: int
    declined: bool


class DecisionEngine:
    """Decides batches of payments, in order; champion, canary and decline cap may change between batches.

    failures: payments of the last batch that alone raise an error; the others are decided as without them.
    """

    def __init__(self, champion: DecisionStrategy, stages: StageTimes) -> None:
        """Let one strategy decide everything, without a decline cap."""
        self.champion = champion
        self.canary: Canary | None = None
        self.decline_cap: DeclineCap | None = None
        self.stages = stages
        self.failures: list[Failure] = []

    def decide(
        self,
        payments: Sequence[Transaction],
        rows: Sequence[array[float]],
        redelivered: Sequence[Redelivered] = (),
    ) -> list[Decision]:
        """Return one decision a payment, in order.

        redelivered: payments among these that were decided in an earlier delivery, and that the decline cap
        has not counted.
        """
        self.failures = []
        canary = self.canary
        if canary is None:
            decisions = self._propose(self.champion, payments, rows)
            self._apply_decline_cap(payments, decisions, redelivered)
            self._complete(self.champion, payments, rows, decisions)
            return decisions
        by_position: dict[int, Decision] = {}
        positions: dict[bool, list[int]] = {True: [], False: []}
        for index, payment in enumerate(payments):
            try:
                positions[canary.selects(payment)].append(index)
            except NOT_OF_ONE_EVENT:
                raise
            except Exception as error:  # noqa: BLE001 - whatever it is, it is logged, and ends at one payment
                by_position[index] = self._isolated(self.champion, payment, error)
        arms = [(canary.strategy, positions[True]), (self.champion, positions[False])]
        for strategy, own in arms:
            proposed = self._propose(strategy, [payments[at] for at in own], [rows[at] for at in own])
            by_position.update(zip(own, proposed, strict=True))
        # The decline cap sees the order of the stream, so that no cutting into batches changes what it
        # admits.
        decisions = [by_position[index] for index in range(len(payments))]
        self._apply_decline_cap(payments, decisions, redelivered)
        for strategy, own in arms:
            part = [decisions[at] for at in own]
            self._complete(strategy, [payments[at] for at in own], [rows[at] for at in own], part)
            for at, decision in zip(own, part, strict=True):
                decisions[at] = decision
        return decisions

    def _propose(
        self, strategy: DecisionStrategy, payments: Sequence[Transaction], rows: Sequence[array[float]]
    ) -> list[Decision]:
        """Decide by rules and score alone; a payment that alone raises an error goes to review."""
        try:
            return self._proposed(strategy, payments, rows)
        except NOT_OF_ONE_EVENT:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, it is logged, and ends at one payment
            if len(payments) == 1:
                return [self._isolated(strategy, payments[0], error)]
        failed = len(self.failures)
        half = len(payments) // 2
        proposed = self._propose(strategy, payments[:half], rows[:half])
        proposed += self._propose(strategy, payments[half:], rows[half:])
        broken = {failure.transaction_id for failure in self.failures[failed:]}
        good = [index for index, payment in enumerate(payments) if payment.transaction_id not in broken]
        if len(payments) > len(good) > 0:
            # Once more together: the scorer keeps its last batch, for reasons and counts.
            isolated = self._propose(strategy, [payments[at] for at in good], [rows[at] for at in good])
            for at, decision in zip(good, isolated, strict=True):
                proposed[at] = decision
        return proposed

    def _isolated(self, strategy: DecisionStrategy, payment: Transaction, error: Exception) -> Decision:
        transaction_id = payment.transaction_id
        self.failures.append(Failure(transaction_id, b"", error))
        return unforeseen(transaction_id, strategy.policy.name, strategy.bundle, strategy.config_id)

    def _proposed(
        self, strategy: DecisionStrategy, payments: Sequence[Transaction], rows: Sequence[array[float]]
    ) -> list[Decision]:
        verdicts = [strategy.rules.fired(payment, row) for payment, row in zip(payments, rows, strict=True)]
        stopped = [index for index, fired in enumerate(verdicts) if fired]
        self.stages.lap(DECIDE)
        scores = _scores(strategy, rows, stopped)
        self.stages.lap(SCORE)
        return [
            strategy.policy.decide(
                payment.transaction_id, scores[index], verdicts[index], strategy.bundle, strategy.config_id
            )
            for index, payment in enumerate(payments)
        ]

    def _apply_decline_cap(
        self, payments: Sequence[Transaction], decisions: list[Decision], redelivered: Sequence[Redelivered]
    ) -> None:
        """Apply the decline cap; each payment is counted in the order of the stream."""
        decline_cap = self.decline_cap
        if decline_cap is None:
            return
        earlier = list(reversed(redelivered))
        for index, payment in enumerate(payments):
            while earlier and earlier[-1].index <= index:
                decline_cap.add(earlier[-1].event_time, declined=earlier.pop().declined)
            decision = decisions[index]
            wanted = decision.action is Action.DECLINE
            try:
                declined = wanted and decline_cap.allows(payment.event_time)
                decline_cap.add(payment.event_time, declined=declined)
            except NOT_OF_ONE_EVENT:
                raise
            except Exception as error:  # noqa: BLE001 - whatever it is, it is logged, and ends at one payment
                transaction_id = payment.transaction_id
                self.failures.append(Failure(transaction_id, b"", error))
                decisions[index] = unforeseen(
                    transaction_id, decision.policy, decision.bundle, decision.config_id
                )
                continue
            if declined is not wanted:
                decisions[index] = capped(decision, decline_cap.message)
        while earlier:
            decline_cap.add(earlier[-1].event_time, declined=earlier.pop().declined)

    def _complete(
        self,
        strategy: DecisionStrategy,
        payments: Sequence[Transaction],
        rows: Sequence[array[float]],
        decisions: list[Decision],
    ) -> None:
        """Add the model's reasons and assign the control group, in place; an error ends at its payment."""
        before = list(decisions)
        try:
            self._completed(strategy, payments, rows, decisions)
        except NOT_OF_ONE_EVENT:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, it is logged, and ends at one payment
            if len(payments) == 1:
                decisions[0] = self._isolated(strategy, payments[0], error)
                return
        else:
            return
        half = len(payments) // 2
        for begin, end in ((0, half), (half, len(payments))):
            part = before[begin:end]
            self._complete(strategy, payments[begin:end], rows[begin:end], part)
            decisions[begin:end] = part

    def _completed(
        self,
        strategy: DecisionStrategy,
        payments: Sequence[Transaction],
        rows: Sequence[array[float]],
        decisions: list[Decision],
    ) -> None:
        doubtful = [
            index
            for index, decision in enumerate(decisions)
            if decision.reasons and decision.action is not Action.APPROVE and not decision.is_failure
        ]
        self.stages.lap(DECIDE)
        _explain(strategy, rows, decisions, doubtful)
        if strategy.sampler is not None:
            for index in doubtful:
                decisions[index] = _assign_control_group(
                    strategy, strategy.sampler, payments[index], decisions[index]
                )
        self.stages.lap(REASONS)


def _scores(
    strategy: DecisionStrategy, rows: Sequence[array[float]], stopped: list[int]
) -> Sequence[float | None]:
    scorer = strategy.scorer
    if scorer is None or not rows:
        return [None] * len(rows)
    try:
        return scorer.score(rows, stopped)
    except RetryError:
        # The policy sends a payment without a score to review, with a reason.
        return [None] * len(rows)


def _explain(
    strategy: DecisionStrategy,
    rows: Sequence[array[float]],
    decisions: list[Decision],
    doubtful: Sequence[int],
) -> None:
    """Add the model's own reasons to those decisions that need some and have a score."""
    scored = [index for index in doubtful if decisions[index].score is not None]
    if strategy.scorer is None or strategy.reasons is None or not scored:
        return
    try:
        contributions = strategy.scorer.contributions([rows[index] for index in scored])
    except RetryError:
        # The decision is valid without the model's reasons: its own are there.
        return
    for index, row in zip(scored, contributions, strict=True):
        decision = decisions[index]
        top = strategy.reasons.top(rows[index], row, strategy.reasons_shown, decision.action)
        decisions[index] = explained(decision, top)


def _assign_control_group(
    strategy: DecisionStrategy, sampler: ControlGroupSampler, payment: Transaction, decision: Decision
) -> Decision:
    if not sampler.selects(payment) or strategy.rules.is_terminal(decision.reasons):
        return decision
    assignment = ControlGroupAssignment(decision.action, sampler.sampling_rate)
    return msgspec.structs.replace(decision, action=Action.APPROVE, control_group=assignment)
