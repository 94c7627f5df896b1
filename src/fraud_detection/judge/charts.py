"""Charts of a comparison as SVG inside a page: bars by week, and intervals by segment.

Colours are the page's, so that they fit its light and its dark form.  Figures in, text out.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from html import escape

import msgspec

from fraud_detection.judge.comparison import Estimate
from fraud_detection.judge.words import money, signed

WIDTH, HEIGHT = 560, 260
LEFT, RIGHT, TOP, BOTTOM = 62, 12, 24, 52
ROW, NAMES, VALUES = 26, 150, 190
FEWEST_STEPS = 4
MOST_LABELS = 9
SMALLEST = 1e-9


class Bars(msgspec.Struct, frozen=True):
    """Values of one side, one a week; None where nothing is known."""

    name: str
    values: Sequence[float | None]


class Scale:
    """Takes values to places between two edges of the picture; 0 is always in."""

    def __init__(self, values: Sequence[float], start: float, end: float) -> None:
        """Make room for all values."""
        self.low, self.high = min([0.0, *values]), max([0.0, *values])
        if self.high - self.low < SMALLEST:
            self.high = self.low + 1.0
        self.start, self.end = start, end

    def place(self, value: float) -> float:
        """Return where a value is."""
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    def ticks(self) -> list[float]:
        """Return round values from the lowest to the highest.

        >>> Scale([-10.0, 95.0], 0, 100).ticks()
        [0.0, 20.0, 40.0, 60.0, 80.0]
        """
        rough = (self.high - self.low) / FEWEST_STEPS
        unit = 10.0 ** math.floor(math.log10(rough))
        step = max(unit * one for one in (1.0, 2.0, 5.0) if unit * one <= rough)
        first, last = math.ceil(self.low / step), math.floor(self.high / step)
        return [number * step for number in range(first, last + 1)]


def by_week(title: str, weeks: Sequence[str], sides: Sequence[Bars], limit: float | None = None) -> str:
    """Return bars of all sides beside each other, week by week, with a level line at a limit."""
    known = [value for side in sides for value in side.values if value is not None]
    up = Scale([*known, *([] if limit is None else [limit])], HEIGHT - BOTTOM, TOP)
    across = (WIDTH - LEFT - RIGHT) / max(len(weeks), 1)
    parts = list(_levels(up))
    for place, week in enumerate(weeks):
        left = LEFT + place * across
        parts += _week(left, across, place, sides, up)
        if place % math.ceil(len(weeks) / MOST_LABELS) == 0:
            parts.append(_text(left + across / 2, HEIGHT - BOTTOM + 18, week[5:], anchor="middle"))
    if limit is not None:
        y = up.place(limit)
        parts.append(f'<line class="limit" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(_text(WIDTH - RIGHT, y - 5, f"capacity {money(limit)}", anchor="end"))
    parts += _legend(sides)
    return _svg(title, HEIGHT, parts)


def _week(left: float, across: float, place: int, sides: Sequence[Bars], up: Scale) -> Iterator[str]:
    wide = across * 0.8 / len(sides)
    if all(side.values[place] is None for side in sides):
        tall = HEIGHT - BOTTOM - TOP
        yield f'<rect class="unknown" x="{left:.1f}" y="{TOP}" width="{across:.1f}" height="{tall}"/>'
        return
    for number, side in enumerate(sides):
        value = side.values[place]
        if value is None:
            continue
        top, bottom = sorted((up.place(value), up.place(0.0)))
        x = left + across * 0.1 + number * wide
        words = f"<title>{escape(side.name)}: {money(value)}</title>"
        yield (
            f'<rect class="side{number}" x="{x:.1f}" y="{top:.1f}" width="{max(wide - 2, 1):.1f}" '
            f'height="{max(bottom - top, 0.5):.1f}">{words}</rect>'
        )


def _levels(up: Scale) -> Iterator[str]:
    for tick in up.ticks():
        y = up.place(tick)
        kind = "zero" if tick == 0 else "level"
        yield f'<line class="{kind}" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        yield _text(LEFT - 6, y + 4, money(tick), anchor="end")


def _legend(sides: Sequence[Bars]) -> Iterator[str]:
    x = float(LEFT)
    for number, side in enumerate(sides):
        y = HEIGHT - 18
        yield f'<rect class="side{number}" x="{x:.1f}" y="{y}" width="11" height="11"/>'
        yield _text(x + 16, y + 10, side.name)
        x += 40 + 7 * len(side.name)


def intervals(title: str, rows: Sequence[tuple[str, Estimate]]) -> str:
    """Return differences with their intervals, one a line, around a line at 0."""
    edges = [edge for _, one in rows for edge in (one.value, one.low, one.high) if edge is not None]
    across = Scale(edges, NAMES, WIDTH - VALUES)
    height = len(rows) * ROW + 12
    zero = across.place(0.0)
    parts = [f'<line class="zero" x1="{zero:.1f}" x2="{zero:.1f}" y1="4" y2="{height - 4}"/>']
    for place, (name, one) in enumerate(rows):
        parts += _interval(name, one, across, 6 + place * ROW + ROW / 2)
    return _svg(title, height, parts)


def _interval(name: str, one: Estimate, across: Scale, y: float) -> Iterator[str]:
    yield _text(NAMES - 12, y + 4, name if len(name) <= 20 else f"{name[:19]}…", anchor="end")  # noqa: PLR2004 - what fits
    if one.value is None:
        return
    if one.low is not None and one.high is not None:
        low, high = across.place(one.low), across.place(one.high)
        yield f'<line class="{_kind(one)}" x1="{low:.1f}" x2="{high:.1f}" y1="{y:.1f}" y2="{y:.1f}"/>'
    yield f'<circle class="{_kind(one)}" cx="{across.place(one.value):.1f}" cy="{y:.1f}" r="4"/>'
    yield _text(WIDTH - VALUES + 14, y + 4, signed(one))


def _kind(one: Estimate) -> str:
    """Return whether a difference is above 0, below it, or may be either."""
    if one.low is not None and one.low > 0:
        return "above"
    return "below" if one.high is not None and one.high < 0 else "either"


def _text(x: float, y: float, words: str, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'


def _svg(title: str, height: float, parts: Sequence[str]) -> str:
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:g}" role="img">'
    return f"{head}<title>{escape(title)}</title>{''.join(parts)}</svg>"
