"""Fraud as it is seen: one function a kind, each returns the payments of one episode.

An episode starts on the scene's day and may last for weeks.  Amounts, places and
devices start from what `habits.pay` gives honest payments; each kind changes only
what a thief cannot, or does not care to, imitate.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from fraud_detection.simulator.columns import Payments, joined
from fraud_detection.simulator.labels import report_delays
from fraud_detection.simulator.population import catalogue
from fraud_detection.simulator.population.habits import SMALL, pay, scaled, when, where_to
from fraud_detection.simulator.settings import DAY, HOUR, MINUTE, SECOND

if TYPE_CHECKING:
    from collections.abc import Callable

    from fraud_detection.simulator.scene import Scene

_VALUABLE = (catalogue.ELECTRONICS, catalogue.MARKETPLACE, catalogue.TRAVEL, catalogue.DIGITAL)
_TESTED = (catalogue.DIGITAL, catalogue.DIGITAL, catalogue.MARKETPLACE)
_TOUCHED, _GREEDY = 0.7, 0.5
_FAR, _COPIED = 0.2, 0.25
_PRICES = np.asarray([1_900, 2_900, 3_900, 4_900, 5_900, 7_900, 9_900, 12_900])
_ROUND, _AT_NIGHT = 0.7, 0.4


def card_testing(scene: Scene) -> Payments:
    """Try card after card with small payments at one shop; then cash out online, within a day or so."""
    rng, cards = scene.rng, scene.victims(int(scene.rng.integers(1, 5)))
    tests, takings = rng.integers(3, 6, len(cards)), rng.integers(1, 4, len(cards))
    begin = scene.clock(0, 23) + np.cumsum(rng.integers(2 * MINUTE, 40 * MINUTE, len(cards)))
    later = begin + rng.integers(45 * MINUTE, 30 * HOUR, len(cards))
    shop = scene.sellers(_TESTED)(1)
    tried = scene.spree(cards, tests, begin, (15 * SECOND, 8 * MINUTE), shop.repeat)
    tried = replace(tried, amount=rng.integers(*SMALL, len(tried)))
    bought = scene.spree(cards, takings, later, (3 * MINUTE, 3 * HOUR), scene.sellers(_VALUABLE))
    bought = scaled(bought, rng.uniform(1.0, 2.5, len(bought)))
    return scene.remote(joined([tried, bought]), devices=2 * len(cards))


def stolen_card(scene: Scene) -> Payments:
    """Shop near where the card was lost, mostly contactless; at times with one large payment at the end."""
    rng, cards, length = scene.rng, scene.victims(1), int(scene.rng.integers(4, 11))
    begin = np.asarray([scene.clock(8, 22)])
    gaps = (MINUTE, 14 * MINUTE)
    payments = scene.spree(cards, np.asarray([length]), begin, gaps, scene.stores(cards[0]))
    large = (np.arange(length) == length - 1) & (rng.random() < _GREEDY)
    touched = (rng.random(length) < _TOUCHED) & ~large
    payments = scaled(payments, np.where(large, 3.0, 1.0))
    lowered = np.minimum(payments.amount, rng.integers(2_500, 5_000, length))
    return replace(
        payments,
        amount=np.where(touched, lowered, payments.amount),
        entry=np.where(touched, catalogue.CONTACTLESS, catalogue.SWIPE),
    )


def account_takeover(scene: Scene) -> Payments:
    """Use all cards of one customer from a new device, for more than is usual, over a day or two."""
    rng = scene.rng
    customer = scene.population.cards.customer[scene.victims(1)[0]]
    cards = np.flatnonzero(scene.population.cards.customer == customer)
    begin = np.full(len(cards), scene.clock(0, 24))
    lengths = rng.integers(2, 7, len(cards))
    payments = scene.spree(cards, lengths, begin, (8 * MINUTE, 18 * HOUR), scene.sellers(_VALUABLE))
    return scene.remote(scaled(payments, rng.lognormal(0.3, 0.5, len(payments))))


def compromised_terminal(scene: Scene) -> Payments:
    """Pay with copied cards at one terminal, or one online shop, for weeks: usual amounts, usual hours."""
    rng, sellers = scene.rng, scene.population.merchants
    merchant = scene.merchant()
    count = int(rng.poisson(rng.integers(14, 29) * 1.7))
    anyone = sellers.online[merchant] or rng.random() < _FAR
    cards = scene.victims(count) if anyone else scene.residents(sellers.city[merchant], count)
    payments = scene.over_days(cards, merchant, rng.integers(0, 28, count))
    if sellers.online[merchant]:
        return scene.remote(payments, devices=8)
    copied = rng.random(count) < _COPIED
    terminal = np.full(count, payments.terminal[0] if count else 0)
    return replace(payments, terminal=terminal, entry=np.where(copied, catalogue.SWIPE, payments.entry))


def collusive_merchant(scene: Scene) -> Payments:
    """Charge stolen cards for nothing: one merchant, few price points, partly at night, for many weeks."""
    rng = scene.rng
    count = int(rng.integers(8, 25))
    payments = scene.over_days(scene.victims(count), scene.merchant(), rng.integers(0, 35, count))
    prices = rng.choice(_PRICES, 3)[rng.integers(0, 3, count)]
    night = (payments.time // DAY) * DAY + rng.integers(0, 6 * HOUR, count)
    return replace(
        payments,
        amount=np.where(rng.random(count) < _ROUND, prices, payments.amount),
        time=np.where(rng.random(count) < _AT_NIGHT, night, payments.time),
    )


def scaled_amounts(scene: Scene) -> Payments:
    """Pay more with a known card, where and on what its holder pays, for days."""
    rng = scene.rng
    count = int(rng.integers(3, 10))
    cards = np.repeat(scene.victims(1), count)
    merchants = where_to(scene.population, rng, cards, scene.presence, scene.day)
    days = scene.day + rng.integers(0, int(rng.integers(1, 4)), count)
    times = when(scene.population, rng, cards, merchants, days)
    return scaled(pay(scene.population, rng, cards, merchants, times), rng.uniform(6.0, 12.0, count))


def device_farm(scene: Scene) -> Payments:
    """Buy gift cards just under 50 with many cards from one device, within hours.  Off by default."""
    rng = scene.rng
    cards = scene.victims(int(rng.integers(8, 20)))
    begin = scene.clock(0, 21) + rng.integers(0, 3 * HOUR, len(cards))
    lengths = rng.integers(1, 3, len(cards))
    payments = scene.spree(cards, lengths, begin, (MINUTE, 20 * MINUTE), scene.sellers((catalogue.DIGITAL,)))
    return scene.remote(replace(payments, amount=rng.integers(4_500, 5_000, len(payments))))


KINDS: dict[str, tuple[Callable[[Scene], Payments], float]] = {
    "card_testing": (card_testing, 14.8),
    "stolen_card": (stolen_card, 7.0),
    "account_takeover": (account_takeover, 5.2),
    "compromised_terminal": (compromised_terminal, 34.5),
    "collusive_merchant": (collusive_merchant, 15.6),
    "scaled_amounts": (scaled_amounts, 5.6),
    "device_farm": (device_farm, 20.0),
}
"""How an episode of each kind is made, and how many payments it has on average."""


def episode(scene: Scene, kind: str) -> Payments:
    """Return the payments of one episode; a card is not used once its holder has reported it."""
    payments = KINDS[kind][0](scene)
    cards, position = np.unique(payments.card, return_inverse=True)
    first = np.full(len(cards), np.iinfo(np.int64).max)
    np.minimum.at(first, position, payments.time)
    reports = first + report_delays(scene.population.settings.labels, scene.rng, len(cards))
    number = catalogue.SCENARIOS.index(kind)
    marked = replace(payments, scenario=np.full_like(payments.card, number), report=reports[position])
    return marked.pick(marked.time < marked.report)
