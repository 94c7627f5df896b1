"""`fraud novelty`: how soon a new kind of fraud is found."""

from __future__ import annotations

import math
from argparse import Namespace
from collections.abc import Sequence

import msgspec

from fraud_detection.cli.printing import print_line, terminal, write_figures
from fraud_detection.cli.try_it.generate import simulated_world
from fraud_detection.demo.demo import beyond_the_clock, demo_project
from fraud_detection.demo.emerging_fraud import NoveltySettings, watch
from fraud_detection.training.emerging_fraud import Week
from fraud_detection.training.report import plots

HEADINGS = ("week of", "frauds", "found", "never retrained", "other kinds", "known", "learned", "reviewed")


def novelty(arguments: Namespace) -> None:
    """Print a table by week, and draw it where a chart is asked for."""
    screen = terminal(arguments)
    settings = NoveltySettings(
        world=simulated_world(arguments),
        kind=arguments.kind,
        from_day=arguments.from_day,
        weight=arguments.weight,
        directory=arguments.directory,
        history_days=arguments.history_days,
        review_share=arguments.review_share,
        drift=tuple(arguments.drift),
    )
    weeks = watch(settings, beyond_the_clock(demo_project()), screen.progress)
    screen.finish()
    print_line(table(weeks))
    if arguments.chart is not None:
        arguments.chart.parent.mkdir(parents=True, exist_ok=True)
        plots.write(plots.novelty(settings.kind, weeks), arguments.chart)
        screen.say(f"chart in {arguments.chart}")
    write_figures(arguments, {"kind": settings.kind, "weeks": msgspec.to_builtins(weeks)})


def table(weeks: Sequence[Week]) -> str:
    """Return the weeks as a table in Markdown.

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
