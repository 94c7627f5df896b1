"""What judging two sides finds, as one record: counts, money and intervals, all of it JSON.

Money is in major units.  Where a figure has no meaning it is null: precision without a flagged
payment, anything that needs labels where they are not in yet.
"""

from __future__ import annotations

import msgspec


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """A part of the report."""


class Estimate(Record, frozen=True):
    """A figure with a 95 % interval."""

    value: float | None
    low: float | None
    high: float | None


class Harm(Record, frozen=True):
    """Good payments that were held up: their number, how many cards that are, their amounts."""

    payments: float
    cards: int
    money: float


class Judged(Record, frozen=True):
    """What one side's answers were worth, by labels.

    Caught is what was reviewed or declined; missed what was approved.  caught_by_decline: of the caught.
    cost: by the prices of the project.  money_saved: of what approving everything would have cost.
    """

    frauds_caught: float
    frauds_missed: float
    money_caught: float
    money_missed: float
    caught_by_decline: float
    good_declined: Harm
    good_reviewed: Harm
    precision: Estimate
    recall: Estimate
    cost: float
    money_saved: float


class Side(Record, frozen=True):
    """One side in one part of the traffic.

    worst_day: the day with the most reviews (YYYY-MM-DD, UTC), None without a review.
    days_over_capacity: None where any number of reviews can be made.
    """

    approved: int
    reviewed: int
    declined: int
    reviews_per_day: float
    worst_day: str | None
    worst_day_reviews: int
    days_over_capacity: int | None
    judged: Judged | None


class Difference(Record, frozen=True):
    """The second side less the first, each payment compared with itself."""

    frauds_caught: Estimate
    money_caught: Estimate
    good_declined: Estimate
    good_reviewed: Estimate
    money_saved: Estimate
    precision: Estimate
    recall: Estimate


class Part(Record, frozen=True):
    """A part of the traffic: all of it, a week, a value of a segment.

    since, until: the time it spans, ISO 8601 in UTC; the end is exclusive.
    mature: the labels are in; where they are not, nothing is judged.
    frauds, fraud_money: what was there to catch, as far as it is labelled; null where nothing is judged.
    effective_frauds: how many equal frauds the weighted ones are worth.
    """

    name: str
    since: str
    until: str
    days: float
    mature: bool
    payments: int
    unlabelled: int
    frauds: float | None
    effective_frauds: float | None
    fraud_money: float | None
    changed: int
    first: Side
    second: Side
    difference: Difference | None


class Fired(Record, frozen=True):
    """How often a reason stood on a decision, in the part whose labels are in."""

    payments: int
    frauds: float
    good: float
    unlabelled: int


class Reason(Record, frozen=True):
    """A reason on the decisions of each side."""

    code: str
    message: str
    first: Fired
    second: Fired


class Answer(Record, frozen=True):
    """One side's answer to one payment."""

    action: str
    score: float | None
    reasons: tuple[str, ...]


class Example(Record, frozen=True):
    """A payment that the sides answer differently; fraud is null where no label is in."""

    transaction_id: str
    event_time: str
    amount: float | None
    card: str | None
    fraud: bool | None
    segments: dict[str, str | None]
    first: Answer
    second: Answer


class Unseen(Record, frozen=True):
    """Payments that the first side stopped, the second would approve, and whose outcome no figure counts.

    money: their amounts.  cost: by the prices of the project, if all of them were fraud.
    """

    payments: float
    money: float
    cost: float


class Examples(Record, frozen=True):
    """Payments that the sides answer differently, the largest amounts first."""

    largest: tuple[Example, ...]
    newly_caught: tuple[Example, ...]
    newly_missed: tuple[Example, ...]
    newly_hurt: tuple[Example, ...]
    newly_spared: tuple[Example, ...]
    newly_unseen: tuple[Example, ...]


class Comparison(Record, frozen=True):
    """Two sides on the same traffic.

    as_of: the moment by which labels were known.  label_delay_days: how long they take.
    traffic: all payments, by answers alone.  total: the weeks whose labels are in,
    None where there is none; unseen: of these weeks too.
    actions: payments by the answers of both sides, in the order approve, review, decline; rows are the first.
    """

    first: str
    second: str
    as_of: str
    label_delay_days: float
    capacity_per_day: tuple[float | None, float | None]
    weighted: bool
    traffic: Part
    total: Part | None
    unseen: Unseen | None
    weeks: tuple[Part, ...]
    segments: dict[str, tuple[Part, ...]]
    actions: tuple[tuple[int, int, int], ...]
    reasons: tuple[Reason, ...]
    examples: Examples


class Variant(Record, frozen=True):
    """One change, and what it would have done.

    changes: what it changes, a sentence each.
    """

    name: str
    owner: str
    reason: str
    changes: tuple[str, ...]
    comparison: Comparison


class Report(Record, frozen=True):
    """Changes beside what is in force.

    bundle: the model in force.  notes: what the reader must know before the figures, a sentence each.
    """

    project: str
    bundle: str
    notes: tuple[str, ...]
    variants: tuple[Variant, ...]
