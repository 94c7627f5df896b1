"""`fraud bench`: what the system promises, measured on this machine."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

import msgspec

from fraud_detection.bench.engine import measure_engine
from fraud_detection.bench.figures import QUICK, BenchSettings, Figures
from fraud_detection.bench.http import measure_http
from fraud_detection.bench.machine import machine
from fraud_detection.bench.report import rows, write_page
from fraud_detection.bench.scale import measure_scale
from fraud_detection.bench.world import Progress, World, prepared
from fraud_detection.commands.printing import print_line, terminal, write_figures


def bench(arguments: Namespace) -> None:
    """Measure what was asked for, print it, and write it where that is wanted."""
    screen = terminal(arguments)
    world = prepared(arguments.directory, screen.progress, quick=arguments.quick)
    figures = measured(arguments, world, screen.progress)
    screen.finish()
    for what, value in rows(figures):
        print_line(f"{what}: {value}")
    write_figures(arguments, msgspec.to_builtins(figures))
    if arguments.write:
        write_page(Path.cwd(), figures)


def measured(arguments: Namespace, world: World, progress: Progress) -> Figures:
    """Measure the parts that were asked for."""
    settings = QUICK if arguments.quick else BenchSettings()
    http = msgspec.structs.replace(settings.http, rate=arguments.rate or settings.http.rate)
    found, what = Figures(machine(), arguments.quick), arguments.what
    if what in ("engine", "all"):
        engine = measure_engine(world, settings.engine, progress)
        found = msgspec.structs.replace(found, engine=engine)
    if what in ("http", "all"):
        found = msgspec.structs.replace(found, http=measure_http(world, http, progress))
    if what in ("scale", "all"):
        found = msgspec.structs.replace(found, scale=measure_scale(world, settings.scale, progress))
    return found
