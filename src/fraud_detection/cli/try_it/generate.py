"""`fraud generate history` and `fraud generate live`: payments of a simulated world."""

from __future__ import annotations

import sys
from argparse import Namespace

import msgspec

from fraud_detection.cli.printing import print_line, terminal, write_figures
from fraud_detection.core.decoding import decode
from fraud_detection.core.errors import ConfigError
from fraud_detection.simulator.live import LiveOptions
from fraud_detection.simulator.run import generate_history, generate_live
from fraud_detection.simulator.world import SimulatorSettings


def history(arguments: Namespace) -> None:
    """Write a labelled file of past payments."""
    screen, world = terminal(arguments), simulated_world(arguments)

    def progress(day: int, payments: int) -> None:
        screen.progress(f"simulating: day {day}, {payments:,} payments", day / world.days)

    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    summary = generate_history(world, arguments.out, arguments.truth, progress)
    screen.finish()
    screen.say(
        f"{summary.payments:,} payments of {summary.days} days in {arguments.out}, {summary.frauds:,} frauds "
        f"({100 * summary.fraud_share:.2f} %); {summary.payments_per_second:,.0f} payments/s"
    )
    write_figures(arguments, msgspec.to_builtins(summary))


def live(arguments: Namespace) -> None:
    """Send payments and labels in real time."""
    shares = {f"{name}_share": getattr(arguments, f"{name}_share") for name in ("late", "repeat", "poison")}
    chosen = {
        "rate": arguments.rate,
        "seconds": arguments.seconds,
        "payments": arguments.events,
        "drift": tuple(arguments.drift),
        **shares,
    }
    options = decode(
        {key: value for key, value in chosen.items() if value is not None}, LiveOptions, "options"
    )
    if arguments.to == "-" and sys.stdout.isatty():
        raise ConfigError(
            "standard output is a terminal: pipe it into `fraud run --source -`, or name a file with --to"
        )
    summary = generate_live(simulated_world(arguments), arguments.to, options)
    print_line(
        f"sent {summary.payments:,} payments and {summary.labels:,} labels in {summary.seconds:.1f} s; "
        f"the receiver was {summary.behind_s_max:.3f} s behind at most",
        sys.stderr,
    )
    write_figures(arguments, msgspec.to_builtins(summary))


def simulated_world(arguments: Namespace) -> SimulatorSettings:
    """Return the world that the arguments ask for."""
    chosen = {"seed": arguments.seed, "cards": arguments.cards, "days": arguments.days}
    return decode(
        {key: value for key, value in chosen.items() if value is not None}, SimulatorSettings, "options"
    )
