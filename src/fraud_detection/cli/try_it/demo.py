"""`fraud demo`: the whole system, from nothing to decided payments."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fraud_detection.cli import options
from fraud_detection.cli.command import command
from fraud_detection.cli.printing import Output, figure
from fraud_detection.cli.try_it.generate import simulation
from fraud_detection.core.errors import ConfigError

if TYPE_CHECKING:
    from fraud_detection.adapters.terminal import Terminal
    from fraud_detection.core.outcomes import Decided
    from fraud_detection.demo.decision_quality import Quality
    from fraud_detection.demo.demo import DemoReport, DemoView

PLAIN_EVERY_S = 5.0
HEADINGS = ("declined", "amount", "score", "because")


@command("demo")
@click.option("--seconds", type=float, default=60.0, help="Seconds to stream.")
@click.option("--rate", type=float, default=1000.0, help="Payments a second.")
@options.simulated()
@click.option("--directory", type=options.PATH, default=Path("build/demo"), help="Output directory.")
@options.drift
def demo(
    output: Output,
    *,
    seconds: float,
    rate: float,
    simulated: options.Simulated,
    directory: Path,
    drift: tuple[str, ...],
) -> None:
    """Simulate payments, train a model, and decide a stream."""
    import msgspec

    from fraud_detection.adapters.host.stopping import Stop, ending_on_signals
    from fraud_detection.demo.demo import DemoSettings, demo_project, prepare, stream, summarise

    began, screen, stop = time.monotonic(), output.screen, Stop()
    settings = DemoSettings(seconds, rate, simulation(simulated), directory, drift)
    prepare(settings, demo_project(), screen.progress)
    screen.finish()
    screen.print(f"streaming {settings.rate:,.0f} payments/s for {settings.seconds:g} s; Ctrl-C ends it")
    with ending_on_signals(stop):
        view = stream(settings, stop, _Shown(screen))
    screen.finish()
    if not view.tally.transactions:
        raise ConfigError("ended before the first payment was decided: there is nothing to sum up")
    report = summarise(settings, view, view.started - began)
    screen.print(summary(report))
    screen.print(
        f"everything is in {directory}: bundle, decisions and quarantine (state.db), features, ground truth"
    )
    figures = msgspec.to_builtins(report)
    output.write(figures | figures.pop("quality"))


class _Shown:
    """Shows the live table, more seldom where there is no terminal."""

    def __init__(self, screen: Terminal) -> None:
        self.screen = screen
        self.next = 0.0

    def __call__(self, view: DemoView) -> None:
        if self.screen.plain and time.monotonic() < self.next:
            return
        self.next = time.monotonic() + PLAIN_EVERY_S
        self.screen.table(
            demo_figures(view), HEADINGS, [newest(decline) for decline in reversed(view.newest)]
        )


def demo_figures(view: DemoView) -> dict[str, str]:
    """Return the figures above the live table."""
    tally = view.tally
    approve, review, decline = tally.actions
    return {
        "decided": f"{tally.decided:,}",
        "per second": f"{view.rate():,.0f}",
        "p50 ms": figure(tally.latency.percentile_ms(50)),
        "p99 ms": figure(tally.latency.percentile_ms(99)),
        "approve": f"{approve:,}",
        "review": f"{review:,}",
        "decline": f"{decline:,}",
        "quarantined": f"{tally.quarantined:,}",
    }


def newest(decided: Decided) -> tuple[str, str, str, str]:
    """Return a decline as a row of the live table."""
    decision, payment = decided.decision, decided.payment
    amount = "" if payment.amount is None else f"{payment.amount / 100:,.2f}"
    because = "; ".join(reason.message for reason in decision.reasons if reason.code != "score")
    return decision.transaction_id, amount, f"{decision.score or 0:.3f}", because


def summary(report: DemoReport) -> str:
    """Return the summary of a demonstration."""
    return f"""
{report.transactions:,} transactions in = {report.decided:,} decided + {report.quarantined:,} quarantined \
(and {report.duplicates:,} duplicates, {report.labels:,} labels)
approve {report.approve:,}, review {report.review:,}, decline {report.decline:,}; \
{report.transactions_per_s:,.0f} transactions/s
latency since each was due: p50 {figure(report.p50_ms)} ms, p99 {figure(report.p99_ms)} ms, \
longest {figure(report.max_ms)} ms; engine p50 {figure(report.engine_p50_ms)} ms, \
p99 {figure(report.engine_p99_ms)} ms
{quality_lines(report.quality)}
first live decision {report.seconds_to_first_decision:.1f} s after the start"""


def quality_lines(quality: Quality) -> str:
    """Return the quality of the decisions as lines."""
    return f"""\
of {quality.frauds:,} frauds {figure(100 * quality.recall, 1)} % were reviewed or declined; \
{figure(100 * quality.precision, 1)} % of what was reviewed or declined was fraud; \
average precision {figure(quality.average_precision, 3)}
money saved: {quality.money_saved:,.0f} of {quality.money_at_risk:,.0f} \
that approving everything would have cost"""
