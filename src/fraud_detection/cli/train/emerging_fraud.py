"""`fraud emerging-fraud`: how soon a new kind of fraud is found."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fraud_detection.cli import options
from fraud_detection.cli.command import command
from fraud_detection.cli.printing import Output, print_line
from fraud_detection.cli.try_it.generate import simulation

if TYPE_CHECKING:
    from fraud_detection.training.emerging_fraud import Week

HEADINGS = ("week of", "frauds", "found", "never retrained", "other kinds", "known", "learned", "reviewed")


@command("emerging-fraud")
@click.option("--kind", default="card_testing", help="Kind of fraud that emerges.")
@click.option("--from-day", type=int, default=98, help="Day on which it emerges.")
@click.option("--weight", type=float, default=0.2, help="Its weight, see docs/simulator.md.")
@options.drift
@click.option("--review-rate", type=float, default=0.01, help="Rate of payments that are reviewed.")
@click.option("--history-days", type=int, default=56, help="Days that each model is trained on.")
@click.option(
    "--directory",
    type=options.PATH,
    default=Path("build/emerging-fraud"),
    help="Output directory.",
)
@click.option("--chart", type=options.PATH, metavar="FILE", help="PNG file to draw the chart into.")
@options.simulated(182)
def emerging_fraud(
    output: Output,
    *,
    kind: str,
    from_day: int,
    weight: float,
    drift: tuple[str, ...],
    review_rate: float,
    history_days: int,
    directory: Path,
    chart: Path | None,
    simulated: options.Simulated,
) -> None:
    """Show week by week how soon a new kind of fraud is found, in a simulation."""
    import msgspec

    from fraud_detection.demo.demo import beyond_the_clock, demo_project
    from fraud_detection.demo.emerging_fraud import EmergingFraudSettings, detection_by_week
    from fraud_detection.training.report import plots

    screen = output.screen
    settings = EmergingFraudSettings(
        simulation=simulation(simulated),
        kind=kind,
        from_day=from_day,
        weight=weight,
        directory=directory,
        history_days=history_days,
        review_rate=review_rate,
        drift=drift,
    )
    weeks = detection_by_week(settings, beyond_the_clock(demo_project()), screen.progress)
    screen.finish()
    print_line(table(weeks))
    if chart is not None:
        chart.parent.mkdir(parents=True, exist_ok=True)
        plots.write(plots.emerging_fraud(settings.kind, weeks), chart)
        screen.print(f"chart in {chart}")
    output.write({"kind": settings.kind, "weeks": msgspec.to_builtins(weeks)})


def table(weeks: Sequence[Week]) -> str:
    """Return the weeks as a table in Markdown.

    >>> from fraud_detection.training.emerging_fraud import Week
    >>> print(table([Week("2026-04-09", 4, 0.25, 0.25, 0.5, float("nan"), 0, 0.01, 0.01)]))
    | week of | frauds | found | never retrained | other kinds | known | learned | reviewed |
    |---|---|---|---|---|---|---|---|
    | 2026-04-09 | 4 | 25 % | 25 % | 50 % | - | 0 | 1.0 % |
    """
    head = [f"| {' | '.join(HEADINGS)} |", "|---" * len(HEADINGS) + "|"]
    return "\n".join([*head, *(f"| {' | '.join(_cells(week))} |" for week in weeks)])


def _cells(week: Week) -> list[str]:
    shares = (week.recall, week.recall_never_retrained, week.recall_other_kinds, week.known)
    return [
        week.start,
        f"{week.frauds:,}",
        *("-" if math.isnan(share) else f"{share:.0%}".replace("%", " %") for share in shares),
        f"{week.learned:,}",
        f"{100 * week.reviewed:.1f} %",
    ]
