"""Rates upward until a server cannot hold them: the highest that it holds is the saturation rate."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import msgspec

from benchmarks.load_generator.load import Load

HELD_SHARE = 0.99


class SweepSettings(msgspec.Struct, frozen=True):
    """Where a sweep begins and ends, and how finely it looks.

    bound_ms: a rate whose p99 is above it is not held.  factor: from one rate to the next.  halvings: of the
    gap between the highest rate that was held and the lowest that was not.
    """

    start: float = 500.0
    highest: float = 20_000.0
    bound_ms: float = 50.0
    factor: float = 1.4
    halvings: int = 3


class Step(msgspec.Struct, frozen=True):
    """One rate, and whether it was held."""

    load: Load
    held: bool


class Sweep(msgspec.Struct, frozen=True):
    """The steps in the order in which they were taken, and the saturation rate.

    saturation_per_s: 0 where not even the first rate was held.  client_bound: the client was late at the
    lowest rate that was not held, so the server may hold more.  open_end: the highest rate tried was held.
    """

    bound_ms: float
    saturation_per_s: float
    client_bound: bool
    open_end: bool
    steps: list[Step]


def is_held(load: Load, bound_ms: float) -> bool:
    """Say whether a load was answered whole, without errors, at its rate, and in time."""
    in_time = load.latencies.p99_ms <= bound_ms
    return in_time and not load.errors and load.completed_per_s >= HELD_SHARE * load.target_per_s


def find_saturation(run: Callable[[float], Load], settings: SweepSettings) -> Sweep:
    """Return the highest rate that is held; `run` loads the server at a rate.

    A rate that was not held is tried once more: the machine may have stood still for reasons of its own.
    """
    steps: list[Step] = []

    def held(rate: float) -> bool:
        for _ in range(2):
            load = run(rate)
            steps.append(Step(load, is_held(load, settings.bound_ms)))
            if steps[-1].held:
                return True
        return False

    saturation, failed = _climb(held, settings)
    for _ in range(settings.halvings if saturation and failed < math.inf else 0):
        between = math.sqrt(saturation * failed)
        saturation, failed = (between, failed) if held(between) else (saturation, between)
    beyond = [step.load for step in steps if not step.held and step.load.target_per_s == failed]
    late = bool(beyond) and all(load.client_bound for load in beyond)
    return Sweep(settings.bound_ms, saturation, late, failed == math.inf, steps)


def _climb(held: Callable[[float], bool], settings: SweepSettings) -> tuple[float, float]:
    """Return the highest rate that was held, and the next one, which was not: infinity where all were."""
    saturation = 0.0
    for rate in _rates(settings):
        if not held(rate):
            return saturation, rate
        saturation = rate
    return saturation, math.inf


def _rates(settings: SweepSettings) -> Iterator[float]:
    rate = settings.start
    while rate <= settings.highest:
        yield rate
        rate *= settings.factor
