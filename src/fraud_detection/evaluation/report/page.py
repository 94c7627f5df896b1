"""A report as one page for people: words, tables and charts, nothing fetched from anywhere.

The page itself is `templates/backtest.html`; whatever people wrote is escaped in it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from fraud_detection.core.events import Action
from fraud_detection.evaluation.comparison import Comparison, Difference, Estimate, Judged, Part, Report, Side
from fraud_detection.evaluation.messages import headline, money, plus, rows, share, signed, span, unseen
from fraud_detection.evaluation.report.charts import Bars, by_week, direction, intervals
from fraud_detection.evaluation.report.svg import STYLE

if TYPE_CHECKING:
    from jinja2 import Template

EXAMPLES = {
    "newly_caught": "Frauds that the change catches and today misses",
    "newly_missed": "Frauds that today catches and the change misses",
    "newly_hurt": "Good customers whom the change answers more severely",
    "newly_spared": "Good customers whom the change answers more mildly",
    "newly_unseen": "Payments that today stops and the change approves, and nobody knows what they were",
    "largest": "The largest payments of all that would be answered differently",
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
        unseen=unseen,
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


def difference(found: Comparison) -> Difference | None:
    """Return what lies between the sides in the weeks whose labels are in; None where there is none."""
    return None if found.total is None else found.total.difference


def week_charts(found: Comparison) -> Iterator[tuple[str, str]]:
    """Yield the charts of both sides by week, each with its title."""
    names = [week.since[:10] for week in found.weeks]
    shown: tuple[tuple[str, Callable[[Judged], float]], ...] = (
        ("Money saved", lambda side: side.money_saved),
        ("Fraud missed, in money", lambda side: side.money_missed),
        ("Good payments declined", lambda side: side.good_declined.payments),
    )
    sides = [week.first for week in found.weeks], [week.second for week in found.weeks]
    for title, take in shown:
        judged = [[side.judged for side in own] for own in sides]
        values = [[None if one is None else take(one) for one in own] for own in judged]
        yield title, by_week(title, names, _bars(found, values))
    title, reviews = "Reviews a day", [[side.reviews_per_day for side in own] for own in sides]
    yield title, by_week(title, names, _bars(found, reviews), found.capacity_per_day[1])


def _bars(found: Comparison, values: Sequence[Sequence[float | None]]) -> list[Bars]:
    return [Bars(name, own) for name, own in zip((found.first, found.second), values, strict=True)]


def segment_chart(name: str, parts: Sequence[Part]) -> str:
    """Return the chart of the money saved in each part of a segment."""
    return intervals(name, [_saved(part) for part in parts])


def _saved(part: Part) -> tuple[str, Estimate]:
    nothing = Estimate(value=None, low=None, high=None)
    return part.name, nothing if part.difference is None else part.difference.money_saved


def figures(part: Part) -> Iterator[tuple[str, str]]:
    """Yield the figures of a part that need labels: those of the change, and those of today."""
    return zip(_judged(part.second), _judged(part.first), strict=True)


def _judged(side: Side) -> Sequence[str]:
    own = side.judged
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
    """Return a name as words."""
    return name.replace("_", " ")
