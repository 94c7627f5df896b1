"""Ground truth of the days after the history: which payments are fraud, reported or not."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from fraud_detection.simulator.population.entities import make_population
from fraud_detection.simulator.population.naming import Naming
from fraud_detection.simulator.settings import SimulatorSettings
from fraud_detection.simulator.simulate import Simulation


def stream_ground_truth(settings: SimulatorSettings) -> Iterator[dict[str, bool]]:
    """Yield, for each day after the history, transaction id -> whether it is fraud; without end."""
    population = make_population(settings)
    naming = Naming(population)
    for block in itertools.islice(Simulation(population).days(), settings.days, None):
        ids = naming.ids(block).transaction.tolist()
        frauds = (block.payments.scenario > 0).tolist()
        yield {transaction_id.decode(): fraud for transaction_id, fraud in zip(ids, frauds, strict=True)}
