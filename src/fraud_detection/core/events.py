"""What flows through the system: one record, one type, one module.

Times are integer milliseconds since 1970-01-01 UTC; amounts are integer minor
units (cents), so that sums are exact in any order.  The positions in `entities`,
`numbers` and `categories` are those of the project's declared schema.
"""

from __future__ import annotations

import enum

import msgspec


class Action(enum.IntEnum):
    """The actions, ordered by severity.

    >>> max(Action.APPROVE, Action.REVIEW).label
    'review'
    """

    APPROVE = 0
    REVIEW = 1
    DECLINE = 2

    label: str
    """The word used in files and on screens."""

    def __init__(self, _: int) -> None:
        """Build the word once: it is read several times a payment."""
        self.label = self._name_.lower()


class Sender(msgspec.Struct, frozen=True, gc=False):
    """The sender of an event and its rights; the name is empty where no API key is required."""

    name: str = ""
    may_decide: bool = True
    may_label: bool = True

    def may_send(self, item: object) -> bool:
        """Return whether the sender may send the event as parsed; what cannot be parsed is allowed."""
        return not (
            (isinstance(item, Label) and not self.may_label)
            or (isinstance(item, Transaction) and not self.may_decide)
        )


ANYBODY = Sender()


class Transaction(msgspec.Struct, frozen=True, gc=False):
    """One payment after parsing.

    entities: ids in schema order, None where missing.
    numbers: declared numeric attributes in schema order, NaN where missing.
    categories: declared categorical attributes in schema order, None where missing.
    place: latitude and longitude in degrees, None where missing.
    sent_at: producer's wall clock in ms, only used to measure latency.
    unknown: the first fields that the schema does not know, their names cut.
    """

    transaction_id: str
    event_time: int
    amount: int | None
    entities: tuple[str | None, ...] = ()
    numbers: tuple[float, ...] = ()
    categories: tuple[str | None, ...] = ()
    place: tuple[float, float] | None = None
    sent_at: int | None = None
    unknown: tuple[str, ...] = ()


HISTORY = "history"
"""The source of labels that came with historical payments."""


class Label(msgspec.Struct, frozen=True, gc=False):
    """The verdict on an earlier payment: fraud or legitimate.

    source: where it comes from, such as chargeback, analyst, customer or rule.  sequence: the number of its
    event in the log, 0 where it is not stored.  known_at: when it became known, in ms.  happened_at: when the
    fraud was found or claimed, in ms, where that is given; never after `known_at`.  ingested_at: watermark of
    event time in ms when it came, -1 where it is not stored.  caller: name of the key that sent it, or empty.
    """

    transaction_id: str
    fraud: bool
    known_at: int
    source: str = "feed"
    sequence: int = 0
    happened_at: int | None = None
    ingested_at: int = -1
    caller: str = ""

    @property
    def available_from(self) -> int:
        """Return the first event time in ms at which a payment can use it.

        >>> Label("t1", fraud=True, known_at=5).available_from
        5
        >>> Label("t1", fraud=True, known_at=5, ingested_at=8).available_from
        9
        """
        return max(self.known_at, self.ingested_at + 1)

    def supersedes(self, current: Label | None) -> bool:
        """Return whether this label takes the place of the current one.

        The first label does, and a later one with the other verdict.  A label with the same verdict, or one
        known earlier than the current one, changes nothing.

        >>> fraud = Label("t1", fraud=True, known_at=5)
        >>> fraud.supersedes(None), Label("t1", fraud=True, known_at=9).supersedes(fraud)
        (True, False)
        >>> Label("t1", fraud=False, known_at=9).supersedes(fraud)
        True
        >>> Label("t1", fraud=False, known_at=3).supersedes(fraud)
        False
        """
        if current is None:
            return True
        return self.fraud is not current.fraud and self.known_at >= current.known_at

    def is_same_as(self, other: Label) -> bool:
        """Return whether the other is the same label: same verdict and source, known at the same time.

        Labels of history have no source: they equal one of any source.

        >>> label = Label("t1", fraud=True, known_at=5, source="analyst")
        >>> label.is_same_as(Label("t1", fraud=True, known_at=5, source="chargeback"))
        False
        """
        same_source = self.source == other.source or HISTORY in {self.source, other.source}
        return same_source and (self.fraud, self.known_at) == (other.fraud, other.known_at)


class Quarantined(msgspec.Struct, gc=False):
    """A record that could not be decided, with the reason and the path; of one too large its beginning.

    transaction_id: of a conflict the payment, else empty.  merged: the state file has a row of the same
    event already, which counts this one.
    """

    raw: bytes
    reason: str
    path: str
    transaction_id: str = ""
    merged: bool = False


class Conflict(Quarantined, gc=False):
    """A payment under an id that was processed before with other content: quarantined; the first one stands.

    The reason names the declared fields that differ, where more than a digest of the first one is kept.
    """


INTERNAL_ERROR = "internal_error"
"""The code of the reason on a payment that goes to review because the program met an error with it."""
DECLINE_CAP = "decline_cap"
"""The code of the reason on a payment that may not be declined because too many were."""


class Verdict(msgspec.Struct, frozen=True, gc=False):
    """One opinion on a payment, by a rule or by the score."""

    action: Action
    code: str
    message: str


class ControlGroupAssignment(msgspec.Struct, frozen=True, gc=False):
    """Assignment of a payment to the control group: approved at random, so that its outcome is observed.

    counterfactual_action: the action it would have had.  sampling_rate: probability of assignment; its
    inverse is the weight of the payment in estimates.
    """

    counterfactual_action: Action
    sampling_rate: float


class Decision(msgspec.Struct, frozen=True, gc=False):
    """The decision on one payment.

    score: calibrated probability of fraud in [0, 1]; None when the model returned none.
    reasons: what led to a review or a decline, also in the control group; of an approval only the list
    that demanded it.  config_id: names the bundle, policy, rules and lists by their content.  caller: the
    name of the key that sent the payment, or empty.  notes: what the sender should look at.
    """

    transaction_id: str
    action: Action
    score: float | None
    reasons: tuple[Verdict, ...]
    policy: str
    bundle: str
    config_id: str = ""
    control_group: ControlGroupAssignment | None = None
    caller: str = ""
    notes: tuple[str, ...] = ()

    @property
    def is_capped(self) -> bool:
        """Return whether it would have been declined, had not too many been."""
        return bool(self.reasons) and self.reasons[0].code == DECLINE_CAP

    @property
    def is_failure(self) -> bool:
        """Return whether the program met an error with it."""
        return bool(self.reasons) and self.reasons[0].code == INTERNAL_ERROR


class FeatureDefinition(msgspec.Struct, frozen=True):
    """The name of a feature, and how its value is phrased for people.

    template: a sentence with {value} and {typical}, for reason codes.
    unit: how to print the numbers: count, money, share, seconds, number, flag or code.
    """

    name: str
    template: str
    unit: str
