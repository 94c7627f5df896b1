"""Figures of a benchmark as the text rows of a table."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator

from benchmarks.load_generator.load import Latencies, Load
from benchmarks.suite.closed_loop import ClosedLoop
from benchmarks.suite.engine import DEFERRED, TOTAL, Dispersion, EngineFigures, Micros
from benchmarks.suite.figures import Figures
from benchmarks.suite.http import Fixed, HttpFigures
from benchmarks.suite.machine import Machine
from benchmarks.suite.scale import ScaleFigures
from benchmarks.suite.soak import Population, SoakFigures

Row = tuple[str, str]

MANY_MS = 100
STAGES = {
    TOTAL: "a payment alone until its answer, commit included",
    DEFERRED: "deferred until after the response",
}

PERCENTILES = "p50 / p99 / p99.9 / longest"
LATE = " (the client itself was late: the server may be better)"


def rows(figures: Figures) -> Iterator[Row]:
    """Yield each figure as text, with its value and unit."""
    if figures.engine is not None:
        yield from engine_rows(figures.engine)
    if figures.scale is not None:
        yield from scale_rows(figures.scale)
    if figures.http is not None:
        yield from http_rows(figures.http)
    for closed_loop in figures.comparison or ():
        yield from closed_loop_rows(closed_loop, "comparison: ")
    for ratio in figures.ratios or ():
        yield (
            f"`fraud serve` alongside {ratio.name}: throughput, p50 of one connection",
            f"{ratio.throughput:,.1f} times as much, {ratio.p50:,.1f} times as quick",
        )


def engine_rows(engine_figures: EngineFigures) -> Iterator[Row]:
    """Yield the rows of the engine in this process."""
    speed = f"{format_dispersion(engine_figures.bulk_payments_per_s)} payments/s"
    yield f"in bulk, from a file, {engine_figures.features} features", speed
    for stage in (TOTAL, *(name for name in engine_figures.stages_us if name != TOTAL)):
        yield (
            f"{STAGES.get(stage, f'of it, {stage}')}: {PERCENTILES}",
            format_micros(engine_figures.stages_us[stage]),
        )
    sizes = f"{engine_figures.profile_bytes_mean:,.0f}, {engine_figures.profile_bytes_max:,} bytes"
    yield "a stored profile: mean, largest that was met", sizes


def scale_rows(scale_figures: ScaleFigures) -> Iterator[Row]:
    """Yield the rows of many entities."""
    yield (
        f"a payment while {scale_figures.few:,} entities are known: {PERCENTILES}",
        format_micros(scale_figures.few_us),
    )
    yield f"while {scale_figures.many:,} are known", format_micros(scale_figures.many_us)
    yield "how many times as long", format_ratio(scale_figures.ratio)
    total = f"{scale_figures.few_total_us:,.0f} us, {scale_figures.many_total_us:,.0f} us"
    yield "the same with deferred work, in the mean", total
    yield "how many times as long", format_ratio(scale_figures.ratio_total)
    yield (
        "the first payment of an entity since the start, its profile stored",
        format_micros(scale_figures.cold_us),
    )
    yield "memory for a million entities", f"{scale_figures.memory.bytes_an_entity / 1000:,.2f} GB"
    full = (
        f"{scale_figures.bound_bytes_in_memory / 1000:,.1f} kB, "
        f"{scale_figures.bound_bytes_stored / 1000:,.1f} kB"
    )
    yield "an entity that is full in every window: in memory, stored", full


def format_ratio(dispersion: Dispersion) -> str:
    """Return how many times, with the dispersion over the turns."""
    return f"{dispersion.median:.2f} ({dispersion.lowest:.2f} to {dispersion.highest:.2f} of turns)"


def http_rows(http_figures: HttpFigures) -> Iterator[Row]:
    """Yield the rows of `fraud serve`."""
    yield "from the start of the process to ready", f"{http_figures.ready_s.median:.1f} s"
    yield "to the first decision", f"{http_figures.first_decision_s.median:.1f} s"
    for fixed, how in ((http_figures.even, "at even distances"), (http_figures.poisson, "by chance")):
        yield f"{fixed.rounds[0].target_per_s:,.0f}/s over HTTP, {how}: {PERCENTILES}", format_fixed(fixed)
    sweep = http_figures.sweep
    saturation = f"{sweep.saturation_per_s:,.0f}/s{' or more' if sweep.open_end else ''}"
    late = LATE if sweep.client_bound else ""
    yield f"the highest rate with p99 <= {sweep.bound_ms:g} ms and no errors", f"{saturation}{late}"
    yield from closed_loop_rows(http_figures.closed)
    memory = (
        f"{http_figures.memory.own_mb:,.0f} MB, and {http_figures.memory.files_mb:,.0f} MB of mapped files"
    )
    yield "memory of the server behind it all", memory


def closed_loop_rows(closed_loop: ClosedLoop, where: str = "") -> Iterator[Row]:
    """Yield the rows of one server in a closed loop."""
    yield f"{where}{closed_loop.name}, one connection: {PERCENTILES}", format_latency(closed_loop.one)
    throughput = f"{closed_loop.many.completed_per_s:,.0f}/s, {format_latency(closed_loop.many)}"
    yield (
        f"{where}{closed_loop.name}, {closed_loop.connections} connections: answers, {PERCENTILES}",
        throughput,
    )


def format_micros(micros: Micros) -> str:
    """Return p50, p99, p99.9 and the longest in us."""
    return f"{micros.p50_us:,.0f} / {micros.p99_us:,.0f} / {micros.p99_9_us:,.0f} / {micros.max_us:,.0f} us"


def format_fixed(fixed: Fixed) -> str:
    """Return the percentiles of a load in rounds: medians, and from the least to the most."""
    percentiles_ms = (fixed.p50_ms, fixed.p99_ms, fixed.p99_9_ms, fixed.max_ms)
    medians = " / ".join(_short(percentile.median) for percentile in percentiles_ms)
    ranges = " / ".join(
        f"{_short(percentile.lowest)} to {_short(percentile.highest)}" for percentile in percentiles_ms
    )
    errors = sum(load.errors for load in fixed.rounds)
    wrong = f", {errors:,} errors" if errors else ""
    return f"{medians} ms ({ranges}){wrong}{LATE if any(load.client_bound for load in fixed.rounds) else ''}"


def format_latency(load: Load) -> str:
    """Return the percentiles of a load, and what went wrong with it."""
    wrong = f", {load.errors:,} errors" if load.errors else ""
    return f"{percentiles(load.latencies)}{wrong}{LATE if load.client_bound else ''}"


def percentiles(latencies: Latencies) -> str:
    """Return p50, p99, p99.9 and the longest in ms."""
    return (
        " / ".join(
            _short(value)
            for value in (latencies.p50_ms, latencies.p99_ms, latencies.p99_9_ms, latencies.max_ms)
        )
        + " ms"
    )


def _short(value: float) -> str:
    """Return a value with its significant digits.

    >>> _short(0.512), _short(7.25), _short(183.2)
    ('0.51', '7.2', '183')
    """
    return f"{value:.2f}" if value < 1 else f"{value:.1f}" if value < MANY_MS else f"{value:,.0f}"


def format_dispersion(dispersion: Dispersion) -> str:
    """Return a median with its extremes."""
    return f"{dispersion.median:,.0f} ({dispersion.lowest:,.0f} to {dispersion.highest:,.0f})"


def soak_rows(soak_figures: SoakFigures) -> Iterator[Row]:
    """Yield the rows of a soak."""
    settings, population, verdict = soak_figures.settings, soak_figures.population, soak_figures.verdict
    first, last = population.minutes[0], population.minutes[-1]
    shared = "" if soak_figures.alongside is None else ", by turns with another server"
    yield (
        "how long, at which rate",
        f"{settings.minutes:.3g} minutes, {settings.rate:,.0f}/s at even distances{shared}",
    )
    yield from population_rows(population)
    if soak_figures.alongside is not None:
        for what, value in population_rows(soak_figures.alongside):
            yield f"the other server: {what}", value
    yield "p99 of the last quarter over the first", f"{verdict.p99_ratio:.2f}, {_flat(verdict.p99_flat)}"
    memory = (soak_figures.empty, population.at_start, population.loaded, first.memory, last.memory)
    sizes = ", ".join(f"{size.resident_mb:,.0f}" for size in memory)
    stages = "of an empty server, at the start, profiles loaded, after the first minute, at the end"
    yield f"resident memory: {stages}", f"{sizes} MB"
    yield "memory for a million entities, at the end", f"{soak_figures.bytes_an_entity / 1000:,.2f} GB"
    growth = f"{verdict.memory_mb_per_hour:+,.0f} MB an hour, {100 * verdict.memory_share:+.1f} %"
    yield "memory over the second half", f"{growth}, {_flat(verdict.memory_flat)}"
    yield "state file with its log: first, last", f"{first.state_mb:,.0f} MB, {last.state_mb:,.0f} MB"


def population_rows(population: Population) -> Iterator[Row]:
    """Yield the rows of one server of a soak."""
    yield "cards; entities known", f"{population.cards:,}; {population.entities:,}"
    yield (
        "from the start of the process to ready, all profiles at rest",
        f"{population.start_times.ready_s:.1f} s",
    )
    yield "payments answered", f"{population.total.latencies.count:,}, {population.total.errors:,} errors"
    yield f"all of it: {PERCENTILES}", format_latency(population.total)
    p99 = [minute.load.latencies.p99_ms for minute in population.minutes]
    dispersion = f"{statistics.median(p99):.1f}, {min(p99):.1f}, {max(p99):.1f} ms"
    yield "p99 by the minute: median, least, most", dispersion


def _flat(flat: bool) -> str:  # noqa: FBT001 - its word
    return "flat" if flat else "not flat"


def table(machine: Machine, elsewhere_share: float, table_rows: Iterable[Row]) -> str:
    """Return figures as a page shows them."""
    busy = f"other work took {100 * elsewhere_share:.0f} % of its cores meanwhile"
    head = f"{machine.describe()}; {busy}.\n\n| | measured |\n|---|---|\n"
    return head + "\n".join(f"| {what} | {value} |" for what, value in table_rows)
