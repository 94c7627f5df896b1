"""The pipeline of a payment: parse, features, score, decide.

The only module that knows the order of the stages.  It returns an outcome for every event it is
given, in order: decided, label applied, duplicate, in conflict or quarantined; it does no I/O of its own.
"""

from __future__ import annotations

import itertools
import math
from array import array
from collections.abc import Sequence

from fraud_detection.core.decide.policy import unforeseen
from fraud_detection.core.errors import NOT_OF_ONE_EVENT, Failure, RejectError
from fraud_detection.core.events import (
    INTERNAL_ERROR,
    Action,
    Decision,
    Label,
    Quarantined,
    Sender,
    Transaction,
)
from fraud_detection.core.features.profile_cache import ProfileCache
from fraud_detection.core.metrics import FEATURES, LOOKUP, PARSE, StageTimes
from fraud_detection.core.outcomes import (
    AppliedLabel,
    Decided,
    Duplicate,
    Event,
    Forbidden,
    Outcome,
    Parsed,
    Processed,
    RedundantLabel,
    allowed,
    name_senders,
)
from fraud_detection.core.parse import Parser
from fraud_detection.core.parse.oversize import truncated_event
from fraud_detection.core.parse.sender_notes import Notes
from fraud_detection.core.ports import BatchState, DedupIndex
from fraud_detection.engine.conflicts import ConflictFinder
from fraud_detection.engine.decision_engine import DecisionEngine, DecisionStrategy, Redelivered


class Pipeline:
    """Decides batches of raw events, in order, exactly once per transaction id.

    pending_labels: labels of history, the latest first; each is applied before the first payment at or after
    its time.  watermark: the latest event time so far, in ms; every label known by then has been applied.
    counted_through: the number of the last event that the decline cap has counted; what is redelivered up to
    it is not counted again.  failures: events of the last batch with which the program met an error.  Such a
    payment goes to review, what is none is quarantined; all others are decided as ever.
    """

    def __init__(
        self, parser: Parser, profile_cache: ProfileCache, strategy: DecisionStrategy, dedup_index: DedupIndex
    ) -> None:
        """Put the stages together."""
        self.parser, self.notes = parser, Notes(parser.schema)
        self._conflicts = ConflictFinder(parser)
        self.profile_cache = profile_cache
        self.stages = StageTimes()
        self.decision_engine = DecisionEngine(strategy, self.stages)
        self.dedup_index = dedup_index
        self.pending_labels: list[Label] = []
        self.watermark = -1
        self.counted_through = -1
        self.failures: list[Failure] = []
        self._redelivered: list[Redelivered] = []
        self._decided = 0

    def process(
        self,
        events: Sequence[Event],
        identities: Sequence[str | None] | None = None,
        sequences: Sequence[int] | None = None,
        senders: Sequence[Sender] | None = None,
    ) -> Processed:
        """Process a batch of events and return their outcomes.

        identities: ids of events that carry none, see `parse.identity`.  sequences: ascending sequence
        numbers of the events in their source; None counts them here.  senders: of the events; None allows
        everything, and stores no name.
        """
        self.stages.begin()
        self.failures = []
        parsed = [
            self._parse(raw, None if identities is None else identities[position])
            for position, raw in enumerate(events)
        ]
        self.stages.lap(PARSE)
        self._redelivered, self._decided = [], 0
        result = self._update_profiles(events, allowed(parsed, senders), sequences)
        self.stages.lap(FEATURES)
        decided = [
            outcome
            for outcome in result.outcomes
            if isinstance(outcome, Decided) and outcome.decision is _UNDECIDED
        ]
        decisions = self.decision_engine.decide(
            [outcome.payment for outcome in decided],
            [outcome.values for outcome in decided],
            self._redelivered,
        )
        self.failures += self.decision_engine.failures
        self.counted_through = max(self.counted_through, self.profile_cache.sequence)
        for outcome, decision in zip(decided, decisions, strict=True):
            outcome.decision = self.notes.on(outcome.payment, decision)
        name_senders(result.outcomes, senders)
        return result

    def apply_known_labels(self, time_ms: int) -> list[Outcome]:
        """Apply the labels of history that were known at a time, without a payment; return them."""
        state = self.dedup_index.batch_state([], [label.transaction_id for label in self._known_by(time_ms)])
        self.profile_cache.prefetch(list(state.entities.values()))
        return self._apply_labels_until(time_ms, state)

    def _parse(self, raw: Event, identity: str | None) -> Transaction | Label | Quarantined:
        if isinstance(raw, Label):
            return raw
        try:
            return self.parser.parse(raw, identity)
        except RejectError as error:
            return Quarantined(truncated_event(raw), error.reason, error.path)
        except NOT_OF_ONE_EVENT:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, it is logged, and ends at one event
            return self._unreadable(raw, error)

    def _unreadable(self, raw: bytes, error: Exception) -> Quarantined:
        failure = Failure("", raw, error)
        self.failures.append(failure)
        return Quarantined(truncated_event(raw), f"{INTERNAL_ERROR}: {failure.where}", "$")

    def _update_profiles(
        self,
        events: Sequence[Event],
        parsed: Sequence[Parsed],
        sequences: Sequence[int] | None,
    ) -> Processed:
        state = self._load_state(parsed)
        self.stages.lap(LOOKUP)
        result = Processed([], [])
        for position, (raw, item) in enumerate(zip(events, parsed, strict=True)):
            if isinstance(item, Transaction):
                result.log += self._apply_labels_until(item.event_time, state)
            self.profile_cache.sequence = (
                self.profile_cache.sequence + 1 if sequences is None else sequences[position]
            )
            try:
                outcome = self._process_one(raw, item, state, result.outcomes)
            except NOT_OF_ONE_EVENT:
                raise
            except Exception as error:  # noqa: BLE001 - whatever it is, it is logged, and ends at one event
                outcome = self._isolated(raw, item, state, error)
            result.outcomes.append(outcome)
            result.log.append(outcome)
        return result

    def _load_state(self, parsed: Sequence[Parsed]) -> BatchState:
        """Load deduplication state and profiles for the whole batch, with one call each."""
        payments = [item for item in parsed if isinstance(item, Transaction)]
        labels = [item for item in parsed if isinstance(item, Label)]
        labels += self._known_by(max([payment.event_time for payment in payments], default=-1))
        state = self.dedup_index.batch_state(
            [payment.transaction_id for payment in payments], [label.transaction_id for label in labels]
        )
        self.profile_cache.prefetch(
            [payment.entities for payment in payments] + list(state.entities.values())
        )
        return state

    def _known_by(self, time_ms: int) -> list[Label]:
        return list(
            itertools.takewhile(lambda label: label.known_at <= time_ms, reversed(self.pending_labels))
        )

    def _apply_labels_until(self, time_ms: int, state: BatchState) -> list[Outcome]:
        """Apply the labels of history that were known at `time_ms`, unless the stream had them before."""
        learned: list[Outcome] = []
        self.watermark = max(self.watermark, time_ms)
        while self.pending_labels and self.pending_labels[-1].known_at <= time_ms:
            label = self.pending_labels.pop()
            if label.supersedes(state.current_label(label.transaction_id)):
                self.profile_cache.sequence += 1
                learned.append(self._apply_label(label, state))
        return learned

    def _process_one(self, raw: Event, item: Parsed, state: BatchState, outcomes: list[Outcome]) -> Outcome:
        if isinstance(item, (Quarantined, Forbidden)):
            return item
        if isinstance(raw, Label):
            return self._apply_label(raw, state)
        if isinstance(item, Label):
            return self._apply_label(item, state)
        earlier = state.already_processed.get(item.transaction_id)
        if earlier is not None:
            conflict = self._conflicts.find(raw, item, state, outcomes)
            if conflict is not None:
                return conflict
            if earlier == self.profile_cache.sequence:
                self._reapply(item, state)
            return Duplicate(item.transaction_id)
        values = array("d", self.profile_cache.extractor.packed(*self.profile_cache.extract_and_update(item)))
        payment = Decided(self.parser.stored_form(raw), item, values, _UNDECIDED)
        for label, supersedes_known_at in state.labels_up_to(
            item.transaction_id, self.profile_cache.sequence
        ):
            self.profile_cache.apply_label(
                item.entities, label.known_at, fraud=label.fraud, supersedes_known_at=supersedes_known_at
            )
        # Last: after an error above, the payment is recognised by its absence here.
        self._decided += 1
        state.already_processed[item.transaction_id] = 0
        state.entities[item.transaction_id] = item.entities
        return payment

    def review_without_profiles(self, raw: bytes, error: Exception, identity: str) -> tuple[Outcome, Failure]:
        """Return the outcome of an event that an error outside of this pipeline keeps from being decided."""
        item = self._parse(raw, identity)
        if not isinstance(item, Transaction):
            outcome: Outcome = self._unreadable(raw, error)
            return outcome, self.failures[-1]
        transaction_id, conflict = item.transaction_id, None
        try:
            state = self.dedup_index.batch_state([transaction_id], [])
            if transaction_id in state.already_processed:
                conflict = self._conflicts.find(raw, item, state, [])
        except NOT_OF_ONE_EVENT:
            raise
        except Exception:  # noqa: BLE001 - the error itself; whether it was decided before cannot be known
            outcome = self._unreadable(raw, error)
        else:
            isolated = self._isolated(raw, item, state, error)
            outcome = isolated if conflict is None else conflict
        return outcome, self.failures[-1]

    def _isolated(self, raw: Event, item: Parsed, state: BatchState, error: Exception) -> Outcome:
        """Return the outcome of an event whose features or profiles raised an error."""
        if isinstance(raw, Label):
            # A label of history, which no caller waits for: it is no event of the stream.
            raise error
        if not isinstance(item, Transaction):
            return self._unreadable(raw, error)
        transaction_id = item.transaction_id
        self.failures.append(Failure(transaction_id, raw, error))
        if transaction_id in state.already_processed:
            return Duplicate(transaction_id)
        state.already_processed[transaction_id] = 0
        state.entities[transaction_id] = item.entities
        # The decline cap counts it where it stands, like every payment that is not declined.
        self._redelivered.append(Redelivered(self._decided, item.event_time, declined=False))
        values = array("d", [math.nan]) * len(self.profile_cache.extractor.definitions)
        by = self.decision_engine.champion
        return Decided(raw, item, values, unforeseen(transaction_id, by.policy.name, by.bundle, by.config_id))

    def _reapply(self, payment: Transaction, state: BatchState) -> None:
        """Reapply a payment, and its labels, to every profile whose checkpoint predates it."""
        self.profile_cache.reapply_payment(payment)
        if self.profile_cache.sequence > self.counted_through:
            declined = payment.transaction_id in state.declined
            self._redelivered.append(Redelivered(self._decided, payment.event_time, declined))
        ids = payment.entities
        for label, supersedes_known_at in state.labels_up_to(
            payment.transaction_id, self.profile_cache.sequence
        ):
            self.profile_cache.reapply_label(
                ids, label.known_at, fraud=label.fraud, supersedes_known_at=supersedes_known_at
            )

    def _apply_label(self, label: Label, state: BatchState) -> AppliedLabel | RedundantLabel | Duplicate:
        transaction_id, sequence = label.transaction_id, self.profile_cache.sequence
        ids, current = state.entities.get(transaction_id), state.current_label(transaction_id)
        for earlier, supersedes_known_at in state.labels_up_to(transaction_id, sequence):
            if earlier.sequence == sequence and ids is not None:
                self.profile_cache.reapply_label(
                    ids, earlier.known_at, fraud=earlier.fraud, supersedes_known_at=supersedes_known_at
                )
        if not label.supersedes(current):
            if state.has_label(label):
                return Duplicate(transaction_id, is_label=True)
            state.redundant.setdefault(transaction_id, []).append(label)
            return RedundantLabel(label)
        state.labels.setdefault(transaction_id, []).append(label)
        supersedes_known_at = None if current is None else current.known_at
        if ids is not None:
            self.profile_cache.apply_label(
                ids, label.known_at, fraud=label.fraud, supersedes_known_at=supersedes_known_at
            )
        return AppliedLabel(label, ids, supersedes_known_at)


_UNDECIDED = Decision("", Action.REVIEW, None, (), "", "")
