"""Settings of the simulation, and its seeded random generators.

Two equal settings make the same payments, byte for byte.  Every purpose and every
day has a generator of its own, so that the first days do not depend on how many
days are asked for, nor one kind of fraud on another.
"""

from __future__ import annotations

import datetime as dt
import enum
from typing import Annotated

import numpy as np
import numpy.typing as npt
from msgspec import Meta

from fraud_detection.core.decoding import Count, Money, Settings, Share

Ints = npt.NDArray[np.int64]
Codes = npt.NDArray[np.uint64]
Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

Days = Annotated[float, Meta(gt=0)]
DayNumber = Annotated[int, Meta(ge=0)]

SECOND = 1_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR


class Purpose(enum.IntEnum):
    """What a random generator is for; the number is part of the seed."""

    CITIES = 0
    MERCHANTS = 1
    CUSTOMERS = 2
    CARDS = 3
    HONEST = 4
    FRAUD = 5
    LABELS = 6
    STREAM = 7
    DRIFT = 8
    EPISODES = 9


class ScenarioSettings(Settings, frozen=True):
    """How much of a kind of fraud there is, and on which days it begins.

    weight: its part of `fraud_rate`, next to the other kinds that begin on day 0.
    A kind that begins later comes on top: the days before it stay as they are.
    """

    weight: Money = 0.0
    from_day: DayNumber = 0
    until_day: DayNumber | None = None

    def begins_on(self, day: int) -> bool:
        """Return whether an episode of this kind can begin on `day`."""
        begun = self.from_day == 0 or day >= self.from_day  # days before the history are below 0
        return begun and (self.until_day is None or day < self.until_day)


class Scenarios(Settings, frozen=True):
    """The kinds of fraud.  `device_farm` is off: keep it for fraud that is new in mid-stream."""

    card_testing: ScenarioSettings = ScenarioSettings(weight=0.20)
    stolen_card: ScenarioSettings = ScenarioSettings(weight=0.13)
    account_takeover: ScenarioSettings = ScenarioSettings(weight=0.17)
    compromised_terminal: ScenarioSettings = ScenarioSettings(weight=0.27)
    collusive_merchant: ScenarioSettings = ScenarioSettings(weight=0.13)
    scaled_amounts: ScenarioSettings = ScenarioSettings(weight=0.10)
    device_farm: ScenarioSettings = ScenarioSettings(weight=0.0)


class LabelSettings(Settings, frozen=True):
    """How and when the bank comes to know.

    A fraud is reported after about `median_days`, `late_share` of them after about
    `late_median_days`; `missed_rate` of frauds are never reported.  A payment that
    nobody reported counts as legitimate after `silence_days`.
    `false_claim_rate` of honest payments are reported as fraud all the same.
    """

    median_days: Days = 5.0
    sigma: Annotated[float, Meta(ge=0, le=2)] = 0.7
    late_share: Share = 0.08
    late_median_days: Days = 30.0
    longest_days: Days = 90.0
    silence_days: Days = 14.0
    missed_rate: Share = 0.02
    false_claim_rate: Share = 0.0001


class NoiseSettings(Settings, frozen=True):
    """What honest people do that looks like fraud, as rates a card and day or a payment."""

    trips: Share = 0.003
    bursts: Share = 0.001
    big_purchases: Share = 0.002
    borrowed_devices: Share = 0.03
    online_place_known: Share = 0.55


class SimulatorSettings(Settings, frozen=True):
    """All settings of a simulation.  Days are counted from `start`; the stream begins on day `days`.

    payments_per_card is a mean over a day; fraud_rate is that of the ground truth, before label noise.
    """

    seed: Annotated[int, Meta(ge=0)] = 7
    start: dt.date = dt.date(2026, 1, 1)
    days: Count = 90
    cards: Annotated[int, Meta(ge=20)] = 5_000
    merchants: Annotated[int, Meta(ge=60)] = 1_500
    payments_per_card: Annotated[float, Meta(gt=0, le=50)] = 0.9
    fraud_rate: Annotated[float, Meta(ge=0, le=0.2)] = 0.005
    scenarios: Scenarios = Scenarios()
    labels: LabelSettings = LabelSettings()
    noise: NoiseSettings = NoiseSettings()

    @property
    def epoch(self) -> int:
        """Return the first millisecond of day 0."""
        return (self.start - dt.date(1970, 1, 1)).days * DAY

    def date(self, day: int) -> dt.date:
        """Return the date of a day."""
        return self.start + dt.timedelta(days=day)

    def generator(self, purpose: Purpose, *keys: int) -> np.random.Generator:
        """Return a random generator of its own for one purpose (and day, and kind)."""
        return np.random.Generator(
            np.random.PCG64(np.random.SeedSequence(self.seed, spawn_key=(purpose, *keys)))
        )
