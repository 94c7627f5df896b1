"""Drift of what people do: whole days of payments, changed before they are sent.

amount_scale   all amounts, times the number
night_share    so large a part of payments moves to the hours before six
online_share   so large a part of payments in stores is made online instead
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from fraud_detection.simulator.columns import Block, Payments
from fraud_detection.simulator.population import catalogue
from fraud_detection.simulator.population.entities import Population
from fraud_detection.simulator.population.habits import pay, scaled
from fraud_detection.simulator.settings import DAY, HOUR, Flags, Purpose

if TYPE_CHECKING:
    from fraud_detection.simulator.drift import Drift

Change = Callable[[Population, np.random.Generator, Payments, float], Payments]

NIGHT_ENDS_HOUR = 6


def behave(population: Population, block: Block, drifts: Sequence[Drift], position: int) -> Block:
    """Return a day as it is after changes of behaviour; `position` payments were sent before it."""
    for number, drift in enumerate(drifts):
        if drift.kind == "behaviour" and len(block):
            day = int(block.payments.time[0] - population.settings.epoch) // DAY
            rng = population.settings.generator(Purpose.DRIFT, number, day)
            block = _changed(population, rng, block, drift, position)
    return block


def _changed(
    population: Population, rng: np.random.Generator, block: Block, drift: Drift, position: int
) -> Block:
    """Return the day with the change on those payments that it touches, in the order of time."""
    old = block.payments
    new = _CHANGES[drift.field](population, rng, old, drift.number())
    touched = (np.arange(len(block)) + position >= drift.after) & (old.time >= drift.begins)
    touched &= rng.random(len(block)) < drift.share
    merged = _merged(touched, new, old)
    moved = replace(block, payments=merged, known_at=block.known_at + merged.time - old.time)
    return moved.pick(np.argsort(merged.time, kind="stable"))


def _merged(touched: Flags, new: Payments, old: Payments) -> Payments:
    pairs = zip(new.parts(), old.parts(), strict=True)
    return Payments(*(np.where(touched, after, before) for after, before in pairs))


def _amount_scale(_: Population, __: np.random.Generator, payments: Payments, factor: float) -> Payments:
    return scaled(payments, np.full(len(payments), factor))


def _night_share(_: Population, rng: np.random.Generator, payments: Payments, share: float) -> Payments:
    """Move a part of payments to the night of their day; labels follow, so that none comes too early."""
    night = payments.time // DAY * DAY + rng.integers(0, NIGHT_ENDS_HOUR * HOUR, len(payments))
    return replace(payments, time=np.where(rng.random(len(payments)) < share, night, payments.time))


def _online_share(
    population: Population, rng: np.random.Generator, payments: Payments, share: float
) -> Payments:
    """Let a part of honest payments in stores be made at online shops, as the same cards would make them."""
    shops = population.shops.pick(rng, np.zeros(len(payments), dtype=np.int64))
    online = replace(pay(population, rng, payments.card, shops, payments.time), issue=payments.issue)
    honest = (payments.channel == catalogue.IN_STORE) & (payments.scenario == 0)
    return _merged(honest & (rng.random(len(payments)) < share), online, payments)


_CHANGES: dict[str, Change] = {
    "amount_scale": _amount_scale,
    "night_share": _night_share,
    "online_share": _online_share,
}
