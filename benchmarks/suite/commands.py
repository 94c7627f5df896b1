"""What the system promises, measured on this machine."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

import msgspec

from benchmarks.suite.beside import ratios
from benchmarks.suite.compare import measure_peers
from benchmarks.suite.engine import measure_engine
from benchmarks.suite.figures import QUICK, QUICK_SOAK, BenchSettings, Figures
from benchmarks.suite.http import measure_http
from benchmarks.suite.machine import Meter, machine
from benchmarks.suite.page import page_of, write_bench, write_soak
from benchmarks.suite.report import rows, soak_rows
from benchmarks.suite.scale import measure_scale
from benchmarks.suite.soak import SoakSettings, measure_soak
from benchmarks.suite.world import Progress, World, prepared
from fraud_detection.adapters.terminal import Terminal
from fraud_detection.cli.printing import print_line, terminal, write_figures
from fraud_detection.core.errors import ConfigError

QUIET_SHARE = 0.05


def bench(arguments: Namespace) -> None:
    """Measure what was asked for, print it, and write it where that is wanted."""
    _check(arguments)
    screen = terminal(arguments)
    world = prepared(arguments.directory, screen.progress, quick=arguments.quick)
    if arguments.what == "soak":
        _soak(arguments, world)
        return
    figures = measured(arguments, world, screen.progress)
    screen.finish()
    for what, value in rows(figures):
        print_line(f"{what}: {value}")
    _say_elsewhere(screen, figures.elsewhere_share)
    write_figures(arguments, msgspec.to_builtins(figures))
    if arguments.write:
        write_bench(Path.cwd(), figures)


def measured(arguments: Namespace, world: World, progress: Progress) -> Figures:
    """Measure the parts that were asked for."""
    settings = QUICK if arguments.quick else BenchSettings()
    http = msgspec.structs.replace(settings.http, rate=arguments.rate or settings.http.rate)
    whole, what = arguments.what == "all", arguments.what
    measured_on, meter = machine(), Meter()
    engine = measure_engine(world, settings.engine, progress) if whole or what == "engine" else None
    scale = measure_scale(world, settings.scale, progress) if whole or what == "scale" else None
    served = measure_http(world, http, progress) if whole or what == "http" else None
    beside = measure_peers(world, arguments.environments, http.closed, progress) if arguments.peers else None
    compared = None if beside is None else ratios(beside[0], beside[1:])
    parts = (engine, scale, served, beside, compared)
    return Figures(measured_on, arguments.quick, meter.elsewhere(), *parts)


def _soak(arguments: Namespace, world: World) -> None:
    screen = terminal(arguments)
    settings = (
        QUICK_SOAK if arguments.quick else SoakSettings(minutes=arguments.minutes, cards=arguments.cards)
    )
    settings = msgspec.structs.replace(settings, rate=arguments.rate or settings.rate)
    figures = measure_soak(world, settings, screen.progress)
    screen.finish()
    for what, value in soak_rows(figures):
        print_line(f"{what}: {value}")
    _say_elsewhere(screen, figures.elsewhere_share)
    write_figures(arguments, msgspec.to_builtins(figures))
    if arguments.write:
        write_soak(Path.cwd(), figures)


def _say_elsewhere(screen: Terminal, share: float) -> None:
    if share > QUIET_SHARE:
        screen.say(f"other work took {100 * share:.0f} % of the cores: these are figures of a busy machine")


def _check(arguments: Namespace) -> None:
    """Refuse before anything is measured what could not be written at the end."""
    if arguments.peers and arguments.what == "soak":
        raise ConfigError("--peers: a soak is of `fraud serve` alone")
    if not arguments.write:
        return
    if arguments.quick or arguments.what not in ("all", "soak"):
        raise ConfigError("--write: the page has all figures of a whole run; leave out --quick and parts")
    page_of(Path.cwd())
