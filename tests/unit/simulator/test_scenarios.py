from __future__ import annotations

import numpy as np
import pytest

from fraud_detection.simulator.columns import Block, Payments
from fraud_detection.simulator.population import catalogue
from fraud_detection.simulator.population.entities import Population
from fraud_detection.simulator.population.habits import Presence, pay
from fraud_detection.simulator.scenarios import KINDS, episode
from fraud_detection.simulator.scene import Scene
from fraud_detection.simulator.settings import DAY, HOUR

LIMIT = 5_000


def episodes(population: Population, kind: str, count: int = 60) -> list[Payments]:
    presence = Presence.at_home(population)
    made = [
        episode(Scene(population, np.random.default_rng(seed), presence, 5), kind) for seed in range(count)
    ]
    return [payments for payments in made if len(payments)]


def typical_amounts(population: Population, payments: Payments) -> np.ndarray:
    """Return what the holders usually pay at these merchants, as medians of many draws."""
    rng = np.random.default_rng(1)
    draws = [pay(population, rng, payments.card, payments.merchant, payments.time).amount for _ in range(31)]
    return np.median(draws, axis=0)


def span(payments: Payments) -> float:
    return float(payments.time.max() - payments.time.min())


def test_every_kind_is_marked_and_none_begins_before_its_day(population: Population) -> None:
    for kind in KINDS:
        for payments in episodes(population, kind, 10):
            assert (payments.scenario == catalogue.SCENARIOS.index(kind)).all()
            assert (payments.time >= population.settings.epoch + 5 * DAY).all()
            assert (payments.time < payments.report).all()


@pytest.mark.parametrize("kind", KINDS)
def test_the_mean_length_that_shares_are_counted_with_is_true(population: Population, kind: str) -> None:
    presence = Presence.at_home(population)
    rng = np.random.default_rng(3)
    lengths = [len(episode(Scene(population, rng, presence, 5), kind)) for _ in range(150)]
    assert np.mean(lengths) == pytest.approx(KINDS[kind][1], rel=0.15)


def test_card_testing_is_small_payments_then_large_ones_on_the_same_card(population: Population) -> None:
    escalated = 0
    for payments in episodes(population, "card_testing"):
        assert (payments.channel == catalogue.ONLINE).all()
        for card in np.unique(payments.card):
            own = payments.pick(payments.card == card)
            own = own.pick(np.argsort(own.time))
            small = own.pick(slice(2))
            assert (small.amount < 900).all()
            assert len(np.unique(small.merchant)) == 1
            escalated += int(own.amount[2:].max(initial=0) > 3 * small.amount.max())
    assert escalated > 60


def test_stolen_cards_are_used_in_stores_in_quick_succession(population: Population) -> None:
    for payments in episodes(population, "stolen_card"):
        touched = payments.entry == catalogue.CONTACTLESS
        assert len(np.unique(payments.card)) == 1
        assert (payments.terminal >= 0).all()
        assert (payments.amount[touched] <= LIMIT).all()
        assert span(payments) < 4 * HOUR
        assert len(payments) >= 3


def test_account_takeover_uses_one_new_device_for_all_cards_of_a_customer(population: Population) -> None:
    known = set(
        population.devices(
            np.repeat(np.arange(2_500), 3), np.tile(np.arange(3), 2_500), np.full(7_500, 5)
        ).tolist()
    )
    for payments in episodes(population, "account_takeover"):
        assert len(np.unique(payments.device)) == 1
        assert len(np.unique(population.cards.customer[payments.card])) == 1
        assert payments.device[0] not in known
        assert (payments.channel == catalogue.ONLINE).all()
    cards = [len(np.unique(payments.card)) for payments in episodes(population, "account_takeover")]
    assert max(cards) > 1


def test_a_compromised_terminal_is_used_for_weeks_with_typical_amounts(population: Population) -> None:
    ratios = []
    for payments in episodes(population, "compromised_terminal", 30):
        assert len(np.unique(payments.terminal)) == 1
        assert len(np.unique(payments.merchant)) == 1
        assert len(np.unique(payments.card)) > 0.8 * len(payments)
        assert 14 * DAY < span(payments) < 29 * DAY
        ratios += (payments.amount / typical_amounts(population, payments)).tolist()
    assert 0.8 < np.median(ratios) < 1.25


def test_collusive_merchants_charge_few_prices_partly_at_night(population: Population) -> None:
    made = episodes(population, "collusive_merchant", 30)
    amounts = np.concatenate([payments.amount for payments in made])
    hours = np.concatenate([payments.time % DAY // HOUR for payments in made])
    assert all(len(np.unique(payments.merchant)) == 1 for payments in made)
    assert (amounts % 100 == 0).mean() > 0.55
    assert (hours < 6).mean() > 0.3


def test_scaled_amounts_are_high_for_the_card_but_nothing_else_is_new(population: Population) -> None:
    ratios, known = [], []
    for payments in episodes(population, "scaled_amounts"):
        assert len(np.unique(payments.card)) == 1
        ratios += (payments.amount / typical_amounts(population, payments)).tolist()
        favourites = {*population.cards.stores[payments.card[0]], *population.cards.shops[payments.card[0]]}
        known += [merchant in favourites for merchant in payments.merchant]
    assert 6 < np.median(ratios) < 12
    assert np.mean(known) > 0.5


def test_a_device_farm_is_many_cards_on_one_device_just_under_a_limit(population: Population) -> None:
    for payments in episodes(population, "device_farm", 20):
        assert len(np.unique(payments.device)) == 1
        assert len(np.unique(payments.card)) >= 5
        assert ((payments.amount >= 4_500) & (payments.amount < LIMIT)).all()
        assert span(payments) < 6 * HOUR


def test_honest_people_make_bursts_of_small_payments_too(town: Block) -> None:
    small = (town.payments.scenario == 0) & (town.payments.amount < 900)
    honest = town.payments.pick(small & (town.payments.channel == catalogue.ONLINE))
    order = np.lexsort((honest.time, honest.merchant, honest.card))
    card, merchant, time = honest.card[order], honest.merchant[order], honest.time[order]
    quick = (card[2:] == card[:-2]) & (merchant[2:] == merchant[:-2]) & (time[2:] - time[:-2] < HOUR)
    assert quick.sum() > 50
