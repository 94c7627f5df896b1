"""The only feature code: compute the features of a payment from its profiles, then update the profiles.

`Extractor.extract` reads the profiles as they were before the payment and changes
nothing; `Extractor.update` adds it; `Extractor.apply_label` adds a label at the time it became
known.  Live services and the replay of history call the same three.

A window is read at the payment's own event time.  When a late payment is decided, later payments of its
entity are known already and count too, up to `features.allowed_lateness` after it; payments dated later than
that come from a wrong clock and are left out.
"""

from __future__ import annotations

import math
import struct
import zlib
from typing import Final, get_args

from fraud_detection.core.errors import ConfigError
from fraud_detection.core.events import FeatureDefinition, Transaction
from fraud_detection.core.features import names as feature_names
from fraud_detection.core.features.geography import speed_kmh
from fraud_detection.core.features.payment_extract import PaymentExtractor
from fraud_detection.core.features.profile import Profile, ProfilePlan
from fraud_detection.core.features.windows import Aggregate, read_each
from fraud_detection.core.project_schema import EntityFeatures, Project, Statistic

NAN: Final = math.nan

STATISTICS: Final[tuple[str, ...]] = get_args(Statistic)
COUNT: Final = 0  # their indices in STATISTICS: compiled code compares whole numbers
SUM: Final = 1
MEAN: Final = 2
MIN: Final = 3
MAX: Final = 4
STD: Final = 5
ZSCORE: Final = 6
RATIO: Final = 7


class EntityExtractor:
    """Reads and updates the profiles of one kind of entity.

    index: the entity's position in `Transaction.entities`.  others: the positions of the entities
    whose ids its profile keeps.
    """

    def __init__(self, name: str, project: Project) -> None:
        """Lay out the profile and the features of the entity `name`."""
        settings: EntityFeatures = project.features.entities[name]
        positions = list(project.schema.entities)
        related = sorted({*settings.distinct, *settings.first_seen}, key=positions.index)
        self.name: str = name
        self.index: int = positions.index(name)
        self.others: list[int] = [positions.index(entity) for entity in related]
        self.distinct: list[list[int]] = [
            [w.ms for w in settings.distinct.get(entity, ())] for entity in related
        ]
        self.first_seen: list[bool] = [entity in settings.first_seen for entity in related]
        self.statistics: list[int] = _statistics(settings, has_amount=project.schema.amount is not None)
        self.time_since_last: bool = settings.time_since_last
        self.speed: bool = settings.speed
        self.allowed_lateness_ms: int = project.features.allowed_lateness.ms
        self.scale: float = 10.0 ** (project.schema.amount.decimals if project.schema.amount else 0)
        self.plan: ProfilePlan = ProfilePlan(
            [window.ms for window in settings.windows],
            [window.ms for window in settings.risk],
            len(related),
            project.features.buckets,
            project.features.max_distinct_ids,
        )
        self.definitions: list[FeatureDefinition] = feature_names.entity_features(
            name, settings, related, [STATISTICS[code] for code in self.statistics]
        )
        self.width: int = len(self.definitions)
        max_windows = max(len(self.plan.windows), len(self.plan.risk))
        self.scratch: list[Aggregate] = [Aggregate() for _ in range(max_windows)]

    def read(self, profile: Profile | None, payment: Transaction, keys: list[int], row: list[float]) -> None:
        """Append this entity's features to `row`; all are NaN when the payment names no such entity.

        keys: the checksums of the payment's entities, see `entity_keys`.
        """
        if profile is None:
            for _ in range(self.width):
                row.append(NAN)
            return
        time_ms: int = payment.event_time
        until = time_ms + self.allowed_lateness_ms
        amount = payment.amount
        value: float = NAN if amount is None else amount / self.scale
        read_each(profile.windows, time_ms, until, self.scratch)
        for index in range(len(profile.windows)):
            self._read_window(self.scratch[index], value, row)
        if self.time_since_last:
            last = profile.payment_times.until(until)
            row.append(max(time_ms - last, 0) / 1000 if last >= 0 else NAN)
        if self.speed:
            row.append(speed_kmh(profile.place_until(until), time_ms, payment.place))
        self._read_distinct_ids(profile, keys, time_ms, row)
        read_each(profile.risk, time_ms, until, self.scratch)
        for index in range(len(profile.risk)):
            aggregate = self.scratch[index]
            row.append(float(aggregate.total))
            row.append(aggregate.total / aggregate.count if aggregate.count > 0 else NAN)

    def update(self, profile: Profile, payment: Transaction, keys: list[int]) -> None:
        """Add the payment to the profile."""
        time_ms: int = payment.event_time
        amount = payment.amount
        profile.add_payment(time_ms, 0 if amount is None else amount)
        if self.speed and payment.place is not None:
            place: tuple[float, float] = payment.place
            profile.add_place(time_ms, place[0], place[1])
        for slot, index in enumerate(self.others):
            if keys[index] >= 0:
                profile.distinct_ids[slot].add(time_ms, keys[index])

    def _read_window(self, aggregate: Aggregate, value: float, row: list[float]) -> None:
        for statistic in self.statistics:
            if statistic == COUNT:
                row.append(float(aggregate.count))
            elif statistic == SUM:
                row.append(aggregate.total / self.scale)
            elif aggregate.count == 0:
                row.append(NAN)
            else:
                row.append(window_statistic(statistic, aggregate, value, self.scale))

    def _read_distinct_ids(self, profile: Profile, keys: list[int], now: int, row: list[float]) -> None:
        for slot, index in enumerate(self.others):
            distinct_ids = profile.distinct_ids[slot]
            if len(self.distinct[slot]) > 0:
                for count in distinct_ids.since_each(self._begins(slot, now)):
                    row.append(float(count))
            if self.first_seen[slot]:
                if keys[index] < 0:
                    row.append(NAN)
                else:
                    row.append(0.0 if distinct_ids.knows(keys[index]) else 1.0)

    def _begins(self, slot: int, now: int) -> list[int]:
        """Return the last ms before each of the windows in which distinct ids are counted."""
        # The same buckets as those of the windows over payments, so that both cover the same payments.
        count = self.plan.bucket_count
        widths = [length // count for length in self.distinct[slot]]
        return [(now // width - count + 1) * width - 1 for width in widths]


class Extractor:
    """All features of a project, in a fixed order.

    `profiles` is always one profile for each of `entities`, in that order; None where the
    payment names no such entity.
    """

    def __init__(self, project: Project, category_encoding: dict[str, dict[str, float]]) -> None:
        """Build the extractors; `category_encoding` maps category -> value -> share of training payments."""
        self.entities: list[EntityExtractor] = [
            EntityExtractor(name, project)
            for name in project.schema.entities
            if name in project.features.entities
        ]
        self.payment: PaymentExtractor = PaymentExtractor(project, category_encoding)
        self.definitions: list[FeatureDefinition] = list(self.payment.definitions)
        for entity in self.entities:
            self.definitions += entity.definitions
        _check_unique_names([definition.name for definition in self.definitions])
        # Of the values, as bytes: an array made of a list would ask for the type of each of them.
        self.packed = struct.Struct(f"{len(self.definitions)}d").pack

    def extract(self, profiles: list[Profile | None], payment: Transaction) -> list[float]:
        """Return the feature values, in the order of `definitions`, before the payment is added."""
        row: list[float] = []
        keys = entity_keys(payment)
        self.payment.read(payment, row)
        for position, entity in enumerate(self.entities):
            entity.read(profiles[position], payment, keys, row)
        return row

    def update(self, profiles: list[Profile | None], payment: Transaction) -> None:
        """Add the payment to every profile."""
        keys = entity_keys(payment)
        for position, entity in enumerate(self.entities):
            profile = profiles[position]
            if profile is not None:
                entity.update(profile, payment, keys)

    def apply_label(
        self,
        profiles: list[Profile | None],
        known_at: int,
        *,
        fraud: bool,
        supersedes_known_at: int | None = None,
    ) -> None:
        """Add a label to every profile, at the moment it became known.

        supersedes_known_at: when the label that it supersedes became known, None where there
        is none.
        """
        for profile in profiles:
            if profile is not None:
                if supersedes_known_at is not None:
                    profile.subtract_label(supersedes_known_at, 0 if fraud else 1)
                profile.add_label(known_at, 1 if fraud else 0)


def entity_keys(payment: Transaction) -> list[int]:
    """Return a 32-bit checksum of each entity's id, the same in every process; -1 where there is none."""
    keys: list[int] = []
    ids: tuple[str | None, ...] = payment.entities
    for entity_id in ids:
        keys.append(-1 if entity_id is None else zlib.crc32(entity_id.encode()))
    return keys


def _check_unique_names(names: list[str]) -> None:
    for index, name in enumerate(names):
        if name in names[:index]:
            raise ConfigError(
                f"two features would be called `{name}`: give the attribute of that name another one, in "
                "`$.schema.numbers` or `$.schema.categories`"
            )


def deviation(aggregate: Aggregate) -> float:
    """Return the population standard deviation; the integers under the root cannot cancel badly."""
    count = aggregate.count
    return math.sqrt(max(count * aggregate.squares - aggregate.total * aggregate.total, 0)) / count


def window_statistic(statistic: int, aggregate: Aggregate, value: float, scale: float) -> float:
    """Return one of `STATISTICS` over a window of at least one payment; NaN where it is not defined.

    value: the amount of the current payment.  scale: minor units in a major one.
    """
    count = aggregate.count
    total = aggregate.total / scale
    result = NAN
    if statistic == MEAN:
        result = total / count
    elif statistic == MIN:
        result = aggregate.low / scale
    elif statistic == MAX:
        result = aggregate.high / scale
    elif statistic == STD:
        result = deviation(aggregate) / scale
    elif statistic == ZSCORE:
        std = deviation(aggregate) / scale
        if std > 0.0:
            result = (value - total / count) / std
    elif statistic == RATIO and total > 0.0:
        result = value * count / total
    return result


def _statistics(settings: EntityFeatures, *, has_amount: bool) -> list[int]:
    return [STATISTICS.index(name) for name in settings.statistics if has_amount or name == "count"]
