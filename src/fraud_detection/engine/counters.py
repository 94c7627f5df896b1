"""Counters of events and of their outcomes."""

from __future__ import annotations

import msgspec

from fraud_detection.core.events import INTERNAL_ERROR, Conflict, Quarantined
from fraud_detection.core.metrics import LatencyHistogram
from fraud_detection.core.outcomes import Decided, Duplicate, Forbidden, Outcome

NOTABLE_SHARE = 0.01
"""The share of quarantined events from which a person should look at the reason."""


class Refusal(msgspec.Struct):
    """Events that were quarantined for one field: the first reason, and how many."""

    reason: str
    count: int = 0


class Tally(msgspec.Struct):
    """Counts of events by outcome.

    transactions = decided + quarantined + conflicts; duplicates, some of them labels, are counted apart.
    conflicts: under the id of an earlier payment with other content.
    internal_errors: reviewed or quarantined because of an internal error.
    capped: reviewed because no more may be declined; control_group: approved at random.  forbidden: events
    whose sender lacks the right. engine: the engine's own time a payment, commit included;
    latency: the time since sending.
    """

    transactions: int = 0
    decided: int = 0
    quarantined: int = 0
    duplicates: int = 0
    labels: int = 0
    refusals: dict[str, Refusal] = {}
    actions: list[int] = msgspec.field(default_factory=lambda: [0, 0, 0])
    engine: LatencyHistogram = msgspec.field(default_factory=LatencyHistogram)
    latency: LatencyHistogram = msgspec.field(default_factory=LatencyHistogram)
    duplicate_labels: int = 0
    capped: int = 0
    control_group: int = 0
    conflicts: int = 0
    forbidden: int = 0
    internal_errors: int = 0

    def add(self, outcome: Outcome) -> None:
        """Count one outcome."""
        if isinstance(outcome, Decided):
            self.transactions += 1
            self.decided += 1
            decision = outcome.decision
            self.actions[decision.action] += 1
            if decision.reasons:
                self.capped += decision.is_capped
                self.internal_errors += decision.is_failure
                self.control_group += decision.control_group is not None
        elif isinstance(outcome, Conflict):
            self.transactions += 1
            self.conflicts += 1
        elif isinstance(outcome, Quarantined):
            self.transactions += 1
            self.quarantined += 1
            self.internal_errors += outcome.reason.startswith(INTERNAL_ERROR)
            self.refusals.setdefault(outcome.path, Refusal(outcome.reason)).count += 1
        elif isinstance(outcome, Duplicate):
            self.duplicates += 1
            self.duplicate_labels += outcome.is_label
        elif isinstance(outcome, Forbidden):
            self.forbidden += 1
        else:
            self.labels += 1

    @property
    def is_misfit(self) -> bool:
        """Return whether most events were quarantined: the schema is hardly that of the file."""
        return self.quarantined > self.decided

    def refused(self) -> str | None:
        """Return the most usual reason, where more than one event in a hundred is quarantined."""
        if self.quarantined <= NOTABLE_SHARE * self.transactions:
            return None
        path, refusal = max(self.refusals.items(), key=lambda item: item[1].count)
        share = self.quarantined / self.transactions
        return (
            f"{self.quarantined:,} of {self.transactions:,} events ({share:.1%}) were quarantined, "
            f"{refusal.count:,} of them for `{path}` ({refusal.reason}); does the schema fit? "
            "`fraud schema-report --source FILE` says more"
        )
