"""The page that keeps the figures: tables between markers, and the charts alongside it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from benchmarks.load_generator.load import Latencies
from benchmarks.load_generator.sweep import Sweep
from benchmarks.suite.closed_loop import ClosedLoop
from benchmarks.suite.figures import Figures
from benchmarks.suite.report import rows, soak_rows, table
from benchmarks.suite.soak import Minute, SoakFigures
from fraud_detection.core.errors import ConfigError
from fraud_detection.evaluation.report.charts import Axis, Mark, Series, bar_chart, line_chart

PAGE = Path("docs/performance.md")
PICTURES = "pictures"
BENCH = ("<!-- bench: written by `make bench` -->", "<!-- end of bench -->")
SOAK = ("<!-- soak: written by `python -m benchmarks soak --write` -->", "<!-- end of soak -->")
MB_A_GB = 1000

Pictures = Mapping[str, str]
"""SVG by the name of its file."""


def between(text: str, markers: tuple[str, str], new: str) -> str:
    """Return a page with what stands between two markers replaced, and nothing else changed.

    >>> between("a <b> old </b> c", ("<b>", "</b>"), "new").split()
    ['a', '<b>', 'new', '</b>', 'c']
    """
    before, inner, rest = text.partition(markers[0])
    _, ended, after = rest.partition(markers[1])
    if not inner or not ended:
        raise ConfigError(f"{PAGE}: has no `{markers[0]}` and `{markers[1]}`; the figures go between them")
    return f"{before}{markers[0]}\n{new}\n{markers[1]}{after}"


def page_of(root: Path) -> Path:
    """Return the page in a project's folder; raise ConfigError where there is none."""
    if not (root / PAGE).is_file():
        raise ConfigError(f"--write: there is no {PAGE} here; run it in the folder of the project")
    return root / PAGE


def write_bench(root: Path, figures: Figures) -> None:
    """Put all figures and their charts into the page."""
    _write(
        page_of(root),
        BENCH,
        table(figures.machine, figures.elsewhere_share, rows(figures)),
        bench_pictures(figures),
    )


def write_soak(root: Path, figures: SoakFigures) -> None:
    """Put the figures of a soak and its charts into the page."""
    _write(
        page_of(root),
        SOAK,
        table(figures.machine, figures.elsewhere_share, soak_rows(figures)),
        soak_pictures(figures),
    )


def _write(page: Path, markers: tuple[str, str], text: str, pictures: Pictures) -> None:
    folder = page.parent / PICTURES
    folder.mkdir(exist_ok=True)
    for name, picture in pictures.items():
        (folder / name).write_text(picture)
    shown = "\n".join(f"![{Path(name).stem}]({PICTURES}/{name})" for name in pictures)
    page.write_text(between(page.read_text(), markers, f"{text}\n\n{shown}"))


def bench_pictures(figures: Figures) -> Pictures:
    """Return the charts of what was measured."""
    pictures = dict[str, str]()
    if figures.http is not None:
        pictures["latency-by-rate.svg"] = latency_by_rate(figures.http.sweep)
    if figures.comparison:
        pictures |= dict(comparison_pictures(figures.comparison))
    return pictures


def latency_by_rate(sweep: Sweep) -> str:
    """Return a chart of the percentiles at each rate that was tried; of two tries the better one."""
    best = dict[float, Latencies]()
    for step in sweep.steps:
        rate = step.load.target_per_s
        if rate not in best or step.load.latencies.p99_ms < best[rate].p99_ms:
            best[rate] = step.load.latencies
    lines = [
        Series(name, [(rate, float(getattr(best[rate], key))) for rate in sorted(best)])
        for name, key in (("longest", "max_ms"), ("p99.9", "p99_9_ms"), ("p99", "p99_ms"), ("p50", "p50_ms"))
    ]
    marks = [Mark(f"p99 <= {sweep.bound_ms:g} ms", y=sweep.bound_ms)]
    if sweep.saturation_per_s:
        marks.append(Mark(f"saturation rate: {sweep.saturation_per_s:,.0f}/s", x=sweep.saturation_per_s))
    title = "fraud serve, one worker: latency since each payment was due"
    return line_chart(title, Axis("payments a second", log=True), Axis("latency, ms", log=True), lines, marks)


def comparison_pictures(closed_loops: Sequence[ClosedLoop]) -> Iterator[tuple[str, str]]:
    """Yield the charts of servers alongside each other."""
    title = f"answers a second, {closed_loops[0].connections} connections"
    rates = [(closed_loop.name, closed_loop.many.completed_per_s) for closed_loop in closed_loops]
    yield "comparison-throughput.svg", bar_chart(title, "/s", rates)
    latency = [(closed_loop.name, closed_loop.one.latencies.p50_ms) for closed_loop in closed_loops]
    yield "comparison-latency.svg", bar_chart("p50 of one connection", "ms", latency)


def soak_pictures(figures: SoakFigures) -> Pictures:
    """Return the charts of a soak."""
    minutes, settings = figures.population.minutes, figures.settings
    title, axis = f"{settings.rate:,.0f} payments/s, {settings.cards:,} cards", Axis("minutes")
    names = {"p99.9": "p99_9_ms", "p99": "p99_ms", "p50": "p50_ms"}
    latency = [Series(name, _over_time(minutes, key)) for name, key in names.items()]
    if figures.alongside is not None:
        name = f"p99 of {figures.alongside.cards:,} cards"
        latency.append(Series(name, _over_time(figures.alongside.minutes, "p99_ms")))
    memory = [
        Series("own memory", [(_minute(minute), minute.memory.own_mb / MB_A_GB) for minute in minutes]),
        Series("mapped files", [(_minute(minute), minute.memory.files_mb / MB_A_GB) for minute in minutes]),
    ]
    return {
        "soak-latency.svg": line_chart(f"{title}: latency", axis, Axis("ms", log=True), latency),
        "soak-memory.svg": line_chart(f"{title}: memory of the server", axis, Axis("GB"), memory),
    }


def _minute(minute: Minute) -> float:
    return minute.load.from_s / 60


def _over_time(minutes: list[Minute], key: str) -> list[tuple[float, float]]:
    return [(_minute(minute), float(getattr(minute.load.latencies, key))) for minute in minutes]
