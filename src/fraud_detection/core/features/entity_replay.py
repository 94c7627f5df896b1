"""Replay history entity by entity, each alone: the same features as `replay`, without its one order.

Why the values are equal to the bit.  An entity's features read the profile of that entity and the payment,
nothing else, and a profile changes by the payments and labels of its entity alone.  `Replay` applies a label
before the first payment, of any entity, that comes after its own payment and whose time has reached the
moment from which the label is available.  Payments are in order of time, so that is before the first payment
of the same entity for which both holds: what lies between are payments of others.

Of two labels that wait for the same payment of the entity, `Replay` may apply the one that is available later
first, where the other was available before its own payment was made.  A profile does not tell the two orders
apart: it is a function of the set of what was added (`profile.py`), and a label is only taken back after it
was added, by a later one of the same payment.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import msgspec

from fraud_detection.core.errors import NOT_OF_ONE_EVENT
from fraud_detection.core.events import Transaction
from fraud_detection.core.features.extract import EntityExtractor, entity_keys
from fraud_detection.core.features.profile import Profile
from fraud_detection.core.features.replay import HistoricalPayment, pending_labels


class EntityLabel(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """A label of a payment, see `PendingLabel`."""

    available_from: int
    fraud: bool
    known_at: int
    supersedes_known_at: int | None


class EntityPayment(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """What an entity's features need of a payment, beside its time.

    keys: checksums of the ids of all its entities, see `entity_keys`.  labels: in the order in which they
    became known.
    """

    amount: int | None
    place: tuple[float, float] | None
    keys: list[int]
    labels: list[EntityLabel]


class EntityRow(NamedTuple):
    """The features of one payment that are those of one entity; none where extraction raised `error`."""

    values: list[float]
    error: Exception | None = None


def entity_payment(historical: HistoricalPayment) -> EntityPayment:
    """Return what the features of each entity need of a payment."""
    payment = historical.payment
    labels = [
        EntityLabel(label.available_from, label.fraud, label.known_at, label.supersedes_known_at)
        for label in pending_labels(historical, 0)
    ]
    return EntityPayment(payment.amount, payment.place, entity_keys(payment), labels)


def replay_entity(
    extractor: EntityExtractor, payments: Iterable[tuple[int, EntityPayment]]
) -> Iterator[EntityRow]:
    """Yield the features of an entity's payments, which are given with their times, in order of history."""
    profile, seen = Profile(extractor.plan), 0
    pending: list[tuple[int, int, EntityLabel]] = []
    for time, event in payments:
        while pending and pending[0][0] <= time:
            apply_label(heapq.heappop(pending)[2], profile)
        yield replay_payment(extractor, profile, time, event)
        for label in event.labels:
            heapq.heappush(pending, (label.available_from, seen, label))
            seen += 1


def apply_label(label: EntityLabel, profile: Profile) -> None:
    """Add a label to a profile, and take back the one that it supersedes."""
    if label.supersedes_known_at is not None:
        profile.subtract_label(label.supersedes_known_at, 0 if label.fraud else 1)
    profile.add_label(label.known_at, 1 if label.fraud else 0)


def replay_payment(
    extractor: EntityExtractor, profile: Profile, time: int, event: EntityPayment
) -> EntityRow:
    """Return the features of a payment at a time in ms, then update the profile, also where they fail."""
    payment, values = Transaction("", time, event.amount, place=event.place), list[float]()
    try:
        extractor.read(profile, payment, event.keys, values)
    except NOT_OF_ONE_EVENT:
        raise
    except Exception as error:  # noqa: BLE001 - as in `replay`: the payment has no features
        return EntityRow([], error)
    finally:
        extractor.update(profile, payment, event.keys)
    return EntityRow(values)
