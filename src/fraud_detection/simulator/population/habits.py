"""What honest people do: where, when, how and for how much a card pays.

`pay` fills in a payment from the card and the merchant; fraud starts from the same
function, which is why it overlaps with honest payments.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from fraud_detection.simulator.columns import Payments, joined
from fraud_detection.simulator.population import catalogue
from fraud_detection.simulator.population.entities import (
    ONLINE_FAVOURITES,
    SHARED_SLOT,
    STORE_FAVOURITES,
    Population,
)
from fraud_detection.simulator.population.opaque import mix
from fraud_detection.simulator.settings import DAY, HOUR, MINUTE, SECOND, Codes, Flags, Floats, Ints

SMALL = (50, 900)
"""Amounts, in cents, of honest bursts and of tested cards alike."""

_CONTACTLESS_LIMIT = 5_000
_ENTRY_ONLINE = np.asarray([catalogue.KEYED] * 7 + [catalogue.WALLET] * 6 + [catalogue.SECURE] * 7)
_PRICED, _STRIPE = 0.25, 0.06
_BURST_MEAN = 7
_MAX_TRIP_DAYS = 15
_PAY_DAYS = frozenset((25, 26, 27, 28, 29, 30, 31, 1, 2))
_SATURDAY = 5
_MEDIAN = np.log([category.median * 100 for category in catalogue.CATEGORIES])
_SIGMA = np.asarray([category.sigma for category in catalogue.CATEGORIES])


@dataclass(slots=True)
class Presence:
    """Where each card's holder is: the city, and the first day at home again."""

    city: Ints
    back: Ints

    @classmethod
    def at_home(cls, population: Population) -> Presence:
        """Return everybody at home."""
        city = population.customers.city[population.cards.customer]
        return cls(city.copy(), np.zeros(len(city), dtype=np.int64))

    def travelling(self, day: int) -> Flags:
        """Return who is away on `day`."""
        return self.back > day

    def move(self, population: Population, rng: np.random.Generator, day: int) -> None:
        """Bring home those whose trip ends, and send others off."""
        home = population.customers.city[population.cards.customer]
        draws, chance = rng.random(len(home)), population.settings.noise.trips * population.cards.trips
        self.city = np.where(self.travelling(day), self.city, home)
        leaving = np.flatnonzero(~self.travelling(day) & (draws < chance))
        cities = population.cities
        self.city[leaving] = rng.choice(len(cities.weight), len(leaving), p=cities.weight)
        self.back[leaving] = day + rng.integers(1, _MAX_TRIP_DAYS, len(leaving))


def honest_day(population: Population, rng: np.random.Generator, presence: Presence, day: int) -> Payments:
    """Return all honest payments of one day, in no particular order."""
    presence.move(population, rng, day)
    cards = _who_pays(population, rng, presence, day)
    merchants = where_to(population, rng, cards, presence, day)
    times = when(population, rng, cards, merchants, day)
    payments = pay(population, rng, cards, merchants, times)
    big = rng.random(len(cards)) < population.settings.noise.big_purchases
    payments = scaled(payments, np.where(big, rng.uniform(3, 12, len(cards)), 1.0))
    return joined([payments, _subscriptions(population, rng, day), _bursts(population, rng, day)])


def pay(
    population: Population, rng: np.random.Generator, cards: Ints, merchants: Ints, times: Ints
) -> Payments:
    """Return payments of these cards at these merchants, as their holders usually make them."""
    sellers, count = population.merchants, len(cards)
    online, category = sellers.online[merchants], sellers.category[merchants]
    amount = _typical_amount(population, rng, cards, merchants)
    latitude, longitude = _place(population, rng, cards, merchants)
    nothing, device = np.zeros(count, dtype=np.int64), np.zeros(count, dtype=np.uint64)
    device[online] = own_devices(population, rng, cards[online], times[online])
    terminal_index = (rng.random(count) * sellers.terminals[merchants]).astype(np.int64)
    channel = np.where(online, catalogue.ONLINE, np.where(category == catalogue.CASH, catalogue.ATM, 0))
    return Payments(
        time=times,
        card=cards,
        issue=nothing,
        device=device,
        merchant=merchants,
        terminal=np.where(online, -1, sellers.first_terminal[merchants] + terminal_index),
        amount=amount,
        channel=channel,
        entry=_entry(population, rng, cards, channel, amount),
        latitude=latitude,
        longitude=longitude,
        scenario=nothing,
        report=nothing,
    )


def scaled(payments: Payments, factor: Floats) -> Payments:
    """Return the payments with their amounts multiplied."""
    return replace(payments, amount=np.maximum(np.rint(payments.amount * factor), 1).astype(np.int64))


def where_to(
    population: Population, rng: np.random.Generator, cards: Ints, presence: Presence, day: int
) -> Ints:
    """Return a merchant for each card: online or near, mostly one it knows."""
    habits, count = population.cards, len(cards)
    draws = rng.random((2, count))
    online = draws[0] < habits.online[cards]
    travelling = presence.travelling(day)[cards] & ~online
    known = (draws[1] < habits.loyalty[cards]) & ~travelling
    rank = np.minimum(rng.exponential(2.2, count), 60).astype(np.int64)
    shops = habits.shops[cards, rank % ONLINE_FAVOURITES]
    stores = habits.stores[cards, rank % STORE_FAVOURITES]
    new_shops = population.shops.pick(rng, np.zeros(count, dtype=np.int64))
    new_stores = population.stores.pick(rng, presence.city[cards])
    return np.where(known, np.where(online, shops, stores), np.where(online, new_shops, new_stores))


def when(
    population: Population, rng: np.random.Generator, cards: Ints, merchants: Ints, day: Ints | int
) -> Ints:
    """Return a time of `day` that fits the trade, the card's rhythm and the weekday."""
    start = np.asarray(population.settings.epoch + day * DAY)
    weekend = weekday(start) >= _SATURDAY
    profile = catalogue.PROFILE_OF[population.merchants.category[merchants]]
    row = (profile * catalogue.RHYTHMS + population.cards.rhythm[cards]) * 2 + weekend
    draws = rng.random((2, len(cards)))
    hour = population.hours[row, (draws[0] * population.hours.shape[1]).astype(np.int64)]
    times: Ints = start + hour * HOUR + (draws[1] * HOUR).astype(np.int64)
    return times


def own_devices(population: Population, rng: np.random.Generator, cards: Ints, times: Ints) -> Codes:
    """Return a device that the card's holder uses: mostly the phone, at times one never seen before."""
    draws = rng.random(len(cards))
    slot = np.minimum(np.searchsorted((0.74, 0.92), draws), SHARED_SLOT)
    day = np.maximum(times - population.settings.epoch, 0) // DAY
    borrowed = draws < population.settings.noise.borrowed_devices
    strange = mix((draws * (1 << 62)).astype(np.uint64))
    return np.where(borrowed, strange, population.devices(cards, slot, day))


def weekday(time: Ints) -> Ints:
    """Return the weekday of times, Monday is 0 (the first day of 1970 was a Thursday)."""
    weekdays: Ints = (time // DAY + 3) % 7
    return weekdays


def _who_pays(population: Population, rng: np.random.Generator, presence: Presence, day: int) -> Ints:
    """Return one card a payment: by its own rate, the weekday, pay day, and good and bad days."""
    cards, settings = population.cards, population.settings
    monthly = float((cards.subscriptions >= 0).sum()) / len(cards.rate) / 30.4
    mean = max(settings.payments_per_card - monthly - settings.noise.bursts * _BURST_MEAN, 0.05)
    date = settings.date(day)
    season = (1.08 if date.day in _PAY_DAYS else 0.965) * (1 + 0.03 * np.sin(day / 58.0))
    busy = catalogue.WEEKDAYS[cards.rhythm, date.weekday()] * rng.gamma(2.0, 0.5, len(cards.rate))
    travelling = np.where(presence.travelling(day), 1.3, 1.0)
    return np.repeat(np.arange(len(cards.rate)), rng.poisson(cards.rate * mean * season * busy * travelling))


def _typical_amount(population: Population, rng: np.random.Generator, cards: Ints, merchants: Ints) -> Ints:
    sellers, habits = population.merchants, population.cards
    category = sellers.category[merchants]
    level = _MEDIAN[category] + sellers.price[merchants] + habits.level[cards] + habits.taste[cards, category]
    cents = np.exp(level + _SIGMA[category] * rng.normal(size=len(cards)))
    notes = np.maximum(np.rint(cents / 1000), 1) * 1000
    ends = np.where(rng.random(len(cards)) < _PRICED, np.rint(cents / 100) * 100 - 1, cents)
    amounts: Ints = np.maximum(np.rint(np.where(category == catalogue.CASH, notes, ends)), 49).astype(
        np.int64
    )
    return amounts


def _entry(
    population: Population, rng: np.random.Generator, cards: Ints, channel: Ints, amount: Ints
) -> Ints:
    """Return how the card was read: small amounts without contact, some old terminals by stripe."""
    draws = rng.random((2, len(cards)))
    touch = (draws[0] < population.cards.contactless[cards]) & (amount <= _CONTACTLESS_LIMIT)
    touch &= channel == catalogue.IN_STORE
    read = np.where(
        touch, catalogue.CONTACTLESS, np.where(draws[1] < _STRIPE, catalogue.SWIPE, catalogue.CHIP)
    )
    online = _ENTRY_ONLINE[(draws[1] * len(_ENTRY_ONLINE)).astype(np.int64)]
    return np.where(channel == catalogue.ONLINE, online, read)


def _place(
    population: Population, rng: np.random.Generator, cards: Ints, merchants: Ints
) -> tuple[Floats, Floats]:
    """Return the store's place, or online the customer's where it is known."""
    sellers, people = population.merchants, population.customers
    online, customer = sellers.online[merchants], population.cards.customer[cards]
    jitter = rng.normal(0, 0.02, (2, len(cards)))
    unknown = online & (rng.random(len(cards)) >= population.settings.noise.online_place_known)
    latitude = np.where(online, people.latitude[customer] + jitter[0], sellers.latitude[merchants])
    longitude = np.where(online, people.longitude[customer] + jitter[1], sellers.longitude[merchants])
    return np.where(unknown, np.nan, latitude), np.where(unknown, np.nan, longitude)


def _subscriptions(population: Population, rng: np.random.Generator, day: int) -> Payments:
    """Return what is collected on this day of the month."""
    habits, date = population.cards, population.settings.date(day)
    start = population.settings.epoch + day * DAY
    cards, slot = np.nonzero((habits.billing_day == date.day) & (habits.subscriptions >= 0))
    times = start + rng.integers(1 * HOUR, 9 * HOUR, len(cards))
    payments = pay(population, rng, cards, habits.subscriptions[cards, slot], times)
    return replace(
        payments,
        amount=habits.fees[cards, slot],
        device=np.zeros_like(payments.device),
        channel=np.full_like(payments.channel, catalogue.RECURRING),
        entry=np.full_like(payments.entry, catalogue.ON_FILE),
        latitude=np.full_like(payments.latitude, np.nan),
        longitude=np.full_like(payments.longitude, np.nan),
    )


def _bursts(population: Population, rng: np.random.Generator, day: int) -> Payments:
    """Return honest bursts of small payments: games, parking, a round of drinks bought one by one."""
    count = len(population.cards.rate)
    chosen = rng.integers(0, count, rng.poisson(count * population.settings.noise.bursts))
    lengths = rng.integers(3, 2 * _BURST_MEAN - 2, len(chosen))
    cards = np.repeat(chosen, lengths)
    shop = population.trades.pick(rng, np.full(len(chosen), catalogue.DIGITAL))
    merchants = np.repeat(shop, lengths)
    start = np.repeat(when(population, rng, chosen, shop, day), lengths)
    times = start + cumulative_by_run(rng.integers(20 * SECOND, 6 * MINUTE, len(cards)), lengths)
    payments = pay(population, rng, cards, merchants, times)
    payments = replace(payments, amount=rng.integers(*SMALL, len(cards)))
    return payments.pick(times < population.settings.epoch + (day + 1) * DAY)


def cumulative_by_run(gaps: Ints, lengths: Ints) -> Ints:
    """Return the running sum of gaps within each run of `lengths`, from 0 on.

    >>> cumulative_by_run(np.asarray([5, 5, 5, 5]), np.asarray([3, 1])).tolist()
    [0, 5, 10, 0]
    """
    before, runs = np.cumsum(gaps) - gaps, lengths[lengths > 0]
    within: Ints = before - np.repeat(before[np.cumsum(runs) - runs], runs)
    return within
