"""The whole path of a payment, in one place: parse, features, score, decide.

The only module that knows the order of the stages.  It answers for every event it is
given, in order: decided, learned, repeated or quarantined; it does no I/O of its own.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence

import msgspec

from fraud_detection.decide.policy import Policy, explained
from fraud_detection.decide.rules import RuleSet
from fraud_detection.errors import RejectError, RetryError
from fraud_detection.events import Action, Decision, Label, Quarantined, Transaction
from fraud_detection.features.memory import FeatureMemory, Ids
from fraud_detection.parse import Parser
from fraud_detection.ports import Ledger, Scorer
from fraud_detection.score.reasons import Reasons


class Decided(msgspec.Struct, gc=False):
    """A payment, its feature values (64-bit floats) and the decision on it."""

    raw: bytes
    payment: Transaction
    values: array[float]
    decision: Decision


class Learned(msgspec.Struct, gc=False):
    """A label; `ids` are the entities of its payment, None while that payment is not known."""

    label: Label
    ids: Ids | None


class Repeated(msgspec.Struct, gc=False):
    """A payment that was decided before, or a label that was learned before; the first one stands."""

    transaction_id: str
    is_label: bool = False


Event = bytes | Label
"""A raw event, or a label that was read beside the stream."""

Outcome = Decided | Learned | Repeated | Quarantined


class Answerer(msgspec.Struct, frozen=True):
    """What turns feature rows into decisions; without a scorer every payment goes to review."""

    policy: Policy
    rules: RuleSet
    scorer: Scorer | None = None
    reasons: Reasons | None = None
    reasons_shown: int = 3
    bundle: str = ""


class Pipeline:
    """Decides batches of raw events, in order, exactly once per transaction id."""

    def __init__(self, parser: Parser, memory: FeatureMemory, answerer: Answerer, ledger: Ledger) -> None:
        """Put the stages together."""
        self.parser = parser
        self.memory = memory
        self.answerer = answerer
        self.ledger = ledger

    def process(
        self, events: Sequence[Event], identities: Sequence[str | None] | None = None
    ) -> list[Outcome]:
        """Return one outcome an event, in order.

        identities: ids for events whose schema declares none; without them an event's own hash is used.
        """
        parsed = [
            self._parse(raw, None if identities is None else identities[position])
            for position, raw in enumerate(events)
        ]
        outcomes, decided = self._remember(events, parsed)
        self._answer(decided)
        return outcomes

    def _parse(self, raw: Event, identity: str | None) -> Transaction | Label | Quarantined:
        if isinstance(raw, Label):
            return raw
        try:
            return self.parser.parse(raw, identity)
        except RejectError as error:
            return Quarantined(raw, error.reason, error.path)

    def _remember(
        self, events: Sequence[Event], parsed: Sequence[Transaction | Label | Quarantined]
    ) -> tuple[list[Outcome], list[Decided]]:
        payment_ids = [item.transaction_id for item in parsed if isinstance(item, Transaction)]
        seen = self.ledger.decided(payment_ids)
        owners = self.ledger.entities([item.transaction_id for item in parsed if isinstance(item, Label)])
        labels = self.ledger.labels(
            [item.transaction_id for item in parsed if not isinstance(item, Quarantined)]
        )
        self.memory.prefetch(
            [item.entities for item in parsed if isinstance(item, Transaction)] + list(owners.values())
        )
        outcomes: list[Outcome] = []
        decided: list[Decided] = []
        for raw, item in zip(events, parsed, strict=True):
            self.memory.sequence += 1
            if isinstance(item, Quarantined):
                outcomes.append(item)
            elif isinstance(item, Label):
                outcomes.append(self._learn(item, owners, labels))
            elif item.transaction_id in seen:
                outcomes.append(Repeated(item.transaction_id))
            elif isinstance(raw, bytes):
                seen.add(item.transaction_id)
                owners[item.transaction_id] = item.entities
                payment = Decided(raw, item, array("d", self.memory.observe(item)), _UNDECIDED)
                outcomes.append(payment)
                decided.append(payment)
                for label in labels.get(item.transaction_id, ()):
                    self.memory.learn(item.entities, label.known_at, fraud=label.fraud)
        return outcomes, decided

    def _learn(
        self, label: Label, owners: dict[str, Ids], labels: dict[str, list[Label]]
    ) -> Learned | Repeated:
        known = labels.setdefault(label.transaction_id, [])
        if label in known:
            return Repeated(label.transaction_id, is_label=True)
        known.append(label)
        ids = owners.get(label.transaction_id)
        if ids is not None:
            self.memory.learn(ids, label.known_at, fraud=label.fraud)
        return Learned(label, ids)

    def _answer(self, decided: Sequence[Decided]) -> None:
        answerer = self.answerer
        scores = self._scores([item.values for item in decided])
        doubtful: list[Decided] = []
        for item, score in zip(decided, scores, strict=True):
            fired = answerer.rules.fired(item.payment, item.values)
            item.decision = answerer.policy.decide(item.payment.transaction_id, score, fired, answerer.bundle)
            if item.decision.action is not Action.APPROVE:
                doubtful.append(item)
        self._explain(doubtful)

    def _scores(self, rows: list[array[float]]) -> Sequence[float | None]:
        scorer = self.answerer.scorer
        if scorer is None or not rows:
            return [None] * len(rows)
        try:
            return scorer.score(rows)
        except RetryError:
            # The policy sends a payment without a score to review, and says so.
            return [None] * len(rows)

    def _explain(self, doubtful: Sequence[Decided]) -> None:
        answerer = self.answerer
        if answerer.scorer is None or answerer.reasons is None or not doubtful:
            return
        contributions = answerer.scorer.contributions([item.values for item in doubtful])
        for item, row in zip(doubtful, contributions, strict=True):
            top = answerer.reasons.top(item.values, row, answerer.reasons_shown, item.decision.action)
            item.decision = explained(item.decision, top)


_UNDECIDED = Decision("", Action.REVIEW, None, (), "", "")
