"""Charts as SVG: lines and bars that are files, bars by week and intervals within a page.

Figures in, text out.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import msgspec

from fraud_detection.evaluation.comparison import Estimate
from fraud_detection.evaluation.messages import money, signed
from fraud_detection.evaluation.report import svg
from fraud_detection.evaluation.report.svg import Scale

WIDTH, HEIGHT = 760, 400
LEFT, RIGHT, TOP, BOTTOM = 76, 150, 48, 58
BAR, GAP, BAR_NAMES = 26, 16, 210
SMALL_WIDTH, SMALL_HEIGHT = 560, 260
SMALL_LEFT, SMALL_RIGHT, SMALL_TOP, SMALL_BOTTOM = 62, 12, 24, 52
ROW, ROW_NAMES, ROW_VALUES = 26, 150, 190
MAX_NAME = 20
MAX_WEEK_LABELS = 9
MAX_DOTS = 30
INTEGER_FROM = 10


class Axis(msgspec.Struct, frozen=True):
    """What an axis shows, with its unit, and whether it is logarithmic."""

    label: str
    log: bool = False


class Series(msgspec.Struct, frozen=True):
    """A line through points, left to right."""

    name: str
    points: Sequence[tuple[float, float]]


class Mark(msgspec.Struct, frozen=True):
    """A dashed line across the chart: upright at `x`, or level at `y`."""

    label: str
    x: float | None = None
    y: float | None = None


class Bars(msgspec.Struct, frozen=True):
    """Values of one arm, one per week; None where unknown."""

    name: str
    values: Sequence[float | None]


def line_chart(
    title: str, x_axis: Axis, y_axis: Axis, lines: Sequence[Series], marks: Sequence[Mark] = ()
) -> str:
    """Return a file with a chart of lines, each named at its right end."""
    xs = [x for line in lines for x, _ in line.points] + [mark.x for mark in marks if mark.x is not None]
    ys = [y for line in lines for _, y in line.points] + [mark.y for mark in marks if mark.y is not None]
    across = Scale(xs, LEFT, WIDTH - RIGHT, log=x_axis.log)
    up = Scale(ys, HEIGHT - BOTTOM, TOP, log=y_axis.log)
    elements = [*_frame(title, x_axis, y_axis, across, up)]
    for mark in marks:
        elements += _mark(mark, across, up)
    heights = _apart([up.position(line.points[-1][1]) if line.points else TOP for line in lines])
    for number, (line, height) in enumerate(zip(lines, heights, strict=True)):
        elements += _line(line, f"series{number}", across, up, height)
    return svg.file(title, WIDTH, HEIGHT, elements)


def bar_chart(title: str, unit: str, bars: Sequence[tuple[str, float]]) -> str:
    """Return a file with a chart of level bars, each with its value; the first one stands out."""
    across = Scale([value for _, value in bars], BAR_NAMES, WIDTH - RIGHT)
    elements = [svg.text(WIDTH / 2, 26, title, "middle", kind="title")]
    for index, (name, value) in enumerate(bars):
        top = TOP + GAP / 2 + index * (BAR + GAP)
        wide = max(across.position(value) - BAR_NAMES, 1.0)
        elements.append(svg.box("series0" if index == 0 else "other", BAR_NAMES, top, wide, BAR))
        elements.append(svg.text(BAR_NAMES - 10, top + BAR * 0.7, name, "end"))
        number = f"{value:,.0f}" if value >= INTEGER_FROM else f"{value:.2f}"
        elements.append(svg.text(BAR_NAMES + wide + 8, top + BAR * 0.7, f"{number} {unit}"))
    return svg.file(title, WIDTH, TOP + len(bars) * (BAR + GAP) + GAP, elements)


def by_week(title: str, weeks: Sequence[str], arms: Sequence[Bars], limit: float | None = None) -> str:
    """Return grouped bars of two arms by week, with a line at a limit."""
    known = [value for arm in arms for value in arm.values if value is not None]
    up = Scale([*known, *([] if limit is None else [limit])], SMALL_HEIGHT - SMALL_BOTTOM, SMALL_TOP)
    across = (SMALL_WIDTH - SMALL_LEFT - SMALL_RIGHT) / max(len(weeks), 1)
    right = SMALL_WIDTH - SMALL_RIGHT
    elements = list(_levels(up, SMALL_LEFT, right))
    for index, week in enumerate(weeks):
        left = SMALL_LEFT + index * across
        elements += _week(left, across, index, arms, up)
        if index % math.ceil(len(weeks) / MAX_WEEK_LABELS) == 0:
            elements.append(svg.text(left + across / 2, SMALL_HEIGHT - SMALL_BOTTOM + 18, week[5:], "middle"))
    if limit is not None:
        y = up.position(limit)
        elements.append(svg.line("limit", SMALL_LEFT, y, right, y))
        elements.append(svg.text(right, y - 5, f"capacity {money(limit)}", "end"))
    return svg.inline(title, SMALL_WIDTH, SMALL_HEIGHT, [*elements, *_legend(arms)])


def intervals(title: str, rows: Sequence[tuple[str, Estimate]]) -> str:
    """Return differences with their intervals, one a line, around a line at 0."""
    edges = [
        edge
        for _, estimate in rows
        for edge in (estimate.value, estimate.low, estimate.high)
        if edge is not None
    ]
    across = Scale(edges, ROW_NAMES, SMALL_WIDTH - ROW_VALUES)
    height = len(rows) * ROW + 12
    zero = across.position(0.0)
    elements = [svg.line("zero", zero, 4, zero, height - 4)]
    for index, (name, estimate) in enumerate(rows):
        elements += _interval(name, estimate, across, 6 + index * ROW + ROW / 2)
    return svg.inline(title, SMALL_WIDTH, height, elements)


def direction(estimate: Estimate) -> str:
    """Return whether a difference is above 0, below it, or may be either."""
    if estimate.low is not None and estimate.low > 0:
        return "above"
    return "below" if estimate.high is not None and estimate.high < 0 else "either"


def _frame(title: str, x_axis: Axis, y_axis: Axis, across: Scale, up: Scale) -> Iterator[str]:
    yield svg.text((LEFT + WIDTH - RIGHT) / 2, 26, title, "middle", kind="title")
    yield from _levels(up, LEFT, WIDTH - RIGHT)
    for tick in across.ticks():
        x = across.position(tick)
        yield svg.line("grid", x, TOP, x, HEIGHT - BOTTOM)
        yield svg.text(x, HEIGHT - BOTTOM + 18, svg.number(tick), "middle")
    yield svg.text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 14, x_axis.label, "middle")
    yield svg.text(20, (TOP + HEIGHT - BOTTOM) / 2, y_axis.label, "middle", turned=True)


def _levels(up: Scale, left: float, right: float) -> Iterator[str]:
    for tick in up.ticks():
        y = up.position(tick)
        yield svg.line("zero" if tick == 0 else "grid", left, y, right, y)
        yield svg.text(left - 7, y + 4, svg.number(tick), "end")


def _line(line: Series, kind: str, across: Scale, up: Scale, height: float) -> Iterator[str]:
    pixels = [(across.position(x), up.position(y)) for x, y in line.points]
    yield svg.polyline(kind, pixels)
    if len(pixels) <= MAX_DOTS:
        for x, y in pixels:
            yield svg.dot(kind, x, y, 3)
    yield svg.text(WIDTH - RIGHT + 10, height + 4, line.name, kind=kind)


def _mark(mark: Mark, across: Scale, up: Scale) -> Iterator[str]:
    if mark.x is not None:
        x = across.position(mark.x)
        yield svg.line("mark", x, TOP, x, HEIGHT - BOTTOM)
        yield svg.text(x - 6, TOP + 14, mark.label, "end")
    if mark.y is not None:
        y = up.position(mark.y)
        yield svg.line("mark", LEFT, y, WIDTH - RIGHT, y)
        yield svg.text(LEFT + 8, y - 6, mark.label)


def _apart(heights: Sequence[float], min_gap: float = 16.0) -> list[float]:
    """Return heights moved so that names at them do not lie on one another.

    >>> _apart([100.0, 102.0, 50.0])
    [100.0, 116.0, 50.0]
    """
    moved, last = list(heights), -math.inf
    for index in sorted(range(len(heights)), key=lambda index: heights[index]):
        last = moved[index] = max(heights[index], last + min_gap)
    return moved


def _week(left: float, across: float, index: int, arms: Sequence[Bars], up: Scale) -> Iterator[str]:
    wide = across * 0.8 / len(arms)
    if all(arm.values[index] is None for arm in arms):
        yield svg.box("unknown", left, SMALL_TOP, across, SMALL_HEIGHT - SMALL_BOTTOM - SMALL_TOP)
        return
    for number, (arm, kind) in enumerate(zip(arms, ("other", "series0"), strict=True)):
        value = arm.values[index]
        if value is None:
            continue
        top, bottom = sorted((up.position(value), up.position(0.0)))
        x = left + across * 0.1 + number * wide
        yield svg.box(kind, x, top, max(wide - 2, 1), max(bottom - top, 0.5), f"{arm.name}: {money(value)}")


def _legend(arms: Sequence[Bars]) -> Iterator[str]:
    x = float(SMALL_LEFT)
    for arm, kind in zip(arms, ("other", "series0"), strict=True):
        yield svg.box(kind, x, SMALL_HEIGHT - 18, 11, 11)
        yield svg.text(x + 16, SMALL_HEIGHT - 8, arm.name)
        x += 40 + 7 * len(arm.name)


def _interval(name: str, estimate: Estimate, across: Scale, y: float) -> Iterator[str]:
    yield svg.text(
        ROW_NAMES - 12, y + 4, name if len(name) <= MAX_NAME else f"{name[: MAX_NAME - 1]}…", "end"
    )
    if estimate.value is None:
        return
    kind = direction(estimate)
    if estimate.low is not None and estimate.high is not None:
        yield svg.line(kind, across.position(estimate.low), y, across.position(estimate.high), y)
    yield svg.dot(kind, across.position(estimate.value), y, 4)
    yield svg.text(SMALL_WIDTH - ROW_VALUES + 14, y + 4, signed(estimate))
