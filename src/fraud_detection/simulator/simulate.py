"""Simulate day by day: honest payments, fraud among them, and their labels.

`simulate` never ends by itself and keeps only what later days need, so that memory
is bounded and a stream is simply the days after the history.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from fraud_detection.simulator.columns import Block, Payments, joined
from fraud_detection.simulator.labels import label
from fraud_detection.simulator.population.entities import Population, make_population
from fraud_detection.simulator.population.habits import Presence, honest_day
from fraud_detection.simulator.population.opaque import combine
from fraud_detection.simulator.scenarios import KINDS, episode
from fraud_detection.simulator.scene import Scene
from fraud_detection.simulator.settings import DAY, Ints, Purpose, ScenarioSettings, SimulatorSettings

if TYPE_CHECKING:
    from collections.abc import Iterator

_BURN_IN_DAYS = 60
_PERIOD_DAYS = 10
_PAYMENT_SALT = 0x7A


def simulate(settings: SimulatorSettings) -> Iterator[Block]:
    """Yield the payments of day 0, 1, 2, ... for ever, each day sorted by time."""
    yield from Simulation(make_population(settings)).days()


class Simulation:
    """What changes from day to day: who travels, which fraud goes on, which cards were replaced."""

    def __init__(self, population: Population) -> None:
        """Start with fraud that began in the weeks before day 0, so that day 0 is a day like any other."""
        self.population = population
        self._presence = Presence.at_home(population)
        self._issue = np.zeros(population.settings.cards, dtype=np.int64)
        self._replacements: dict[int, list[tuple[int, int]]] = {}
        self._going_on = Payments.none()
        self._beginnings: dict[str, Ints] = {}
        for day in range(-_BURN_IN_DAYS, 0):
            self._begin_episodes(day)

    def days(self) -> Iterator[Block]:
        """Yield one day after another."""
        day = 0
        while True:
            yield self._next(day)
            day += 1

    def _next(self, day: int) -> Block:
        settings = self.population.settings
        self._replace_cards(day)
        honest = honest_day(self.population, settings.generator(Purpose.HONEST, day), self._presence, day)
        honest = replace(honest, issue=self._issue[honest.card])
        self._begin_episodes(day)
        payments = joined([honest, self._frauds_of(day)])
        payments = payments.pick(np.argsort(payments.time, kind="stable"))
        is_fraud, known_at = label(settings.labels, settings.generator(Purpose.LABELS, day), payments)
        number = np.arange(len(payments)) + (day << 32)
        code = combine(_PAYMENT_SALT + settings.seed, number)
        self._plan_replacements(payments, is_fraud, known_at)
        return Block(code, is_fraud, known_at, payments)

    def _begin_episodes(self, day: int) -> None:
        settings = self.population.settings
        period, day_of_period = divmod(day + _BURN_IN_DAYS, _PERIOD_DAYS)
        if day_of_period == 0:
            self._beginnings = {kind: _beginnings(settings, kind, period) for kind in KINDS}
        for number, (kind, days) in enumerate(self._beginnings.items()):
            count = np.count_nonzero(days == day_of_period)
            if count and getattr(settings.scenarios, kind).begins_on(day):
                rng = settings.generator(Purpose.FRAUD, day + _BURN_IN_DAYS, number)
                scene = Scene(self.population, rng, self._presence, day)
                begun = joined([episode(scene, kind) for _ in range(count)])
                self._going_on = joined([self._going_on, replace(begun, issue=self._issue[begun.card])])

    def _frauds_of(self, day: int) -> Payments:
        """Return what fraud does on `day`, and keep what it will do later."""
        settings, going_on = self.population.settings, self._going_on
        number = (going_on.time - settings.epoch) // DAY
        self._going_on = going_on.pick(number > day)
        return going_on.pick((number == day) & (going_on.issue == self._issue[going_on.card]))

    def _plan_replacements(self, payments: Payments, is_fraud: Ints, known_at: Ints) -> None:
        """Schedule that a card is replaced on the day after fraud on it becomes known."""
        days = (known_at - self.population.settings.epoch) // DAY + 1
        for row in np.flatnonzero(is_fraud):
            self._replacements.setdefault(int(days[row]), []).append(
                (payments.card[row], payments.issue[row])
            )

    def _replace_cards(self, day: int) -> None:
        """Give new numbers to cards, once however many frauds were reported."""
        for card, issue in self._replacements.pop(day, []):
            if self._issue[card] == issue:
                self._issue[card] += 1


def _beginnings(settings: SimulatorSettings, kind: str, period: int) -> Ints:
    """Return on which days of a period episodes of a kind begin.

    Chance chooses the days, but not how many episodes there are: the share of fraud
    comes out near to what was asked for.
    """
    rate, number = _PERIOD_DAYS * _episodes_a_day(settings, kind), list(KINDS).index(kind)
    offset = settings.generator(Purpose.EPISODES, number).random()
    count = int(rate * (period + 1) + offset) - int(rate * period + offset)
    return settings.generator(Purpose.EPISODES, number, period).integers(0, _PERIOD_DAYS, count)


def _episodes_a_day(settings: SimulatorSettings, kind: str) -> float:
    """Return the mean that gives fraud its share; kinds that begin later come on top of it."""
    every: dict[str, ScenarioSettings] = {name: getattr(settings.scenarios, name) for name in KINDS}
    total = sum(scenario.weight for scenario in every.values() if scenario.from_day == 0)
    frauds = settings.fraud_rate / (1 - settings.fraud_rate) * settings.cards * settings.payments_per_card
    return frauds * every[kind].weight / (total or 1.0) / KINDS[kind][1]
