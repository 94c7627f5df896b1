"""The explanation of one decision as a record: features, score, rules, labels and outcome.

It is made in `explanation`, and printed or written as JSON elsewhere.
"""

from __future__ import annotations

import msgspec

FIRED = "fired"
"""What a rule or a list said that spoke."""


class Difference(msgspec.Struct, frozen=True):
    """A value that is stored otherwise than it is recomputed."""

    what: str
    stored: str
    recomputed: str


class RecomputedFeatures(msgspec.Struct, frozen=True):
    """What was replayed: payments of history and events of the log that share an entity with the payment."""

    history: int
    events: int
    values: int
    differences: list[Difference]


class PaymentView(msgspec.Struct, frozen=True):
    """The payment as it was read: amount in major units, ids and attributes by their names."""

    transaction_id: str
    event_time: str
    amount: float | None
    entities: dict[str, str | None]
    numbers: dict[str, float | None]
    categories: dict[str, str | None]
    place: tuple[float, float] | None
    event: str


class FeatureView(msgspec.Struct, frozen=True):
    """A feature as it was known before the payment, and what it added to the log-odds."""

    name: str
    value: float | None
    message: str
    contribution: float


class ScoreView(msgspec.Struct, frozen=True):
    """How the score came about; log-odds are those before calibration.

    base: the log-odds without any feature.  probability: as it comes out today; score: as it was stored.
    origin: who chose the cut-offs: money (in training) or settings.
    """

    base: float
    log_odds: float
    slope: float
    intercept: float
    probability: float
    score: float | None
    review_at: float
    decline_at: float
    origin: str


class RuleView(msgspec.Struct, frozen=True):
    """A rule or a list, and what it said; why not, where it said nothing."""

    name: str
    kind: str
    status: str
    what: str
    action: str
    owner: str
    reason: str
    version: int | None = None

    @property
    def fired(self) -> bool:
        """Return whether it spoke."""
        return self.status == FIRED


class LabelView(msgspec.Struct, frozen=True):
    """A label that came; `stands` where it is the one that counts today.  caller: the key that sent it."""

    verdict: str
    source: str
    known_at: str
    happened_at: str | None
    note: str
    stands: bool
    caller: str = ""


class DeclineCapView(msgspec.Struct, frozen=True):
    """What the decline cap did, and what its counts say."""

    decline_requested: bool
    did: str
    payments: int
    declines: int
    agrees: bool | None


class MadeBy(msgspec.Struct, frozen=True):
    """What decided: names by content, and what the bundle was trained on."""

    config_id: str
    policy: str
    bundle: str
    project: str
    fingerprint: str
    train_from: str
    train_until: str
    labels_as_of: str


class ReasonView(msgspec.Struct, frozen=True):
    """One reason of the stored decision."""

    action: str
    code: str
    message: str


class ExplanationRecord(msgspec.Struct, frozen=True):
    """Everything that is known of one decision.

    same: the recomputed decision is bit-identical.  taken: what had to be taken as it is stored.  caller: the
    key that sent the payment, by its name.  notes: what the response says to the sender beside the decision.
    """

    payment: PaymentView
    state: str
    number: int
    action: str
    reasons: list[ReasonView]
    counterfactual_action: str | None
    sampling_rate: float | None
    same: bool
    differences: list[Difference]
    taken: list[str]
    score: ScoreView
    features: list[FeatureView]
    rules: list[RuleView]
    decline_cap: DeclineCapView | None
    labels: list[LabelView]
    assessment: str
    made_by: MadeBy
    recomputed_features: RecomputedFeatures | None = None
    caller: str = ""
    notes: list[str] = []
