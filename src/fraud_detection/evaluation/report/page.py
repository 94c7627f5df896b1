"""Backtest report as one self-contained HTML page: text, tables and charts.

The page itself is `templates/backtest.html`; whatever people wrote is escaped in it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from fraud_detection.core.events import Action
from fraud_detection.evaluation.comparison import (
    ArmMetrics,
    Comparison,
    Difference,
    Estimate,
    OutcomeMetrics,
    Report,
    SegmentMetrics,
)
from fraud_detection.evaluation.messages import (
    headline,
    money,
    plus,
    rows,
    share,
    signed,
    span,
    unobserved_outcomes,
)
from fraud_detection.evaluation.report.charts import Bars, by_week, direction, intervals
from fraud_detection.evaluation.report.svg import STYLE

if TYPE_CHECKING:
    from jinja2 import Template

EXAMPLES = {
    "newly_caught": "Frauds that the change catches and the baseline misses",
    "newly_missed": "Frauds that the baseline catches and the change misses",
    "newly_hurt": "Good customers for whom the change decides more severely",
    "newly_spared": "Good customers for whom the change decides more mildly",
    "newly_unobserved": "Payments with unobserved outcome that the baseline stops and the change approves",
    "largest": "The largest payments of all that would be decided differently",
}
"""What each list of single payments shows, by its name in the report."""


def page(report: Report) -> str:
    """Return the whole page as HTML."""
    return template().render(
        report=report,
        actions=[action.label for action in Action],
        chart_style=STYLE,
        difference=difference,
        direction=direction,
        examples=EXAMPLES,
        figures=figures,
        headline=headline,
        money=money,
        plus=plus,
        rows=rows,
        segment_chart=segment_chart,
        signed=signed,
        spaced=spaced,
        span=span,
        unobserved_outcomes=unobserved_outcomes,
        week_charts=week_charts,
    )


@cache
def template() -> Template:
    """Return the page's template; Jinja2 is imported, and the template compiled, when first asked for."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined  # noqa: PLC0415 - only who writes a page pays for it

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).with_name("templates")),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("backtest.html")


def difference(comparison: Comparison) -> Difference | None:
    """Return the difference of the arms in the weeks with mature labels; None without one."""
    return None if comparison.total is None else comparison.total.difference


def week_charts(comparison: Comparison) -> Iterator[tuple[str, str]]:
    """Yield the charts of both arms by week, each with its title."""
    names = [week.since[:10] for week in comparison.weeks]
    shown: tuple[tuple[str, Callable[[OutcomeMetrics], float]], ...] = (
        ("Money saved", lambda arm: arm.money_saved),
        ("Fraud missed, in money", lambda arm: arm.money_missed),
        ("Good payments declined", lambda arm: arm.good_declined.payments),
    )
    arms = [week.baseline for week in comparison.weeks], [week.variant for week in comparison.weeks]
    for title, take in shown:
        outcomes = [[arm.outcomes for arm in own] for own in arms]
        values = [[None if outcome is None else take(outcome) for outcome in own] for own in outcomes]
        yield title, by_week(title, names, _bars(comparison, values))
    title, reviews = "Reviews a day", [[arm.reviews_per_day for arm in own] for own in arms]
    yield title, by_week(title, names, _bars(comparison, reviews), comparison.capacity_per_day[1])


def _bars(comparison: Comparison, values: Sequence[Sequence[float | None]]) -> list[Bars]:
    return [
        Bars(name, own) for name, own in zip((comparison.baseline, comparison.variant), values, strict=True)
    ]


def segment_chart(name: str, slices: Sequence[SegmentMetrics]) -> str:
    """Return the chart of the money saved in each part of a segment."""
    return intervals(name, [_saved(metrics) for metrics in slices])


def _saved(metrics: SegmentMetrics) -> tuple[str, Estimate]:
    nothing = Estimate(value=None, low=None, high=None)
    return metrics.name, nothing if metrics.difference is None else metrics.difference.money_saved


def figures(metrics: SegmentMetrics) -> Iterator[tuple[str, str]]:
    """Yield the figures of a part that need labels: those of the change, and those of the baseline."""
    return zip(_outcomes(metrics.variant), _outcomes(metrics.baseline), strict=True)


def _outcomes(arm: ArmMetrics) -> Sequence[str]:
    own = arm.outcomes
    if own is None:
        return ("-",) * 5
    return (
        money(own.frauds_caught),
        money(own.good_declined.payments),
        money(own.good_reviewed.payments),
        share(own.precision),
        share(own.recall),
    )


def spaced(name: str) -> str:
    """Return a name with blanks for underscores."""
    return name.replace("_", " ")
