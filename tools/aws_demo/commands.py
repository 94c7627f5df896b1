"""The whole system on AWS's protocols, on services of this machine."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import Any

import click
import msgspec

from fraud_detection.adapters.host.stopping import Stop
from fraud_detection.adapters.terminal import Terminal
from fraud_detection.cli import options
from fraud_detection.cli.command import command
from fraud_detection.cli.printing import Output, figure
from fraud_detection.cli.try_it.demo import HEADINGS, PLAIN_EVERY_S, quality_lines
from fraud_detection.cli.try_it.generate import simulation
from fraud_detection.core.errors import ConfigError
from fraud_detection.demo.demo import DemoSettings
from tools.aws_demo.demo import AwsDemoReport, DemoLog, demonstrate


@command("aws-demo")
@click.option("--seconds", type=float, default=60.0, help="How long to stream.")
@click.option("--rate", type=float, default=200.0, help="Payments a second.")
@options.simulated()
@click.option(
    "--directory", type=options.PATH, default=Path("build/aws-demo"), help="Where everything is put."
)
@click.option("--tools", type=options.PATH, default=Path(".venv-aws"), help="The local services.")
@options.drift
def aws_demo(
    output: Output,
    *,
    seconds: float,
    rate: float,
    simulated: options.Simulated,
    directory: Path,
    tools: Path,
    drift: tuple[str, ...],
) -> None:
    """Run the demo on AWS's own protocols: deployed to local services, streamed, removed."""
    screen, stop = output.screen, Stop()
    settings = DemoSettings(seconds, rate, simulation(simulated), directory, drift)
    # Before payments stream, an interrupt ends it at once; what was started is ended and removed.
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        report = demonstrate(settings, tools, stop, _Shown(screen), screen.progress, screen.print)
    finally:
        signal.signal(signal.SIGTERM, before)
    screen.finish()
    if not report.transactions:
        raise ConfigError("ended before the first payment was decided: there is nothing to sum up")
    screen.print(summary(report))
    figures = msgspec.to_builtins(report)
    output.write(figures | figures.pop("quality"))


class _Shown:
    """Shows the live table, more seldom where there is no terminal."""

    def __init__(self, screen: Terminal) -> None:
        self.screen = screen
        self.next = 0.0

    def __call__(self, view: DemoLog) -> None:
        if not view.tally.decided or (self.screen.plain and time.monotonic() < self.next):
            return
        self.next = time.monotonic() + PLAIN_EVERY_S
        self.screen.table(
            demo_figures(view), HEADINGS, [newest(decline) for decline in reversed(view.newest)]
        )


def demo_figures(view: DemoLog) -> dict[str, str]:
    """Return the figures above the live table."""
    tally = view.tally
    return {
        "decided": f"{tally.decided:,}",
        "per second": f"{view.rate():,.0f}",
        "p50 ms": figure(tally.put_ms.percentile_ms(50), 0),
        "p99 ms": figure(tally.put_ms.percentile_ms(99), 0),
        "approve": f"{tally.actions['approve']:,}",
        "review": f"{tally.actions['review']:,}",
        "decline": f"{tally.actions['decline']:,}",
        "quarantined": f"{tally.quarantined:,}",
    }


def newest(entry: dict[str, Any]) -> tuple[str, str, str, str]:
    """Return a decline as a row of the live table; the log holds no amounts."""
    why = [reason["message"] for reason in entry["reasons"] if reason["code"] == "score"]
    return entry["transaction_id"], "", f"{entry['score'] or 0:.3f}", "; ".join(why)


def summary(report: AwsDemoReport) -> str:
    """Return the summary of a demonstration."""
    stages = ", ".join(f"{stage} {ms:.1f}" for stage, ms in report.stages_ms.items())
    return f"""
{report.transactions:,} transactions in = {report.decided:,} decided + {report.quarantined:,} quarantined \
(and {report.duplicates:,} duplicates, {report.labels:,} labels)
approve {report.approve:,}, review {report.review:,}, decline {report.decline:,}; \
{report.transactions_per_s:,.0f} transactions/s; {report.degraded:,} without a score
from the stream to the decision: p50 {figure(report.p50_ms, 0)} ms, p99 {figure(report.p99_ms, 0)} ms, \
longest {figure(report.max_ms, 0)} ms (the stream was read every {report.poll_ms:.0f} ms)
{report.batches:,} batches of {report.decisions_per_batch:.1f} decisions; mean ms a batch: {stages}; \
{report.write_conflicts:,} profiles were changed by another shard meanwhile, and their events reapplied
{quality_lines(report.quality)}
first decision {report.seconds_to_first_decision:.1f} s after the start; \
{report.dead_lettered:,} records dead-lettered"""
