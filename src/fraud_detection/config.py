"""The project file, params.yaml, as one typed value, decoded once at the edge.

It says which fields of an event mean what (`schema`), which features to make of
them (`features`), how to train (`split`, `model`), what mistakes cost (`costs`)
and how to answer (`policy`, `rules`).  Unknown keys and wrong values are refused
with their path.  DVC reads the same file as its parameters.
"""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from fraud_detection.errors import ConfigError
from fraud_detection.strict import Duration, decode, read_yaml

Name = Annotated[str, Meta(pattern="^[a-z][a-z0-9_]*$")]
Share = Annotated[float, Meta(ge=0, le=1)]
Count = Annotated[int, Meta(ge=1)]
Money = Annotated[float, Meta(ge=0)]
Statistic = Literal["count", "sum", "mean", "min", "max", "std", "zscore", "ratio"]


class Settings(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A block of settings that refuses keys it does not know."""


class FieldSource(Settings):
    """Where a value stands in an event: its field, and other names that it goes by."""

    field: str
    aliases: tuple[str, ...] = ()


class IdSource(Settings):
    """The transaction's id; without a field, rows are numbered and streams hash the event."""

    field: str | None = None
    aliases: tuple[str, ...] = ()


class EntitySource(FieldSource):
    """An id that payments share: a card, a terminal, a device.  Optional ones may be missing."""

    required: bool = False


class TimeParts(Settings):
    """A date that stands in pieces; months and weekdays as numbers or English names."""

    year: str
    month: str
    day: str | None = None
    week_of_month: str | None = None
    day_of_week: str | None = None


class TimeSource(Settings):
    """The time of the payment, and how it is written.

    format: 'auto' reads ISO 8601 dates and times and epoch seconds, milliseconds,
    microseconds; 'number' counts `unit`s since `origin`; anything with a % is a strptime
    pattern.  Times without an offset are in `utc_offset_hours`.
    """

    field: str | None = None
    aliases: tuple[str, ...] = ()
    parts: TimeParts | None = None
    format: str = "auto"
    unit: Literal["s", "m", "h", "d"] = "s"
    origin: dt.date = dt.date(1970, 1, 1)
    utc_offset_hours: Annotated[float, Meta(ge=-14, le=14)] = 0.0
    earliest: dt.date = dt.date(1980, 1, 1)
    latest: dt.date = dt.date(2100, 1, 1)


class AmountSource(FieldSource):
    """The amount of money, in major units with `decimals` digits kept.

    minimum and maximum bound what is possible; None means no bound.
    """

    decimals: Annotated[int, Meta(ge=0, le=6)] = 2
    minimum: float | None = 0.0
    maximum: float | None = 1e12


class PlaceSource(Settings):
    """Where the payment took place, in degrees."""

    latitude: str
    longitude: str


class LabelSource(Settings):
    """The truth about past payments, and when it becomes known.

    positive, negative: the values that mean fraud and legitimate, compared as text;
    anything else, and an empty value, means that the label is not known.
    known_at: a field with the time the label became known; without one, event time + `delay`.
    """

    field: str = "is_fraud"
    positive: tuple[str, ...] = ("1", "1.0", "true", "yes")
    negative: tuple[str, ...] = ("0", "0.0", "false", "no")
    known_at: str | None = None
    delay: Duration = msgspec.field(default_factory=lambda: Duration.parse("7d"))


class Schema(Settings):
    """What the fields of an event mean.  Anything else in an event is ignored and counted.

    The first entity orders the stream: its payments are decided one after another.
    """

    event_time: TimeSource
    transaction_id: IdSource = IdSource()
    amount: AmountSource | None = None
    entities: dict[Name, EntitySource] = {}
    numbers: dict[Name, FieldSource] = {}
    categories: dict[Name, FieldSource] = {}
    place: PlaceSource | None = None
    label: LabelSource | None = None
    sent_at: str | None = None
    ignored: tuple[str, ...] = ()


class EntityFeatures(Settings):
    """The memory kept of one kind of entity, and the features made of it.

    statistics over each of `windows` of the amount; distinct: other entities counted over
    windows; first_seen: other entities whose first payment with this one is flagged;
    risk: windows over confirmed labels, from the moment each became known.
    """

    windows: tuple[Duration, ...] = ()
    statistics: tuple[Statistic, ...] = ("count", "sum", "mean", "std", "max")
    distinct: dict[Name, tuple[Duration, ...]] = {}
    first_seen: tuple[Name, ...] = ()
    since_last: bool = True
    speed: bool = False
    risk: tuple[Duration, ...] = ()


class Features(Settings):
    """Which features to make.  Memory per entity is bounded by `panes` and `neighbours`.

    panes: a window is cut into so many equal panes; it forgets a pane at a time.
    neighbours: how many other ids an entity remembers for distinct counts and first_seen.
    vocabulary: how many values of a category get a code of their own.
    night: from and until which hour it is night, in local hours of the event's offset.
    """

    entities: dict[Name, EntityFeatures] = {}
    calendar: tuple[Literal["hour", "weekday", "night"], ...] = ("hour", "weekday", "night")
    night: tuple[int, int] = (22, 6)
    panes: Annotated[int, Meta(ge=2, le=1000)] = 24
    neighbours: Annotated[int, Meta(ge=1, le=4096)] = 64
    vocabulary: Annotated[int, Meta(ge=1, le=10000)] = 200


class Split(Settings):
    """How history is cut by time: train | gap | validation | gap | test.

    A gap is as long as the label delay.  test_from: the first day of the test slice, instead of a share.
    warm_up: the first part of history fills the windows and is not learned from.
    """

    warm_up: Duration = msgspec.field(default_factory=lambda: Duration.parse("0d"))
    validation_share: Share = 0.15
    test_share: Share = 0.2
    test_from: dt.date | None = None


class Model(Settings):
    """XGBoost's settings (tree_method is always 'hist')."""

    seed: int = 7
    rounds: Count = 600
    early_stopping: Count = 40
    max_depth: Annotated[int, Meta(ge=1, le=16)] = 5
    learning_rate: Annotated[float, Meta(gt=0, le=1)] = 0.08
    min_child_weight: float = 5.0
    subsample: Annotated[float, Meta(gt=0, le=1)] = 0.8
    colsample: Annotated[float, Meta(gt=0, le=1)] = 0.6
    reg_lambda: float = 5.0
    positive_weight: Annotated[float, Meta(gt=0)] = 1.0
    threads: Annotated[int, Meta(ge=0)] = 0


class Costs(Settings):
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


class PolicySettings(Settings):
    """How scores become answers.  Cut-offs that are not given are chosen by money in training.

    review_capacity_per_day: payments that people can look at in a day; None means no limit.
    """

    name: str = "by-money"
    review_at: Share | None = None
    decline_at: Share | None = None
    review_capacity_per_day: float | None = None
    reasons: Annotated[int, Meta(ge=1, le=10)] = 3


class RuleSettings(Settings):
    """A named condition on the payment and its features; when it holds, at least `action`."""

    name: Name
    when: str
    action: Literal["review", "decline"]
    words: str = ""


class Tracking(Settings):
    """Where experiments and models are kept."""

    uri: str = "sqlite:///mlflow.db"
    experiment: str = "fraud"
    model: str = "fraud-detection"


class Project(Settings):
    """The whole project file.

    >>> decode({"project": "p", "schema": {"event_time": {"fields": "t"}}}, Project, "params.yaml")
    Traceback (most recent call last):
    ...
    fraud_detection.errors.ConfigError: params.yaml: Object contains unknown field `fields` - at \
`$.schema.event_time` (did you mean `field`?); allowed here: field, aliases, parts, format, unit, origin, \
utc_offset_hours, earliest, latest
    """

    project: str
    schema: Schema
    history: str = "data/history.parquet"
    features: Features = Features()
    split: Split = Split()
    model: Model = Model()
    costs: Costs = Costs()
    policy: PolicySettings = PolicySettings()
    rules: tuple[RuleSettings, ...] = ()
    tracking: Tracking = Tracking()


def load_project(path: Path) -> Project:
    """Read and check the project file; raise ConfigError with the path of what is wrong."""
    project = decode(read_yaml(path), Project, str(path))
    for problem in _contradictions(project):
        message = f"{path}: {problem}"
        raise ConfigError(message)
    return project


def _contradictions(project: Project) -> list[str]:
    schema, features = project.schema, project.features
    known = ", ".join(schema.entities) or "none"
    problems = []
    if (schema.event_time.field is None) == (schema.event_time.parts is None):
        problems.append("give either `field` or `parts` - at `$.schema.event_time`")
    for name, entity in features.entities.items():
        where = f"at `$.features.entities.{name}`"
        if name not in schema.entities:
            problems.append(f"no entity `{name}` in the schema (there are: {known}) - {where}")
        for other in {*entity.distinct, *entity.first_seen}:
            if other not in schema.entities or other == name:
                problems.append(f"`{other}` is not another entity (there are: {known}) - {where}")
        if entity.speed and schema.place is None:
            problems.append(f"speed needs `schema.place` - {where}")
        if entity.risk and schema.label is None:
            problems.append(f"risk needs `schema.label` - {where}")
        windows = [*entity.windows, *entity.risk, *(w for spans in entity.distinct.values() for w in spans)]
        problems += [
            f"a window of {window} cannot be cut into {features.panes} panes of whole milliseconds - {where}"
            for window in windows
            if window.ms == 0 or window.ms % features.panes
        ]
    names = [*schema.entities, *schema.numbers, *schema.categories]
    problems += [
        f"the name `{name}` is used twice - at `$.schema`" for name in set(names) if names.count(name) > 1
    ]
    review, decline = project.policy.review_at, project.policy.decline_at
    if (review is None) != (decline is None):
        problems.append("give both `review_at` and `decline_at`, or neither - at `$.policy`")
    if review is not None and decline is not None and review > decline:
        problems.append(f"need review_at <= decline_at, got {review} > {decline} - at `$.policy`")
    return problems
