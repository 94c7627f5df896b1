"""The engine inside this process: payments in bulk, and one payment at a time, stage by stage.

One thread does everything: parse, features, score, rules, decision, reasons, and the commit of state and
decisions to SQLite.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from benchmarks.suite.simulation import BenchmarkSimulation, Progress
from fraud_detection.adapters.files.event_sources import Batch
from fraud_detection.adapters.host.gc_tuning import few_collections
from fraud_detection.adapters.host.stopping import Stop
from fraud_detection.adapters.sqlite.state_file import StateFile
from fraud_detection.core.metrics import LatencyHistogram, StageTimes
from fraud_detection.serving.embedded.service import EmbeddedService
from fraud_detection.serving.embedded.stream_runner import BATCH, run_stream

SOURCE = "bench"
TOTAL, DEFERRED = "total", "deferred"


class EngineSettings(msgspec.Struct, frozen=True):
    """How much is measured: payments in bulk, how often, and payments alone after so many others."""

    bulk: int = 200_000
    rounds: int = 3
    alone: int = 30_000
    before: int = 60_000
    """More than the events after which a changed profile is saved, so that saving is in the figures."""


class Dispersion(msgspec.Struct, frozen=True):
    """The median of several measurements, and the least and the greatest of them."""

    median: float
    lowest: float
    highest: float


class Micros(msgspec.Struct, frozen=True):
    """Percentiles in microseconds, each within 2 %; the longest is exact."""

    count: int
    p50_us: float
    p99_us: float
    p99_9_us: float
    max_us: float


class EngineFigures(msgspec.Struct, frozen=True):
    """What was found.

    stages_us: of a payment alone, by stage; `total` is all of it until its answer, commit included, and
    `deferred` deferred work after the response.
    """

    features: int
    bulk_payments_per_s: Dispersion
    stages_us: dict[str, Micros]
    profile_bytes_mean: float
    profile_bytes_max: int
    flagged_rate: float


def dispersion(values: Sequence[float]) -> Dispersion:
    """Return the median and the extremes."""
    return Dispersion(statistics.median(values), min(values), max(values))


def micros(histogram: LatencyHistogram) -> Micros:
    """Return the percentiles of what a histogram has counted, which is something."""
    longest = 1000 * (1000 * histogram.longest_s)
    p50, p99, p99_9 = (1000 * histogram.percentile_ms(percentile) for percentile in (50, 99, 99.9))
    return Micros(histogram.count, p50, p99, p99_9, longest)


def measure_engine(
    simulation: BenchmarkSimulation, settings: EngineSettings, progress: Progress
) -> EngineFigures:
    """Measure the engine over the state that knows the simulated history."""
    events = simulation.events(max(settings.bulk, settings.alone + settings.before))
    rates = []
    with simulation.scratch() as folder:
        for number in range(settings.rounds):
            rates.append(_bulk(simulation, events[: settings.bulk], Path(folder) / f"bulk-{number}"))
            progress(f"in bulk: {rates[-1]:,.0f} payments/s", (number + 1) / settings.rounds)
        mean, largest = profile_sizes(Path(folder) / f"bulk-{settings.rounds - 1}" / "state.db")
        service = simulation.service(Path(folder) / "alone.db")
        stages = _alone(service, events, settings, progress)
        service.close()
    tally = service.tally
    return EngineFigures(
        features=len(service.pipeline.profile_cache.extractor.definitions),
        bulk_payments_per_s=dispersion(rates),
        stages_us=stages,
        profile_bytes_mean=mean,
        profile_bytes_max=largest,
        flagged_rate=sum(tally.actions[1:]) / max(tally.decided, 1),
    )


def profile_sizes(state: Path) -> tuple[float, int]:
    """Return the mean and the largest number of bytes that a stored profile takes."""
    state_file = StateFile(state, reading=True)
    ((mean, largest),) = state_file.rows("SELECT avg(length(content)), max(length(content)) FROM profiles")
    state_file.close()
    return float(mean), int(largest)


def take_all(service: EmbeddedService, events: Sequence[bytes]) -> None:
    """Decide events in batches, as from a file."""
    for start in range(0, len(events), BATCH):
        service.take(Batch(list(events[start : start + BATCH]), None, 0), SOURCE)
        service.run_deferred_work()


def take_alone(service: EmbeddedService, event: bytes) -> tuple[float, float]:
    """Decide one payment as a batch of its own.

    Return how long its answer took in seconds, commit included, and then the deferred work.
    """
    batch = Batch([event], None, 0)
    began = time.perf_counter()
    service.take(batch, SOURCE)
    decided_at = time.perf_counter()
    service.run_deferred_work()
    return decided_at - began, time.perf_counter() - decided_at


def _bulk(simulation: BenchmarkSimulation, events: Sequence[bytes], folder: Path) -> float:
    """Decide a file of events with a new state; return payments a second, the closing included."""
    folder.mkdir()
    source = folder / "events.jsonl"
    source.write_bytes(b"\n".join(events) + b"\n")
    service = simulation.service(folder / "state.db")
    began = time.perf_counter()
    run_stream(service, str(source), Stop(), lambda _: None)
    service.close()
    return len(events) / (time.perf_counter() - began)


def _alone(
    service: EmbeddedService, events: Sequence[bytes], settings: EngineSettings, progress: Progress
) -> dict[str, Micros]:
    total, deferred = LatencyHistogram(), LatencyHistogram()
    with few_collections():
        take_all(service, events[: settings.before])
        pipeline = service.pipeline
        pipeline.stages = pipeline.decision_engine.stages = StageTimes(list(service.stages))
        for event in events[settings.before : settings.before + settings.alone]:
            decided_at, defer = take_alone(service, event)
            total.add(decided_at)
            deferred.add(defer)
    progress(f"one at a time: p50 {1000 * total.percentile_ms(50):,.0f} us", 1.0)
    stages = {name: micros(histogram) for name, histogram in service.stages.items()}
    return {TOTAL: micros(total)} | stages | {DEFERRED: micros(deferred)}
