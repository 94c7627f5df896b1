"""Where an episode of fraud begins: the population, a day, and what fraudsters use of both."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from fraud_detection.simulator.population import catalogue
from fraud_detection.simulator.population.habits import Presence, cumulative_by_run, pay, when
from fraud_detection.simulator.population.opaque import mix
from fraud_detection.simulator.settings import DAY, HOUR, Ints

if TYPE_CHECKING:
    from fraud_detection.simulator.columns import Payments
    from fraud_detection.simulator.population.entities import Population

Shopping = Callable[[int], Ints]
"""Returns so many merchants."""

_HIDDEN, _KEYED, _FLED = 0.3, 0.8, 0.4


@dataclass(frozen=True, slots=True)
class Scene:
    """Where an episode begins: the population, its day, and a random generator."""

    population: Population
    rng: np.random.Generator
    presence: Presence
    day: int

    def clock(self, first: int, last: int) -> int:
        """Return a moment of the day between two hours."""
        start = self.population.settings.epoch + self.day * DAY
        return start + int(self.rng.integers(first * HOUR, last * HOUR))

    def victims(self, count: int) -> Ints:
        """Return cards whose numbers were stolen; the more a card is used, the likelier."""
        return self.population.exposed.pick(self.rng, np.zeros(count, dtype=np.int64))

    def residents(self, city: int, count: int) -> Ints:
        """Return cards of people who live in a city, of anybody where nobody lives."""
        cards = self.population.residents.pick(self.rng, np.full(count, city))
        home = self.population.customers.city[self.population.cards.customer[cards]]
        return np.where(home == city, cards, self.victims(count))

    def sellers(self, trades: tuple[int, ...]) -> Shopping:
        """Return a way to choose online merchants of the given trades."""
        return lambda count: self.population.trades.pick(self.rng, self.rng.choice(trades, count))

    def stores(self, card: int) -> Shopping:
        """Return a way to choose stores in the city where the card's holder is, or where the thief went."""
        cities = self.population.cities.weight
        fled = self.rng.random() < _FLED
        city = self.rng.choice(len(cities), p=cities) if fled else self.presence.city[card]
        return lambda count: self.population.stores.pick(self.rng, np.full(count, city))

    def spree(
        self, cards: Ints, lengths: Ints, begin: Ints, gaps: tuple[int, int], shopping: Shopping
    ) -> Payments:
        """Return runs of payments, one run a card, from its `begin` on and with gaps in between."""
        owners = np.repeat(cards, lengths)
        pauses = self.rng.integers(*gaps, len(owners))
        times = np.repeat(begin, lengths) + cumulative_by_run(pauses, lengths)
        return pay(self.population, self.rng, owners, shopping(len(owners)), times)

    def remote(self, payments: Payments, devices: int = 1) -> Payments:
        """Return online payments as a stranger makes them: new devices, elsewhere, rarely a second factor."""
        count, cities = len(payments), self.population.cities
        strange = mix(self.rng.integers(1, 1 << 62, devices))
        city = self.rng.integers(0, len(cities.weight))
        hidden = np.isnan(payments.latitude) | (self.rng.random(count) < _HIDDEN)
        return replace(
            payments,
            device=strange[self.rng.integers(0, devices, count)],
            entry=np.where(self.rng.random(count) < _KEYED, catalogue.KEYED, payments.entry),
            latitude=np.where(hidden, np.nan, cities.latitude[city] + self.rng.normal(0, 0.05, count)),
            longitude=np.where(hidden, np.nan, cities.longitude[city] + self.rng.normal(0, 0.05, count)),
        )

    def merchant(self) -> int:
        """Return a merchant that is neither too big nor of a trade in which a gang could not hide."""
        sellers = self.population.merchants
        able = (sellers.category < catalogue.SUBSCRIPTION) & (sellers.category != catalogue.CASH)
        fit = np.flatnonzero(able & (sellers.popularity < np.median(sellers.popularity) * 4))
        return int(self.rng.choice(fit))

    def over_days(self, cards: Ints, merchant: int, days: Ints) -> Payments:
        """Return one payment a card at one merchant, so many days later, at the usual hours."""
        merchants = np.full(len(cards), merchant)
        times = when(self.population, self.rng, cards, merchants, self.day + days)
        return pay(self.population, self.rng, cards, merchants, times)
