"""The HTTP service under load: start-up, a fixed rate, rates up to the saturation rate, and a closed loop."""

from __future__ import annotations

import msgspec

from benchmarks.load_generator.load import Load, Plan
from benchmarks.load_generator.sweep import Sweep, SweepSettings, find_saturation
from benchmarks.suite.closed_loop import ClosedLoop, ClosedLoopSettings, Session
from benchmarks.suite.engine import Dispersion, dispersion
from benchmarks.suite.machine import Memory
from benchmarks.suite.server import FraudServer
from benchmarks.suite.simulation import BenchmarkSimulation, Progress


class HttpSettings(msgspec.Struct, frozen=True):
    """The fixed rate and how long it lasts, the sweep, the closed loop, how often the start is measured."""

    rate: float = 1_000.0
    seconds: float = 20.0
    rounds: int = 3
    warm_up_s: float = 3.0
    connections: int = 64
    step_s: float = 5.0
    step_warm_up_s: float = 1.0
    starts: int = 3
    payments: int = 1_200_000
    sweep: SweepSettings = SweepSettings()
    closed: ClosedLoopSettings = ClosedLoopSettings()


class Fixed(msgspec.Struct, frozen=True):
    """The same load at a fixed rate several times: percentiles in ms over the rounds, and every round."""

    p50_ms: Dispersion
    p99_ms: Dispersion
    p99_9_ms: Dispersion
    max_ms: Dispersion
    rounds: list[Load]


class HttpFigures(msgspec.Struct, frozen=True):
    """What was found; latencies since each request was due, but in the closed loop since it was sent."""

    ready_s: Dispersion
    first_decision_s: Dispersion
    even: Fixed
    poisson: Fixed
    sweep: Sweep
    closed: ClosedLoop
    memory: Memory
    state_mb: float


def measure_http(simulation: BenchmarkSimulation, settings: HttpSettings, progress: Progress) -> HttpFigures:
    """Measure `fraud serve` with one worker over the state that knows the simulated history."""
    payments = simulation.events(settings.payments)
    starts = []
    for number in range(settings.starts):
        progress("starting the server", number / settings.starts)
        with FraudServer(simulation.bundle, simulation.state, payments) as server:
            server.start()
            starts.append(server.start_times)
    progress("starting the server", 1.0)
    with FraudServer(simulation.bundle, simulation.state, payments) as server:
        session = Session(server.start())
        even, by_chance = (_fixed(session, settings, progress, poisson=poisson) for poisson in (False, True))
        closed = session.closed_loop(settings.closed)
        progress(f"closed loop: {closed.many.completed_per_s:,.0f}/s", 1.0)
        sweep = _sweep(session, settings, progress)
        return HttpFigures(
            ready_s=dispersion([start.ready_s for start in starts]),
            first_decision_s=dispersion([start.first_decision_s for start in starts]),
            even=even,
            poisson=by_chance,
            sweep=sweep,
            closed=closed,
            memory=server.memory(),
            state_mb=server.state_mb(),
        )


def _fixed(session: Session, settings: HttpSettings, progress: Progress, *, poisson: bool) -> Fixed:
    name = f"{settings.rate:,.0f}/s {'by chance' if poisson else 'at even distances'}"
    loads = []
    for number in range(settings.rounds):
        progress(name, number / settings.rounds)
        plan = Plan(
            settings.seconds, settings.rate, settings.connections, settings.warm_up_s, poisson=poisson
        )
        loads.append(session.run(plan))
    progress(f"{name}: p99 {dispersion([load.latencies.p99_ms for load in loads]).median:.1f} ms", 1.0)
    return fixed(loads)


def fixed(rounds: list[Load]) -> Fixed:
    """Return rounds with the dispersion of their percentiles."""
    times = [load.latencies for load in rounds]
    return Fixed(
        p50_ms=dispersion([time_s.p50_ms for time_s in times]),
        p99_ms=dispersion([time_s.p99_ms for time_s in times]),
        p99_9_ms=dispersion([time_s.p99_9_ms for time_s in times]),
        max_ms=dispersion([time_s.max_ms for time_s in times]),
        rounds=rounds,
    )


def _sweep(session: Session, settings: HttpSettings, progress: Progress) -> Sweep:
    def run(rate: float) -> Load:
        load = session.run(Plan(settings.step_s, rate, settings.connections, settings.step_warm_up_s))
        progress(f"upward: {rate:,.0f}/s, p99 {load.latencies.p99_ms:.1f} ms", 0.0)
        return load

    saturation = find_saturation(run, settings.sweep)
    progress(f"upward: the saturation rate is at {saturation.saturation_per_s:,.0f}/s", 1.0)
    return saturation
