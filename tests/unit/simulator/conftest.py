"""Small simulations, made once."""

from __future__ import annotations

import itertools

import pytest

from fraud_detection.simulator.columns import Block, joined
from fraud_detection.simulator.population.entities import Population, make_population
from fraud_detection.simulator.settings import SimulatorSettings
from fraud_detection.simulator.simulate import simulate


@pytest.fixture(scope="session")
def settings() -> SimulatorSettings:
    """Return a town: large enough for shares, small enough for tests."""
    return SimulatorSettings(cards=2_500, merchants=600, days=45)


@pytest.fixture(scope="session")
def town(settings: SimulatorSettings) -> Block:
    """Return the history of the town."""
    return joined(list(itertools.islice(simulate(settings), settings.days)))


@pytest.fixture(scope="session")
def population(settings: SimulatorSettings) -> Population:
    """Return who lives in the town."""
    return make_population(settings)
