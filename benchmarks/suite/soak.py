"""A soak: `fraud serve` at a fixed rate for long, with many cards, looked at minute by minute.

The cards are copies of the simulated ones, each with its own history; all profiles are loaded before
the time begins, so that what grows later is no cache that fills.  A second server, with fewer cards, can take
turns with it: whatever else the machine does in that hour meets both alike.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import msgspec

from benchmarks.load_generator.load import Load, Plan, Slice, run_load
from benchmarks.load_generator.target import Target
from benchmarks.suite.entity_memory import empty_server, load_profiles
from benchmarks.suite.machine import Machine, Memory, Meter, machine
from benchmarks.suite.server import FraudServer, StartTimes
from benchmarks.suite.simulation import BenchmarkSimulation, Progress, with_holes
from fraud_detection.core.errors import ConfigError

MEMORY_FLAT_SHARE = 0.02
P99_FLAT_RATIO = 1.25
MIN_MINUTES = 4
"""Slices that a verdict needs."""


class SoakSettings(msgspec.Struct, frozen=True):
    """How long, how fast, over how many cards, and how long a slice is that is looked at.

    alongside: cards of a second server, which takes turns of one slice with the first; 0: there is none.
    """

    minutes: float = 60.0
    rate: float = 1_000.0
    cards: int = 1_000_000
    slice_s: float = 60.0
    warm_up_s: float = 30.0
    connections: int = 64
    alongside: int = 0

    @property
    def populations(self) -> list[int]:
        """Return how many cards each server knows."""
        return [self.cards, *([self.alongside] if self.alongside else [])]


class Minute(msgspec.Struct, frozen=True):
    """One slice of time, and the server at its end; state_mb: the state file with its log."""

    load: Slice
    memory: Memory
    state_mb: float


class Verdict(msgspec.Struct, frozen=True):
    """What the minutes say.

    memory_mb_per_hour: slope of the server's own memory over the second half; memory_share: what it grew by
    there, as a share of it.  p99_ratio: median of the last quarter's p99 to that of the first quarter.
    """

    memory_mb_per_hour: float
    memory_share: float
    memory_flat: bool
    p99_ratio: float
    p99_flat: bool


class Population(msgspec.Struct, frozen=True):
    """What was found of one server.

    start_times: with all profiles at rest.  at_start: memory when it was ready; loaded: when every profile
    was in it.  server: what it counted itself, by the names of `/metrics`.
    """

    cards: int
    entities: int
    start_times: StartTimes
    at_start: Memory
    loaded: Memory
    total: Load
    minutes: list[Minute]
    server: dict[str, float]


class SoakFigures(msgspec.Struct, frozen=True):
    """What was found.

    empty: memory of a server that knows no entity.  alongside: the second server, where there was one.
    elsewhere_share: of all cores, what other work took meanwhile.
    """

    machine: Machine
    settings: SoakSettings
    empty: Memory
    population: Population
    alongside: Population | None
    verdict: Verdict
    elsewhere_share: float

    @property
    def bytes_an_entity(self) -> float:
        """Return how many bytes of resident memory an entity took at the end, mapped files included."""
        last = self.population.minutes[-1].memory
        return (last.resident_mb - self.empty.resident_mb) * 1e6 / max(self.population.entities, 1)


def measure_soak(simulation: BenchmarkSimulation, settings: SoakSettings, progress: Progress) -> SoakFigures:
    """Run the soak; raise ConfigError when it is too short to say anything."""
    needed_s = MIN_MINUTES * len(settings.populations) * settings.slice_s
    if settings.minutes * 60 < needed_s:
        raise ConfigError(f"--minutes {settings.minutes:g}: at least {needed_s / 60:g} are needed")
    measured_on, meter = machine(), Meter()
    empty = empty_server(simulation, simulation.events(1)[0])
    with ExitStack() as stack:
        populations = [
            stack.enter_context(_Serving(simulation, settings, turn, progress))
            for turn in range(len(settings.populations))
        ]
        for population in populations:
            population.start()
        with ThreadPoolExecutor(len(populations)) as threads:
            found = list(threads.map(_Serving.run, populations))
    problems = verdict(found[0].minutes)
    alongside = found[1] if len(found) > 1 else None
    return SoakFigures(measured_on, settings, empty, found[0], alongside, problems, meter.elsewhere())


class _Serving(FraudServer):
    """One server of a soak, and what is asked of it."""

    def __init__(
        self, simulation: BenchmarkSimulation, settings: SoakSettings, turn: int, progress: Progress
    ) -> None:
        self.simulation, self.settings, self.turn, self.progress = simulation, settings, turn, progress
        self.cards = settings.populations[turn]
        self.copies = simulation.copies_for(self.cards)
        self.first, *events = simulation.events(_needed(settings, self.copies) + 1)
        state = simulation.copied(self.copies, progress)
        super().__init__(simulation.bundle, state, [self.first, *map(with_holes, events)])

    def start(self) -> Target:
        """Start it, and load all of its profiles."""
        self.target = super().start()
        self.at_start = self.memory()
        self.entities = load_profiles(self.target, self.simulation, self.first, self.copies, self.progress)
        self.loaded = self.memory()
        return self.target

    def run(self) -> Population:
        """Let it answer in its turns; return what was found."""
        minutes = list[Minute]()
        plan = _plan(self.settings, self.copies, self.turn)
        total = run_load(self.target, plan, self._looker(minutes.append))
        found = (self.at_start, self.loaded, total, minutes, self.metrics())
        return Population(self.cards, self.entities, self.start_times, *found)

    def _looker(self, add: Callable[[Minute], None]) -> Callable[[Slice], None]:
        settings = self.settings

        def look(part: Slice) -> None:
            minute = Minute(part, self.memory(), self.state_mb())
            add(minute)
            latency = f"p99 {part.latencies.p99_ms:.1f} ms, {minute.memory.own_mb:,.0f} MB"
            done = (part.from_s + settings.slice_s) / (60 * settings.minutes)
            message = f"soak: {self.cards:,} cards, {settings.rate:,.0f}/s, {latency}, {part.errors} errors"
            self.progress(message, min(done, 1.0))

        return look


def verdict(minutes: Sequence[Minute]) -> Verdict:
    """Return what the minutes say of memory and latency; there are at least four."""
    half, quarter = minutes[len(minutes) // 2 :], max(len(minutes) // 4, 1)
    hours = [minute.load.from_s / 3600 for minute in half]
    memory = [minute.memory.own_mb for minute in half]
    slope = statistics.linear_regression(hours, memory).slope
    share = slope * (hours[-1] - hours[0]) / max(statistics.fmean(memory), 1e-9)
    first, last = (
        statistics.median(minute.load.latencies.p99_ms for minute in part)
        for part in (minutes[:quarter], minutes[-quarter:])
    )
    ratio = last / first if first else math.inf
    return Verdict(slope, share, share <= MEMORY_FLAT_SHARE, ratio, ratio <= P99_FLAT_RATIO)


def _needed(settings: SoakSettings, copies: int) -> int:
    """Return how many payments of the simulation itself there must be, each to be sent once for each copy."""
    plan = _plan(settings, copies, 0)
    return math.ceil(plan.max_requests / copies / plan.block) * plan.block


def _plan(settings: SoakSettings, copies: int, turn: int) -> Plan:
    by_turns = len(settings.populations) > 1
    return Plan(
        seconds=60 * settings.minutes,
        rate=settings.rate,
        connections=settings.connections,
        # By turns, the first turn of each.
        warm_up_s=len(settings.populations) * settings.slice_s if by_turns else settings.warm_up_s,
        copies=copies,
        slice_s=settings.slice_s,
        turn_s=settings.slice_s if by_turns else 0.0,
        turn=turn,
    )
