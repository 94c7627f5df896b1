"""What the system promises, measured on this machine."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import click
import msgspec

from benchmarks.suite.closed_loop import ratios
from benchmarks.suite.compare import measure_comparison
from benchmarks.suite.engine import measure_engine
from benchmarks.suite.figures import QUICK, QUICK_ALONGSIDE, QUICK_SOAK, BenchSettings, Figures
from benchmarks.suite.http import measure_http
from benchmarks.suite.machine import Meter, machine
from benchmarks.suite.page import page_of, write_bench, write_soak
from benchmarks.suite.report import rows, soak_rows
from benchmarks.suite.scale import measure_scale
from benchmarks.suite.simulation import BenchmarkSimulation, Progress, prepared
from benchmarks.suite.soak import SoakFigures, SoakSettings, measure_soak
from fraud_detection.cli import options
from fraud_detection.cli.command import command
from fraud_detection.cli.printing import Output, print_line
from fraud_detection.core.errors import ConfigError

QUIET_SHARE = 0.05


class Wanted(NamedTuple):
    """What is measured, and how."""

    what: str
    quick: bool
    comparison: bool
    environments: Path
    rate: float | None
    minutes: float
    cards: int
    alongside: int


@command("benchmarks")
@click.argument("what", type=click.Choice(["engine", "scale", "http", "all", "soak"]), default="all")
@click.option("--write", is_flag=True, help="Into docs/performance.md, with charts.")
@click.option("--directory", type=options.PATH, default=Path("build/bench"), help="Stores the trained model.")
@options.gathered(
    "wanted",
    Wanted,
    click.option("--quick", is_flag=True, help="Few payments and a few seconds, to try it out."),
    click.option("--comparison", is_flag=True, help="Compare with other servers of the same model."),
    click.option(
        "--environments",
        type=options.PATH,
        default=Path(".venv-comparison"),
        help="Of the servers (`make comparison-servers`).",
    ),
    click.option("--rate", type=float, help="Payments a second at the fixed rate (1000)."),
    click.option("--minutes", type=float, default=60.0, help="soak: how long."),
    click.option("--cards", type=int, default=1_000_000, help="soak: how many are known."),
    click.option(
        "--alongside", type=int, default=0, help="soak: cards of a second server, which takes turns."
    ),
)
def bench(output: Output, *, wanted: Wanted, write: bool, directory: Path) -> None:
    """Measure speed, latency and memory on this machine.

    engine: in this process; scale: many entities; http: `fraud serve`; soak: for long; all: all but soak.
    """
    _check(wanted, write=write)
    simulation = prepared(directory, output.screen.progress, quick=wanted.quick)
    if wanted.what == "soak":
        soaked = _soak(wanted, simulation, output.screen.progress)
        _show(output, soak_rows(soaked), soaked)
        if write:
            write_soak(Path.cwd(), soaked)
        return
    figures = measured(wanted, simulation, output.screen.progress)
    _show(output, rows(figures), figures)
    if write:
        write_bench(Path.cwd(), figures)


def measured(wanted: Wanted, simulation: BenchmarkSimulation, progress: Progress) -> Figures:
    """Measure the parts that were asked for."""
    settings = QUICK if wanted.quick else BenchSettings()
    http = msgspec.structs.replace(settings.http, rate=wanted.rate or settings.http.rate)
    whole, what = wanted.what == "all", wanted.what
    measured_on, meter = machine(), Meter()
    engine = measure_engine(simulation, settings.engine, progress) if whole or what == "engine" else None
    scale = measure_scale(simulation, settings.scale, progress) if whole or what == "scale" else None
    served = measure_http(simulation, http, progress) if whole or what == "http" else None
    closed_loop = (
        measure_comparison(simulation, wanted.environments, http.closed, progress)
        if wanted.comparison
        else None
    )
    compared = None if closed_loop is None else ratios(closed_loop[0], closed_loop[1:])
    parts = (engine, scale, served, closed_loop, compared)
    return Figures(measured_on, wanted.quick, meter.elsewhere(), *parts)


def _soak(wanted: Wanted, simulation: BenchmarkSimulation, progress: Progress) -> SoakFigures:
    settings = SoakSettings(minutes=wanted.minutes, cards=wanted.cards, alongside=wanted.alongside)
    if wanted.quick:
        minutes = QUICK_ALONGSIDE if wanted.alongside else QUICK_SOAK.minutes
        settings = msgspec.structs.replace(QUICK_SOAK, minutes=minutes, alongside=wanted.alongside)
    return measure_soak(
        simulation, msgspec.structs.replace(settings, rate=wanted.rate or settings.rate), progress
    )


def _show(output: Output, table: Iterable[tuple[str, str]], figures: Figures | SoakFigures) -> None:
    output.screen.finish()
    for what, value in table:
        print_line(f"{what}: {value}")
    if figures.elsewhere_share > QUIET_SHARE:
        share = f"{100 * figures.elsewhere_share:.0f} %"
        output.screen.print(f"other work took {share} of the cores: these are figures of a busy machine")
    output.write(msgspec.to_builtins(figures))


def _check(wanted: Wanted, *, write: bool) -> None:
    """Refuse before anything is measured what could not be written at the end."""
    if wanted.comparison and wanted.what == "soak":
        raise ConfigError("--comparison: a soak is of `fraud serve` alone")
    if not write:
        return
    if wanted.quick or wanted.what not in ("all", "soak"):
        raise ConfigError("--write: the page has all figures of a whole run; leave out --quick and parts")
    page_of(Path.cwd())
