"""Outcomes of an event: decided, label applied, label redundant, duplicate, or quarantined."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

import msgspec

from fraud_detection.core.errors import RetryError
from fraud_detection.core.events import Decision, Label, Quarantined, Sender, Transaction

Ids = tuple[str | None, ...]


class Decided(msgspec.Struct, gc=False):
    """A payment, its feature values (64-bit floats) and the decision on it."""

    raw: bytes
    payment: Transaction
    values: array[float]
    decision: Decision


class AppliedLabel(msgspec.Struct, gc=False):
    """A label that changes what is known; `ids`: entities of its payment, None before that payment comes.

    supersedes_known_at: when the label that it supersedes became known, in ms; None for the first label.
    """

    label: Label
    ids: Ids | None
    supersedes_known_at: int | None = None


class RedundantLabel(msgspec.Struct, gc=False):
    """A label that changes nothing: the same verdict, or a later label, is known.  It is stored too."""

    label: Label


class Duplicate(msgspec.Struct, gc=False):
    """A payment or label that was processed before with the same content; the first one stands."""

    transaction_id: str
    is_label: bool = False


class Forbidden(msgspec.Struct, gc=False):
    """An event that its sender has no right to send; nothing of it is stored.  is_label: else a payment."""

    transaction_id: str
    is_label: bool


Event = bytes | Label
"""A raw event, or a label that was parsed outside of the stream."""
Outcome = Decided | AppliedLabel | RedundantLabel | Duplicate | Quarantined | Forbidden
Parsed = Transaction | Label | Quarantined | Forbidden


class NotCommittedError(RetryError):
    """A batch was decided but could not be committed; its outcomes hold once it is committed."""

    def __init__(self, message: str, outcomes: list[Outcome]) -> None:
        """Take the reason, and the outcomes that were decided."""
        super().__init__(message)
        self.outcomes = outcomes


class Processed(msgspec.Struct):
    """The outcomes of a batch.

    outcomes: one an event, in order.  log: the same, with matured labels of history among them, each where it
    was applied.
    """

    outcomes: list[Outcome]
    log: list[Outcome]


def allowed(parsed: Sequence[Parsed], senders: Sequence[Sender] | None) -> Sequence[Parsed]:
    """Return parsed events, with `Forbidden` for each that its sender has no right to send."""
    if senders is None:
        return parsed
    return [
        Forbidden(item.transaction_id, isinstance(item, Label))
        if isinstance(item, (Label, Transaction)) and not sender.may_send(item)
        else item
        for item, sender in zip(parsed, senders, strict=True)
    ]


def name_senders(outcomes: Sequence[Outcome], senders: Sequence[Sender] | None) -> None:
    """Store the name of the sender in each decision and label."""
    for outcome, sender in zip(outcomes, senders, strict=True) if senders is not None else ():
        if isinstance(outcome, Decided):
            outcome.decision = msgspec.structs.replace(outcome.decision, caller=sender.name)
        elif isinstance(outcome, (AppliedLabel, RedundantLabel)):
            outcome.label = msgspec.structs.replace(outcome.label, caller=sender.name)
