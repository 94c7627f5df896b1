"""A soak: `fraud serve` at a fixed rate for long, with many cards, looked at minute by minute.

The cards are copies of the simulated ones, each with its own history; all profiles are loaded before
the time begins, so that what grows later is no cache that fills.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

import msgspec

from benchmarks.load_generator.load import Load, Plan, Slice, run_load
from benchmarks.load_generator.target import Target
from benchmarks.suite.machine import Machine, Memory, Meter, machine
from benchmarks.suite.server import FraudServer
from benchmarks.suite.simulation import BenchmarkSimulation, Progress, with_holes
from fraud_detection.adapters.sqlite.state_file import StateFile
from fraud_detection.core.errors import ConfigError

CARD, MERCHANT = 0, 1
LIST = 400
LISTS_AT_ONCE = 2
MEMORY_FLAT_SHARE = 0.02
P99_FLAT_RATIO = 1.25


class SoakSettings(msgspec.Struct, frozen=True):
    """How long, how fast, over how many cards, and how long a slice is that is looked at."""

    minutes: float = 60.0
    rate: float = 1_000.0
    cards: int = 1_000_000
    slice_s: float = 60.0
    warm_up_s: float = 30.0
    connections: int = 64


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


class SoakFigures(msgspec.Struct, frozen=True):
    """What was found.

    at_start: memory when the server was ready; loaded: when every profile was in it.  server: what it counted
    itself, by the names of `/metrics`.  elsewhere_share: of all cores, what other work took meanwhile.
    """

    machine: Machine
    settings: SoakSettings
    entities: int
    at_start: Memory
    loaded: Memory
    total: Load
    minutes: list[Minute]
    verdict: Verdict
    server: dict[str, float]
    elsewhere_share: float


def measure_soak(simulation: BenchmarkSimulation, settings: SoakSettings, progress: Progress) -> SoakFigures:
    """Run the soak; raise ConfigError when it is too short to say anything."""
    if settings.minutes * 60 < 4 * settings.slice_s:
        raise ConfigError(
            f"--minutes {settings.minutes:g}: at least {4 * settings.slice_s / 60:g} are needed"
        )
    measured_on, meter = machine(), Meter()
    copies = simulation.copies_for(settings.cards)
    state = simulation.copied(copies, progress)
    first, *events = simulation.events(_needed(settings, copies) + 1)
    with FraudServer(simulation.bundle, state, [first, *map(with_holes, events)]) as server:
        target = server.start()
        at_start = server.memory()
        entities = _load_profiles(target, simulation, first, copies, progress)
        loaded, minutes = server.memory(), list[Minute]()

        def look(part: Slice) -> None:
            minutes.append(Minute(part, server.memory(), server.state_mb()))
            latency = f"p99 {part.latencies.p99_ms:.1f} ms, {minutes[-1].memory.own_mb:,.0f} MB"
            done = (part.from_s + settings.slice_s) / (60 * settings.minutes)
            progress(f"soak: {settings.rate:,.0f}/s, {latency}, {part.errors} errors", min(done, 1.0))

        total = run_load(target, _plan(settings, copies), look)
        counted = server.metrics()
    problems = verdict(minutes)
    return SoakFigures(
        measured_on,
        settings,
        entities,
        at_start,
        loaded,
        total,
        minutes,
        problems,
        counted,
        meter.elsewhere(),
    )


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
    block = Plan(0).block
    payments = settings.rate * (60 * settings.minutes + settings.warm_up_s)
    return math.ceil(payments / copies / block) * block


def _plan(settings: SoakSettings, copies: int) -> Plan:
    return Plan(
        seconds=60 * settings.minutes,
        rate=settings.rate,
        connections=settings.connections,
        warm_up_s=settings.warm_up_s,
        copies=copies,
        slice_s=settings.slice_s,
    )


def _load_profiles(
    target: Target, simulation: BenchmarkSimulation, event: bytes, copies: int, progress: Progress
) -> int:
    """Let every card of every copy pay once, in lists, so that all profiles are loaded; return how many."""
    payments, profiles = _one_a_card(simulation, event)
    lists = [b"[" + b",".join(payments[at : at + LIST]) + b"]" for at in range(0, len(payments), LIST)]
    message, total, done = f"loading {copies * profiles:,} profiles", copies * len(lists), 0

    def look(part: Slice) -> None:
        nonlocal done
        done += part.latencies.count
        progress(message, done / total)

    plan = Plan(1e6, connections=LISTS_AT_ONCE, warm_up_s=0.0, copies=copies, block=len(lists), slice_s=1.0)
    load = run_load(msgspec.structs.replace(target, bodies=lists), plan, look)
    if load.errors:
        raise ConfigError(f"{load.errors:,} of {load.sent:,} lists of payments failed: {load.statuses}")
    return copies * profiles


def _one_a_card(simulation: BenchmarkSimulation, event: bytes) -> tuple[list[bytes], int]:
    """Return a payment with holes for each card and merchant, and how many of these there are."""
    state_file = StateFile(simulation.state, reading=True)
    cards, merchants = (
        [str(row[0]) for row in state_file.rows("SELECT id FROM profiles WHERE entity = ?", (entity,))]
        for entity in (CARD, MERCHANT)
    )
    state_file.close()
    fields, max_events = msgspec.json.decode(event), max(len(cards), len(merchants))
    own = (
        {
            "transaction_id": f"loading-{number}-",
            "card_id": cards[number % len(cards)],
            "merchant_id": merchants[number % len(merchants)],
        }
        for number in range(max_events)
    )
    payments = [with_holes(msgspec.json.encode(fields | ids)) for ids in own]
    return payments, len(cards) + len(merchants)
