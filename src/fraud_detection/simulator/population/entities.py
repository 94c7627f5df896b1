"""The entities of a simulation: cities, merchants with terminals, customers with homes, cards.

All of it is drawn once, from the settings.  What people do is in `habits`; how ids
are written is in `naming`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fraud_detection.simulator.population import catalogue
from fraud_detection.simulator.population.choice import Grouped
from fraud_detection.simulator.population.opaque import combine
from fraud_detection.simulator.settings import Codes, Flags, Floats, Ints, Purpose, SimulatorSettings

CURRENCIES = ("EUR", "GBP", "CHF", "SEK")
SHARED_SLOT = 2
STORE_FAVOURITES, ONLINE_FAVOURITES, SUBSCRIPTIONS = 9, 5, 3
_ALONE, _ABROAD = 0.6, 0.25
_SOUTH, _NORTH, _WEST, _EAST = 37.0, 55.0, -8.0, 20.0
_DEVICE_SALT = 0xDE


@dataclass(frozen=True, slots=True)
class Cities:
    """Places where people live and shop; few are large."""

    latitude: Floats
    longitude: Floats
    weight: Floats
    currency: Ints


@dataclass(frozen=True, slots=True)
class Merchants:
    """Shops.  price: log of the price level; first_terminal .. + terminals: its terminals."""

    category: Ints
    online: Flags
    city: Ints
    latitude: Floats
    longitude: Floats
    price: Floats
    popularity: Floats
    first_terminal: Ints
    terminals: Ints


@dataclass(frozen=True, slots=True)
class Customers:
    """People.  Those of one household share a home, and a device.

    lifetime, age: how many days a device lasts, and how old it is on day 0, by slot.
    """

    household: Ints
    city: Ints
    latitude: Floats
    longitude: Floats
    lifetime: Ints
    age: Ints


@dataclass(frozen=True, slots=True)
class Cards:
    """Habits of a card.  rate: payments a day; level, taste: log of amounts, in all and by category."""

    customer: Ints
    rate: Floats
    level: Floats
    taste: Floats
    online: Floats
    loyalty: Floats
    contactless: Floats
    rhythm: Ints
    trips: Floats
    stores: Ints
    shops: Ints
    subscriptions: Ints
    fees: Ints
    billing_day: Ints


@dataclass(frozen=True, slots=True)
class Population:
    """Everything that stays the same from day to day.

    stores: by city; shops: all online ones, as group 0; trades: online ones by category.
    exposed: cards by how likely their number is stolen, as group 0; residents: cards by city.
    """

    settings: SimulatorSettings
    cities: Cities
    merchants: Merchants
    customers: Customers
    cards: Cards
    stores: Grouped
    shops: Grouped
    trades: Grouped
    exposed: Grouped
    residents: Grouped
    hours: Ints

    def devices(self, cards: Ints, slot: Ints, day: Ints) -> Codes:
        """Return the device in a slot of the card's customer on `day`; 2 is shared by the household."""
        customer = self.cards.customer[cards]
        shared = slot >= SHARED_SLOT
        owner = np.where(shared, self.customers.household[customer] + (1 << 40), customer)
        keeper = np.where(shared, self.customers.household[customer], customer)
        lifetime, age = self.customers.lifetime[keeper, slot], self.customers.age[keeper, slot]
        return combine(_DEVICE_SALT + self.settings.seed, owner, slot, (day + age) // lifetime)


def make_population(settings: SimulatorSettings) -> Population:
    """Draw the population that the settings describe."""
    cities = _cities(settings)
    merchants = _merchants(settings, cities)
    customers = _customers(settings, cities)
    stores, shops = _stores(merchants), _shops(merchants)
    cards = _cards(settings, customers, merchants, stores, shops)
    trade = np.where(merchants.online, merchants.category, len(catalogue.NAMES))
    return Population(
        settings=settings,
        cities=cities,
        merchants=merchants,
        customers=customers,
        cards=cards,
        stores=stores,
        shops=shops,
        trades=Grouped(trade, merchants.popularity),
        exposed=Grouped(np.zeros_like(cards.customer), np.sqrt(cards.rate)),
        residents=Grouped(customers.city[cards.customer], np.ones(settings.cards)),
        hours=catalogue.hour_table(),
    )


def _stores(merchants: Merchants) -> Grouped:
    no_city = int(merchants.city.max()) + 1
    return Grouped(np.where(merchants.online, no_city, merchants.city), merchants.popularity)


def _shops(merchants: Merchants) -> Grouped:
    open_to_all = merchants.online & (merchants.category < catalogue.SUBSCRIPTION)
    return Grouped(np.where(open_to_all, 0, 1), merchants.popularity)


def _cities(settings: SimulatorSettings) -> Cities:
    rng = settings.generator(Purpose.CITIES)
    count = int(np.clip(settings.merchants // 60, 3, 40))
    longitude = rng.uniform(_WEST, _EAST, count)
    abroad = rng.random(count) < _ABROAD
    abroad[:2] = (False, True)
    weight = rng.pareto(1.5, count) + 0.3
    weight[0] = max(weight.max(), 1.0)
    currency = np.where(abroad, rng.integers(1, len(CURRENCIES), count), 0)
    return Cities(rng.uniform(_SOUTH, _NORTH, count), longitude, weight / weight.sum(), currency)


def _merchants(settings: SimulatorSettings, cities: Cities) -> Merchants:
    rng = settings.generator(Purpose.MERCHANTS)
    count = settings.merchants
    category, online = _trades(rng, count, len(cities.weight))
    city = rng.choice(len(cities.weight), count, p=cities.weight)
    stores = np.flatnonzero(~online)[: len(cities.weight)]
    city[stores] = np.arange(len(stores))
    popularity = np.minimum(rng.pareto(1.3, count) + 0.15, 40.0)
    terminals = np.where(online, 0, np.clip(popularity * 1.2 + 0.6, 1, 12)).astype(np.int64)
    return Merchants(
        category=category,
        online=online,
        city=city,
        latitude=cities.latitude[city] + rng.normal(0, 0.05, count),
        longitude=cities.longitude[city] + rng.normal(0, 0.07, count),
        price=rng.normal(0, 0.3, count),
        popularity=popularity,
        first_terminal=np.cumsum(terminals) - terminals,
        terminals=terminals,
    )


def _trades(rng: np.random.Generator, count: int, cities: int) -> tuple[Ints, Flags]:
    """Return each merchant's trade, and whether it is online; the first ones make sure that all exist."""
    share = np.asarray([category.share for category in catalogue.CATEGORIES])
    trade, kinds = rng.choice(len(share), count, p=share / share.sum()), len(share)
    online = rng.random(count) < np.asarray([category.online for category in catalogue.CATEGORIES])[trade]
    trade[:kinds], online[:kinds] = np.arange(kinds), True
    trade[kinds : 2 * kinds], online[kinds : 2 * kinds] = catalogue.GROCERY, False
    trade[2 * kinds : 2 * kinds + max(2, cities // 4)] = catalogue.CASH
    return trade, online & (trade != catalogue.CASH)


def _customers(settings: SimulatorSettings, cities: Cities) -> Customers:
    rng = settings.generator(Purpose.CUSTOMERS)
    count = max(1, round(settings.cards * 0.85))
    alone = (rng.random(count) < _ALONE).astype(np.int64)
    household = np.cumsum(alone) - alone[0]
    homes = int(household[-1]) + 1
    home_weight = np.where(cities.currency == 0, cities.weight, 0.0)
    city = rng.choice(len(cities.weight), homes, p=home_weight / home_weight.sum())
    latitude = cities.latitude[city] + rng.normal(0, 0.06, homes)
    longitude = cities.longitude[city] + rng.normal(0, 0.09, homes)
    lifetime = rng.integers(120, 900, (count, SHARED_SLOT + 1))
    age = rng.integers(0, 900, (count, SHARED_SLOT + 1))
    return Customers(household, city[household], latitude[household], longitude[household], lifetime, age)


def _cards(
    settings: SimulatorSettings, customers: Customers, merchants: Merchants, stores: Grouped, shops: Grouped
) -> Cards:
    rng = settings.generator(Purpose.CARDS)
    count, people = settings.cards, len(customers.city)
    customer = np.concatenate([np.arange(people), rng.integers(0, people, count - people)])
    activity = rng.lognormal(0, 0.9, count)
    home = np.repeat(customers.city[customer], STORE_FAVOURITES)
    subscriptions = _subscriptions(rng, count, merchants)
    return Cards(
        customer=customer,
        rate=activity / activity.mean(),
        level=rng.normal(0, 0.4, count),
        taste=rng.normal(0, 0.3, (count, len(catalogue.NAMES))),
        online=rng.beta(1.6, 3.4, count),
        loyalty=rng.beta(5, 2.2, count),
        contactless=rng.beta(4, 2, count),
        rhythm=rng.choice(catalogue.RHYTHMS, count, p=(0.62, 0.13, 0.25)),
        trips=rng.gamma(0.7, 1 / 0.7, count),
        stores=stores.pick(rng, home).reshape(count, STORE_FAVOURITES),
        shops=shops.pick(rng, np.zeros(count * ONLINE_FAVOURITES, dtype=np.int64)).reshape(
            count, ONLINE_FAVOURITES
        ),
        subscriptions=subscriptions,
        fees=_fees(rng, subscriptions, merchants),
        billing_day=rng.integers(1, 29, (count, SUBSCRIPTIONS)),
    )


def _subscriptions(rng: np.random.Generator, count: int, merchants: Merchants) -> Ints:
    """Return what each card pays every month, -1 for an empty slot."""
    sellers = np.flatnonzero(merchants.online & (merchants.category >= catalogue.SUBSCRIPTION))
    chosen = rng.choice(sellers, (count, SUBSCRIPTIONS))
    return np.where(rng.random((count, SUBSCRIPTIONS)) < (0.7, 0.4, 0.2), chosen, -1)


def _fees(rng: np.random.Generator, subscriptions: Ints, merchants: Merchants) -> Ints:
    """Return the monthly amounts, in cents: the seller's price list, or what was used."""
    median = np.asarray([c.median for c in catalogue.CATEGORIES])[merchants.category[subscriptions]]
    price = median * np.exp(merchants.price[subscriptions] + rng.normal(0, 0.3, subscriptions.shape))
    fees: Ints = np.maximum(np.round(price) * 100 - 1, 199).astype(np.int64)
    return fees
