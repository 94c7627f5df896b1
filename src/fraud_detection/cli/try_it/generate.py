"""`fraud generate history` and `fraud generate stream`: payments of a simulation."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fraud_detection.cli import options
from fraud_detection.cli.command import group
from fraud_detection.cli.printing import Output, print_line
from fraud_detection.core.errors import ConfigError

if TYPE_CHECKING:
    from fraud_detection.simulator.settings import SimulatorSettings


@group("generate")
def generate() -> None:
    """Simulate payments: a history to train on, or a stream."""


@generate.command("history")
@click.option("--out", type=options.PATH, default=Path("data/history.parquet"), help="Parquet or CSV.")
@click.option(
    "--ground-truth", type=options.PATH, help="Where to write which payments are fraud, reported or not."
)
@options.simulated()
def history(output: Output, *, out: Path, ground_truth: Path | None, simulated: options.Simulated) -> None:
    """Write a labelled file of historical payments."""
    import msgspec

    from fraud_detection.simulator.run import generate_history

    screen, settings = output.screen, simulation(simulated)

    def progress(day: int, payments: int) -> None:
        screen.progress(f"simulating: day {day}, {payments:,} payments", day / settings.days)

    out.parent.mkdir(parents=True, exist_ok=True)
    summary = generate_history(settings, out, ground_truth, progress)
    screen.finish()
    screen.print(
        f"{summary.payments:,} payments of {summary.days} days in {out}, {summary.frauds:,} frauds "
        f"({100 * summary.fraud_rate:.2f} %); {summary.payments_per_second:,.0f} payments/s"
    )
    output.write(msgspec.to_builtins(summary))


@generate.command("stream")
@click.option("--rate", type=float, default=1000.0, help="Payments a second.")
@click.option("--to", default="-", help="A file, - for standard output, or kinesis://STREAM.")
@click.option(
    "--seconds",
    cls=options.DefaultOption,
    type=float,
    show_default="until interrupted",
    help="Seconds to stream.",
)
@click.option(
    "--events", cls=options.DefaultOption, type=int, show_default="unlimited", help="Number of payments."
)
@options.drift
@click.option("--late-share", type=float, help="Share of late events.")
@click.option("--duplicate-share", type=float, help="Share of duplicate events.")
@click.option("--malformed-share", type=float, help="Share of malformed events.")
@options.simulated()
def stream(
    output: Output,
    *,
    rate: float,
    to: str,
    seconds: float | None,
    events: int | None,
    drift: tuple[str, ...],
    late_share: float | None,
    duplicate_share: float | None,
    malformed_share: float | None,
    simulated: options.Simulated,
) -> None:
    """Send payments and labels in real time, as JSON Lines."""
    import msgspec

    from fraud_detection.core.decoding import decode
    from fraud_detection.simulator.run import generate_stream
    from fraud_detection.simulator.stream import StreamOptions

    chosen = {
        "rate": rate,
        "seconds": seconds,
        "payments": events,
        "drift": drift,
        "late_share": late_share,
        "duplicate_share": duplicate_share,
        "malformed_share": malformed_share,
    }
    settings = decode(_given(chosen), StreamOptions, "options")
    if to == "-" and sys.stdout.isatty():
        raise ConfigError(
            "standard output is a terminal: pipe it into `fraud run --source -`, or name a file with --to"
        )
    summary = generate_stream(simulation(simulated), to, settings)
    print_line(
        f"sent {summary.payments:,} payments and {summary.labels:,} labels in {summary.seconds:.1f} s; "
        f"the receiver was {summary.max_lag_s:.3f} s behind at most",
        sys.stderr,
    )
    output.write(msgspec.to_builtins(summary))


def simulation(simulated: options.Simulated) -> SimulatorSettings:
    """Return the simulation that the options ask for."""
    from fraud_detection.core.decoding import decode
    from fraud_detection.simulator.settings import SimulatorSettings

    return decode(_given(simulated._asdict()), SimulatorSettings, "options")


def _given(chosen: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in chosen.items() if value is not None}
