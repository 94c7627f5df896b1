from __future__ import annotations

import itertools

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st

from fraud_detection.simulator.columns import Block, joined
from fraud_detection.simulator.population import catalogue
from fraud_detection.simulator.population.entities import Population
from fraud_detection.simulator.settings import DAY, HOUR, Scenarios, ScenarioSettings, SimulatorSettings
from fraud_detection.simulator.simulate import simulate

SMALL = SimulatorSettings(cards=200, merchants=90, days=6)


def first_days(settings: SimulatorSettings, days: int) -> Block:
    return joined(list(itertools.islice(simulate(settings), days)))


def same(left: Block, right: Block) -> bool:
    arrays = ([*block.parts()[:3], *block.payments.parts()] for block in (left, right))
    return all(np.array_equal(a, b, equal_nan=a.dtype.kind == "f") for a, b in zip(*arrays, strict=True))


def average_precision(fraud: np.ndarray, score: np.ndarray) -> float:
    ranked = fraud[np.argsort(-score, kind="stable")]
    hits = np.cumsum(ranked)
    return float((hits / np.arange(1, len(ranked) + 1))[ranked].mean())


def test_equal_settings_make_equal_payments() -> None:
    assert same(first_days(SMALL, 6), first_days(SMALL, 6))


def test_another_seed_makes_other_payments() -> None:
    first, second = first_days(SMALL, 2), first_days(msgspec.structs.replace(SMALL, seed=8), 2)
    assert not set(first.code.tolist()) & set(second.code.tolist())
    assert sorted(first.payments.amount.tolist()) != sorted(second.payments.amount.tolist())


def test_the_first_days_do_not_depend_on_how_many_are_requested() -> None:
    longer = msgspec.structs.replace(SMALL, days=300)
    assert same(first_days(SMALL, 6), first_days(longer, 6))


@effort(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), cards=st.integers(20, 150), merchants=st.integers(60, 120))
def test_every_simulation_makes_sound_payments(seed: int, cards: int, merchants: int) -> None:
    settings = SimulatorSettings(seed=seed, cards=cards, merchants=merchants, fraud_rate=0.1)
    block = first_days(settings, 4)
    payments = block.payments
    online = np.isin(payments.channel, (catalogue.ONLINE, catalogue.RECURRING))
    assert len(np.unique(block.code)) == len(block) > 0
    assert (np.diff(payments.time) >= 0).all()
    assert (payments.amount > 0).all()
    assert (block.known_at > payments.time).all()
    assert ((payments.terminal < 0) == online).all()
    assert ((payments.device > 0) == (payments.channel == catalogue.ONLINE)).all()
    assert not np.isnan(payments.latitude[~online]).any()
    assert payments.card.max() < cards
    assert payments.merchant.max() < merchants


def test_terminals_belong_to_their_merchants(town: Block, population: Population) -> None:
    payments, merchants = town.payments, population.merchants
    index = (payments.terminal - merchants.first_terminal[payments.merchant])[payments.terminal >= 0]
    assert (index >= 0).all()
    assert (index < merchants.terminals[payments.merchant][payments.terminal >= 0]).all()
    assert index.max() > 0


def test_about_as_many_payments_and_frauds_as_requested(town: Block, settings: SimulatorSettings) -> None:
    expected = settings.cards * settings.payments_per_card * settings.days
    assert 0.93 < len(town) / expected < 1.07
    assert 0.004 < (town.payments.scenario > 0).mean() < 0.006


def test_every_scenario_has_about_its_weight(town: Block, settings: SimulatorSettings) -> None:
    counts = np.bincount(town.payments.scenario, minlength=len(catalogue.SCENARIOS))
    for number, name in enumerate(catalogue.SCENARIOS[1:], start=1):
        weight = getattr(settings.scenarios, name).weight
        assert counts[number] / counts[1:].sum() == pytest.approx(weight, rel=0.5, abs=0.001), name


def test_no_fraud_where_none_is_requested() -> None:
    block = first_days(msgspec.structs.replace(SMALL, fraud_rate=0.0), 6)
    assert not block.payments.scenario.any()


def test_fraud_that_begins_later_leaves_the_days_before_it_alone() -> None:
    farm = Scenarios(device_farm=ScenarioSettings(weight=1.0, from_day=3))
    plain, later = (
        SimulatorSettings(cards=500, merchants=90),
        SimulatorSettings(cards=500, merchants=90, scenarios=farm, fraud_rate=0.02),
    )
    plain = msgspec.structs.replace(plain, fraud_rate=0.02)
    number = catalogue.SCENARIOS.index("device_farm")
    assert same(first_days(plain, 3), first_days(later, 3))
    assert (first_days(later, 20).payments.scenario == number).sum() > 20
    assert not (first_days(plain, 20).payments.scenario == number).any()


def test_fraud_is_there_from_the_first_day_on_as_on_any_other(
    town: Block, settings: SimulatorSettings
) -> None:
    day = (town.payments.time - settings.epoch) // DAY
    weeks = np.isin(town.payments.scenario, (4, 5))
    early, late = weeks[day < 10].mean(), weeks[day >= 10].mean()
    assert 0.4 < early / late < 2.5


def test_the_amount_alone_shows_little(town: Block) -> None:
    fraud, amount = town.payments.scenario > 0, town.payments.amount
    assert max(average_precision(fraud, amount), average_precision(fraud, -amount)) < 0.1


def test_nights_are_quieter_than_days_and_weekends_differ(town: Block, settings: SimulatorSettings) -> None:
    honest = town.payments.time[town.payments.scenario == 0]
    hours = np.bincount(honest % DAY // HOUR, minlength=24)
    assert hours[1:5].mean() * 3 < hours[10:20].mean()
    day = (honest - settings.epoch)[honest < settings.epoch + 42 * DAY] // DAY
    weekdays = np.bincount((day + settings.start.weekday()) % 7)
    assert weekdays[5] > 1.15 * weekdays[0]


def test_few_cards_make_many_payments(town: Block) -> None:
    counts = np.sort(np.bincount(town.payments.card))[::-1]
    assert counts[: len(counts) // 10].sum() > 0.25 * counts.sum()
    assert np.median(counts) < counts.mean()


def test_people_shop_near_home_unless_they_travel(town: Block, population: Population) -> None:
    payments = town.payments
    store = (payments.channel == catalogue.IN_STORE) & (payments.scenario == 0)
    home = population.customers.city[population.cards.customer[payments.card[store]]]
    away = population.merchants.city[payments.merchant[store]] != home
    assert 0.005 < away.mean() < 0.1


def test_cards_have_amounts_of_their_own(town: Block, population: Population) -> None:
    payments, honest = town.payments, town.payments.scenario == 0
    low = population.cards.level[payments.card] < np.quantile(population.cards.level, 0.2)
    high = population.cards.level[payments.card] > np.quantile(population.cards.level, 0.8)
    assert np.median(payments.amount[honest & high]) > 1.8 * np.median(payments.amount[honest & low])


def test_devices_are_kept_shared_and_replaced(town: Block, population: Population) -> None:
    honest = (town.payments.device > 0) & (town.payments.scenario == 0)
    device, customer = town.payments.device[honest], population.cards.customer[town.payments.card[honest]]
    pairs = np.unique(np.stack([device, customer.astype(np.uint64)]), axis=1)
    _, owners = np.unique(pairs[0], return_counts=True)
    assert 0.02 < (owners > 1).mean() < 0.4
    _, uses = np.unique(device, return_counts=True)
    assert (uses == 1).sum() / len(device) < 0.25
    assert uses.max() > 10


def test_frauds_become_known_after_days_and_honest_payments_by_silence(
    town: Block, settings: SimulatorSettings
) -> None:
    delay = (town.known_at - town.payments.time) / DAY
    reported = (town.is_fraud == 1) & (town.payments.scenario > 0)
    assert 3 < np.median(delay[reported]) < 8
    assert 0.02 < (delay[reported] > 21).mean() < 0.2
    assert (delay[town.is_fraud == 0] == settings.labels.silence_days).all()


def test_some_labels_are_wrong_both_ways(town: Block) -> None:
    fraud, labelled = town.payments.scenario > 0, town.is_fraud == 1
    assert 0 < (fraud & ~labelled).sum() / fraud.sum() < 0.1
    assert 0 < (labelled & ~fraud).sum() / labelled.sum() < 0.15


def test_a_card_is_replaced_once_fraud_on_it_is_known(town: Block, settings: SimulatorSettings) -> None:
    payments = town.payments
    known_day = (town.known_at - settings.epoch) // DAY
    day = (payments.time - settings.epoch) // DAY
    identity = payments.card * 1000 + payments.issue
    reported: dict[int, int] = {}
    for row in np.flatnonzero(town.is_fraud):
        reported[identity[row]] = min(known_day[row], reported.get(identity[row], known_day[row]))
    used_after = sum(day[row] > reported.get(identity[row], 10**6) for row in range(len(town)))
    assert payments.issue.max() > 0
    assert used_after == 0
