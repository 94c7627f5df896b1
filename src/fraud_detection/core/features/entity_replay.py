"""Replay history entity by entity, each alone: the same features as `replay`, without its one order.

Why the values are equal to the bit.  An entity's features read the profile of that entity and the payment,
nothing else, and a profile changes by the payments and labels of its entity alone.  So each entity needs its
own events, in the order in which `Replay` applies them: payments in the order of history; a label before the
first payment, of any entity, whose time has reached the moment from which it is available, though never
before the payment that it is about.  Of two labels that wait for the same payment, the one that is available
earlier comes first, then the one of the earlier payment.

That order needs no look at other entities.  Payments are sorted by time and position.  A label that is
available later than its own payment, at a, comes before every payment of time a or later and after every
earlier one: it is sorted as (a, -1), with its payment's position behind.  One that is available no later
than its own payment comes directly after that payment.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import msgspec

from fraud_detection.core.errors import NOT_OF_ONE_EVENT
from fraud_detection.core.events import Transaction
from fraud_detection.core.features.extract import EntityExtractor, entity_keys
from fraud_detection.core.features.profile import Profile
from fraud_detection.core.features.replay import HistoricalPayment, PendingLabel, pending_labels

BEFORE_PAYMENTS = -1


class Order(NamedTuple):
    """Sorts the events of one entity."""

    time: int
    position: int
    rank: int = 0
    number: int = 0


class EntityPayment(msgspec.Struct, frozen=True, gc=False, tag="p", array_like=True):
    """What an entity's features need of a payment, beside its time and position.

    keys: checksums of the ids of all its entities, see `entity_keys`.
    """

    amount: int | None
    place: tuple[float, float] | None
    keys: list[int]


class EntityLabel(msgspec.Struct, frozen=True, gc=False, tag="l", array_like=True):
    """A label of a payment of the entity, see `PendingLabel`."""

    fraud: bool
    known_at: int
    supersedes_known_at: int | None


EntityEvent = EntityPayment | EntityLabel


class EntityRow(NamedTuple):
    """The features of one payment that are those of one entity; no values where extraction raised `error`."""

    time: int
    position: int
    values: list[float]
    error: Exception | None = None


def events_of(historical: HistoricalPayment, position: int) -> list[tuple[Order, EntityEvent]]:
    """Return what a payment and its labels change in each of the payment's entities.

    position: that of the payment in history, among payments of the same time.
    """
    payment = historical.payment
    time = payment.event_time
    event = EntityPayment(payment.amount, payment.place, entity_keys(payment))
    events: list[tuple[Order, EntityEvent]] = [(Order(time, position), event)]
    for rank, label in enumerate(sorted(pending_labels(historical, 0)), start=1):
        if label.available_from > time:
            order = Order(label.available_from, BEFORE_PAYMENTS, position, label.number)
        else:
            order = Order(time, position, rank)
        events.append((order, _label(label)))
    return events


def _label(pending: PendingLabel) -> EntityLabel:
    return EntityLabel(pending.fraud, pending.known_at, pending.supersedes_known_at)


def replay_entity(
    extractor: EntityExtractor, events: Iterable[tuple[int, int, EntityEvent]]
) -> Iterator[EntityRow]:
    """Yield the features of an entity's payments; its events are (time, position, event), in their order."""
    profile = Profile(extractor.plan)
    for time, position, event in events:
        if isinstance(event, EntityLabel):
            if event.supersedes_known_at is not None:
                profile.subtract_label(event.supersedes_known_at, 0 if event.fraud else 1)
            profile.add_label(event.known_at, 1 if event.fraud else 0)
            continue
        payment = Transaction("", time, event.amount, place=event.place)
        values: list[float] = []
        error: Exception | None = None
        try:
            extractor.read(profile, payment, event.keys, values)
        except NOT_OF_ONE_EVENT:
            raise
        except Exception as raised:  # noqa: BLE001 - as in `replay`: its payment has no features
            values, error = [], raised
        extractor.update(profile, payment, event.keys)
        yield EntityRow(time, position, values, error)
