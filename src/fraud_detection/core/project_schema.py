"""The project file, params.yaml, as one typed value, decoded once at the edge.

It declares which fields of an event mean what (`schema`), which features to make of
them (`features`), how to train (`split`, `model`), what mistakes cost (`costs`)
and how to answer (see `decision_settings`).  Unknown keys and wrong values are refused
with their path.  DVC reads the same file as its parameters.
"""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from fraud_detection.core.decision_settings import (
    ControlGroupSettings,
    DeclineCapSettings,
    ListSettings,
    PolicySettings,
    RuleSettings,
)
from fraud_detection.core.decoding import Count, Duration, Money, Name, Settings, Share

Hour = Annotated[int, Meta(ge=0, le=24)]
Statistic = Literal["count", "sum", "mean", "min", "max", "std", "zscore", "ratio"]

MISSING_MARKERS = ("nan", "na", "n/a", "null", "none", "nil", "-", "?", "unknown", "missing")


class FieldSource(Settings, frozen=True):
    """Where a value is in an event: its field and its aliases.

    keep: markers of `schema.missing` that are values here, such as a category 'none'.
    """

    field: str
    aliases: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()


class IdSource(Settings, frozen=True):
    """The transaction's id; without a field, an event is known by its offset in its source."""

    field: str | None = None
    aliases: tuple[str, ...] = ()


class EntitySource(FieldSource, frozen=True):
    """An id that payments share: a card, a terminal, a device.  Optional ones may be missing."""

    required: bool = False


class DateParts(Settings, frozen=True):
    """A date that is split over fields; months and weekdays as numbers or English names."""

    year: str
    month: str
    day: str | None = None
    week_of_month: str | None = None
    day_of_week: str | None = None


class TimeSource(Settings, frozen=True):
    """The time of the payment, and how it is written.

    format: 'auto' reads ISO 8601 dates and times and epoch seconds, milliseconds,
    microseconds; 'number' counts `unit`s since `origin`; anything with a % is a strptime
    pattern.  Times without an offset are in `utc_offset_hours`.
    max_future_skew: a time further ahead of the clock at its arrival is impossible; null allows any.
    """

    field: str | None = None
    aliases: tuple[str, ...] = ()
    date_parts: DateParts | None = None
    format: str = "auto"
    unit: Literal["s", "m", "h", "d"] = "s"
    origin: dt.date = dt.date(1970, 1, 1)
    utc_offset_hours: Annotated[float, Meta(ge=-14, le=14)] = 0.0
    earliest: dt.date = dt.date(1980, 1, 1)
    latest: dt.date = dt.date(2100, 1, 1)
    max_future_skew: Duration | None = msgspec.field(default_factory=lambda: Duration.parse("1d"))


class AmountSource(FieldSource, frozen=True):
    """The amount of money, in major units with `decimals` digits kept.

    minimum and maximum bound what is possible; None means no bound.
    """

    decimals: Annotated[int, Meta(ge=0, le=6)] = 2
    minimum: float | None = 0.0
    maximum: float | None = 1e12


class PlaceSource(Settings, frozen=True):
    """Where the payment took place, in degrees."""

    latitude: str
    longitude: str


class LabelSource(Settings, frozen=True):
    """The labels of historical payments, and when they become known.

    positive, negative: the values that mean fraud and legitimate, compared as text;
    anything else, and an empty value, means that the label is not known.
    known_at: a field with the time the label became known; without one, event time + `delay`.
    """

    field: str = "is_fraud"
    positive: tuple[str, ...] = ("1", "1.0", "true", "yes")
    negative: tuple[str, ...] = ("0", "0.0", "false", "no")
    known_at: str | None = None
    delay: Duration = msgspec.field(default_factory=lambda: Duration.parse("7d"))


class Schema(Settings, frozen=True):
    """What the fields of an event mean.  Anything else in an event is ignored and counted.

    The first entity orders the stream: its payments are decided one after another.
    missing: markers of a missing value, compared without regard to case and surrounding blanks;
    null, NaN and empty text always are.
    """

    event_time: TimeSource
    transaction_id: IdSource = IdSource()
    amount: AmountSource | None = None
    entities: dict[Name, EntitySource] = msgspec.field(default_factory=dict)
    numbers: dict[Name, FieldSource] = msgspec.field(default_factory=dict)
    categories: dict[Name, FieldSource] = msgspec.field(default_factory=dict)
    place: PlaceSource | None = None
    label: LabelSource | None = None
    sent_at: str | None = None
    missing: tuple[str, ...] = MISSING_MARKERS
    ignored: tuple[str, ...] = ()


class EntityFeatures(Settings, frozen=True):
    """The memory kept of one kind of entity, and the features made of it.

    statistics over each of `windows` of the amount; distinct: other entities counted over
    windows; first_seen: other entities whose first payment with this one is flagged;
    risk: windows over confirmed labels, from the moment each became known.
    """

    windows: tuple[Duration, ...] = ()
    statistics: tuple[Statistic, ...] = ("count", "sum", "mean", "std", "max")
    distinct: dict[Name, tuple[Duration, ...]] = msgspec.field(default_factory=dict)
    first_seen: tuple[Name, ...] = ()
    time_since_last: bool = True
    speed: bool = False
    risk: tuple[Duration, ...] = ()


class Features(Settings, frozen=True):
    """Which features to make.  Memory per entity is bounded by `buckets` and `max_distinct_ids`.

    buckets: the number of equal buckets of a window, which expires one bucket at a time.
    max_distinct_ids: the number of other ids an entity keeps for distinct counts and first_seen.
    max_category_values: the number of values of a category that get a code of their own.
    night: from and until which hour it is night, in local hours of the event's offset.
    allowed_lateness: how late a payment may come; it is then seen with what its entities have done meanwhile.
    """

    entities: dict[Name, EntityFeatures] = msgspec.field(default_factory=dict)
    calendar: tuple[Literal["hour", "weekday", "night"], ...] = ("hour", "weekday", "night")
    night: tuple[Hour, Hour] = (22, 6)
    allowed_lateness: Duration = msgspec.field(default_factory=lambda: Duration.parse("1d"))
    buckets: Annotated[int, Meta(ge=2, le=1000)] = 24
    max_distinct_ids: Annotated[int, Meta(ge=1, le=4096)] = 64
    max_category_values: Annotated[int, Meta(ge=1, le=10000)] = 200


class Split(Settings, frozen=True):
    """How history is cut by time: train | gap | validation | gap | test.

    A gap is as long as the label delay.  test_from: the first day of the test slice, instead of a share.
    burn_in: the first part of history fills the windows and is not learned from.
    """

    burn_in: Duration = msgspec.field(default_factory=lambda: Duration.parse("0d"))
    validation_share: Share = 0.15
    test_share: Share = 0.2
    test_from: dt.date | None = None


class Model(Settings, frozen=True):
    """XGBoost's settings (tree_method is always 'hist').

    min_child_weight counts p * (1 - p) of the rows in a leaf: where frauds are one in two hundred, 1 means
    some two hundred payments, or as many frauds.  More keeps small files from learning anything.
    early_stopping: rounds without gain after which it ends; None grows all `rounds`.
    parallel_trees: trees grown in each round, of which the mean counts: steadier, and so many times slower.
    monotone: features, `*` for any characters in a name, with which the score may only go up or down.
    """

    seed: Annotated[int, Meta(ge=0, lt=1 << 31)] = 7
    rounds: Annotated[int, Meta(ge=1, le=100_000)] = 600
    early_stopping: Annotated[int, Meta(ge=1, le=100_000)] | None = 40
    max_depth: Annotated[int, Meta(ge=1, le=16)] = 5
    learning_rate: Annotated[float, Meta(ge=1e-6, le=1)] = 0.08
    min_child_weight: Annotated[float, Meta(ge=0, le=1e9)] = 1.0
    subsample: Annotated[float, Meta(ge=1e-6, le=1)] = 0.8
    colsample: Annotated[float, Meta(ge=1e-6, le=1)] = 0.6
    reg_lambda: Annotated[float, Meta(ge=0, le=1e9)] = 5.0
    positive_weight: Annotated[float, Meta(ge=1e-6, le=1e9)] = 1.0
    parallel_trees: Annotated[int, Meta(ge=1, le=64)] = 1
    monotone: dict[str, Literal["up", "down"]] = msgspec.field(default_factory=dict)
    threads: Annotated[int, Meta(ge=0, le=1024)] = 0


class Costs(Settings, frozen=True):
    """What mistakes cost, in major units of the amount's currency.

    A missed fraud costs `missed_fraud_share` of its amount and a fixed part; a review costs
    `review` and finds `review_recall` of the frauds in it; a good payment that is declined
    costs `declined_good_share` of its amount and a fixed part.
    """

    missed_fraud_share: Money = 1.0
    missed_fraud_fixed: Money = 20.0
    review: Money = 3.0
    review_recall: Share = 0.9
    declined_good_share: Money = 0.05
    declined_good_fixed: Money = 10.0


class Gate(Settings, frozen=True):
    """What a challenger must show before it takes the champion's place.

    metric: what it must be better in; the lower end of the 95 % interval of the difference must be above
    minus `tolerance`.  min_days, min_frauds: of payments with matured labels.  calibration: by which
    factor expected and seen frauds may differ beyond chance.  segment_recall_loss: recall may fall by so much
    in a segment of at least `segment_frauds` frauds.  capacity: reviews a day, as a multiple of what people
    can make.  latency: p99 of a payment, as a multiple of the champion's.  unobserved: what payments may
    cost that the champion stopped, it would approve, and nobody knows, were all of them fraud; as a share of
    the money that it saves.
    """

    metric: Literal["money_saved", "average_precision", "recall"] = "money_saved"
    tolerance: Money = 0.0
    min_days: Count = 7
    min_frauds: Count = 50
    calibration: Annotated[float, Meta(ge=1)] = 1.5
    segment_recall_loss: Share = 0.1
    segment_frauds: Count = 20
    capacity: Annotated[float, Meta(gt=0)] = 1.2
    latency: Annotated[float, Meta(ge=1)] = 1.5
    unobserved: Annotated[float, Meta(ge=0)] = 0.1


class Tracking(Settings, frozen=True):
    """Where experiments and models are kept."""

    uri: str = "sqlite:///mlflow.db"
    experiment: str = "fraud"
    model: str = "fraud-detection"


class Project(Settings, frozen=True):
    """The whole project file."""

    project: str
    schema: Schema
    history: str = "data/history.parquet"
    features: Features = Features()
    split: Split = Split()
    model: Model = Model()
    costs: Costs = Costs()
    policy: PolicySettings = PolicySettings()
    rules: tuple[RuleSettings, ...] = ()
    lists: tuple[ListSettings, ...] = ()
    decline_cap: DeclineCapSettings | None = None
    control_group: ControlGroupSettings | None = None
    gate: Gate = Gate()
    tracking: Tracking = Tracking()

    @property
    def secrets(self) -> tuple[str, ...]:
        """Return the variables of the environment that hold secrets."""
        return () if self.control_group is None else (self.control_group.key_variable,)
