"""Charts as SVG: lines over an axis that may be logarithmic, and bars.  Pure: figures in, text out.

A class gives a colour and nothing else; `STYLE` has one for a light and one for a dark background, and
the background itself stays the page's.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from xml.sax.saxutils import escape

import msgspec

WIDTH, HEIGHT = 760, 400
LEFT, RIGHT, TOP, BOTTOM = 76, 150, 48, 58
COLOURS = {
    "svg": ("#1c2430", "#e6eaf0"),
    ".grid": ("#d8dee6", "#323b48"),
    ".mark": ("#5b6675", "#9aa6b5"),
    ".other": ("#8d99a8", "#77869a"),
    ".series0": ("#0b6fc2", "#58a6f0"),
    ".series1": ("#c2410c", "#f08a5a"),
    ".series2": ("#13805b", "#3fc08e"),
    ".series3": ("#8b4a94", "#cf9bd8"),
    ".series4": ("#8a6100", "#e0b04c"),
    ".series5": ("#0e7490", "#4fc3d9"),
}
"""The colour of each kind of mark, on white and on black."""
BAR, GAP = 26, 16
NAMES = 210
STEPS, FINE_STEPS = (1.0, 2.0, 5.0), (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0)
FEWEST_TICKS = 4
MOST_TICKS = 7
MOST_DOTS = 30
WHOLE_FROM = 10


def _colours(place: int) -> str:
    return " ".join(f"{selector} {{ color: {pair[place]}; }}" for selector, pair in COLOURS.items())


STYLE = f"""svg text, svg rect, svg circle {{ fill: currentColor; }}
svg line, svg polyline {{ fill: none; stroke: currentColor; }}
.mark {{ stroke-dasharray: 5 4; }}
{_colours(0)}
@media (prefers-color-scheme: dark) {{ {_colours(1)} }}"""


class Axis(msgspec.Struct, frozen=True):
    """What an axis shows, with its unit, and whether it is logarithmic."""

    words: str
    log: bool = False


class Series(msgspec.Struct, frozen=True):
    """A line through points, left to right."""

    name: str
    points: Sequence[tuple[float, float]]


class Mark(msgspec.Struct, frozen=True):
    """A dashed line across the chart: upright at `x`, or level at `y`."""

    words: str
    x: float | None = None
    y: float | None = None


class Scale:
    """Takes values of an axis to places in the picture."""

    def __init__(self, values: Sequence[float], axis: Axis, start: float, end: float) -> None:
        """Make room for all values; a linear axis begins at 0."""
        self.log, self.start, self.end = axis.log, start, end
        low, high = (min(values), max(values)) if values else (1.0, 10.0)
        self.low = low / 1.1 if axis.log else min(0.0, low)
        self.high = max(high * (1.15 if axis.log else 1.08), self.low + 1e-9)

    def place(self, value: float) -> float:
        """Return where a value is; what a logarithm cannot take is at the low end."""
        if self.log:
            share = math.log(max(value, self.low) / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    def ticks(self) -> list[float]:
        """Return round values along the axis."""
        if not self.log:
            return _even_ticks(self.high)
        coarse = list(self._ticks(STEPS))
        return coarse if len(coarse) >= FEWEST_TICKS else list(self._ticks(FINE_STEPS))

    def _ticks(self, steps: Sequence[float]) -> Iterator[float]:
        for power in range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1):
            for tick in (step * 10.0**power for step in steps):
                if self.low <= tick <= self.high:
                    yield tick


def _even_ticks(high: float) -> list[float]:
    """Return four to ten round values from 0 up.

    >>> _even_ticks(48.0)
    [0.0, 10.0, 20.0, 30.0, 40.0]
    """
    unit = 10.0 ** math.floor(math.log10(high))
    step = next(unit * one for one in (0.1, 0.2, 0.25, 0.5, 1.0, 2.0) if high / (unit * one) <= MOST_TICKS)
    return [step * number for number in range(int(high / step + 1e-9) + 1)]


def words_of(value: float) -> str:
    """Return a value as an axis shows it.

    >>> words_of(2000.0), words_of(0.5), words_of(0.0)
    ('2,000', '0.5', '0')
    """
    return f"{value:,.0f}" if value == round(value) else f"{value:g}"


def line_chart(
    title: str, x_axis: Axis, y_axis: Axis, lines: Sequence[Series], marks: Sequence[Mark] = ()
) -> str:
    """Return a chart of lines, each named at its right end."""
    xs = [x for line in lines for x, _ in line.points] + [one.x for one in marks if one.x is not None]
    ys = [y for line in lines for _, y in line.points] + [one.y for one in marks if one.y is not None]
    across = Scale(xs, x_axis, LEFT, WIDTH - RIGHT)
    up = Scale(ys, y_axis, HEIGHT - BOTTOM, TOP)
    parts = [*_frame(title, x_axis, y_axis, across, up)]
    for one in marks:
        parts += _mark(one, across, up)
    heights = _apart([up.place(line.points[-1][1]) if line.points else TOP for line in lines])
    for number, (line, height) in enumerate(zip(lines, heights, strict=True)):
        parts += _line(line, f"series{number}", across, up, height)
    return _svg(WIDTH, HEIGHT, parts)


def bar_chart(title: str, unit: str, bars: Sequence[tuple[str, float]]) -> str:
    """Return a chart of level bars, each with its value; the first one stands out."""
    height = TOP + len(bars) * (BAR + GAP) + GAP
    most = max((value for _, value in bars), default=1.0) or 1.0
    parts = [_text(WIDTH / 2, 26, title, size=16, anchor="middle", bold=True)]
    for place, (name, value) in enumerate(bars):
        top = TOP + GAP / 2 + place * (BAR + GAP)
        wide = max((WIDTH - NAMES - RIGHT) * value / most, 1.0)
        kind = "series0" if place == 0 else "other"
        parts.append(
            f'<rect class="{kind}" x="{NAMES}" y="{top:.1f}" width="{wide:.1f}" height="{BAR}" rx="2"/>'
        )
        parts.append(_text(NAMES - 10, top + BAR * 0.7, name, anchor="end"))
        number = f"{value:,.0f}" if value >= WHOLE_FROM else f"{value:.2f}"
        parts.append(_text(NAMES + wide + 8, top + BAR * 0.7, f"{number} {unit}"))
    return _svg(WIDTH, height, parts)


def _frame(title: str, x_axis: Axis, y_axis: Axis, across: Scale, up: Scale) -> Iterator[str]:
    yield _text((LEFT + WIDTH - RIGHT) / 2, 26, title, size=16, anchor="middle", bold=True)
    for tick in up.ticks():
        y = up.place(tick)
        yield _rule(LEFT, y, WIDTH - RIGHT, y)
        yield _text(LEFT - 8, y + 4, words_of(tick), anchor="end")
    for tick in across.ticks():
        x = across.place(tick)
        yield _rule(x, TOP, x, HEIGHT - BOTTOM)
        yield _text(x, HEIGHT - BOTTOM + 18, words_of(tick), anchor="middle")
    yield _text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 14, x_axis.words, anchor="middle")
    middle = (TOP + HEIGHT - BOTTOM) / 2
    yield _text(20, middle, y_axis.words, anchor="middle", turned=True)


def _line(line: Series, kind: str, across: Scale, up: Scale, height: float) -> Iterator[str]:
    places = [(across.place(x), up.place(y)) for x, y in line.points]
    drawn = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    yield f'<polyline class="{kind}" points="{drawn}" stroke-width="2"/>'
    if len(places) <= MOST_DOTS:
        for x, y in places:
            yield f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="3"/>'
    yield _text(WIDTH - RIGHT + 10, height + 4, line.name, kind=kind, bold=True)


def _mark(one: Mark, across: Scale, up: Scale) -> Iterator[str]:
    if one.x is not None:
        x = across.place(one.x)
        yield _rule(x, TOP, x, HEIGHT - BOTTOM, dashed=True)
        yield _text(x - 6, TOP + 14, one.words, anchor="end")
    if one.y is not None:
        y = up.place(one.y)
        yield _rule(LEFT, y, WIDTH - RIGHT, y, dashed=True)
        yield _text(LEFT + 8, y - 6, one.words)


def _apart(heights: Sequence[float], least: float = 16.0) -> list[float]:
    """Return heights moved so that names at them do not lie on one another.

    >>> _apart([100.0, 102.0, 50.0])
    [100.0, 116.0, 50.0]
    """
    moved, last = list(heights), -math.inf
    for place in sorted(range(len(heights)), key=lambda one: heights[one]):
        last = moved[place] = max(heights[place], last + least)
    return moved


def _rule(x: float, y: float, to_x: float, to_y: float, *, dashed: bool = False) -> str:
    kind = "mark" if dashed else "grid"
    return f'<line class="{kind}" x1="{x:.1f}" y1="{y:.1f}" x2="{to_x:.1f}" y2="{to_y:.1f}"/>'


def _text(  # noqa: PLR0913 - what text looks like
    x: float,
    y: float,
    words: str,
    *,
    size: int = 12,
    anchor: str = "start",
    kind: str = "",
    bold: bool = False,
    turned: bool = False,
) -> str:
    own = f' class="{kind}"' if kind else ""
    weight = ' font-weight="bold"' if bold else ""
    turn = f' transform="rotate(-90 {x:.1f} {y:.1f})"' if turned else ""
    return (
        f'<text{own} x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}"'
        f"{weight}{turn}>{escape(words)}</text>"
    )


def _svg(width: float, height: float, parts: Sequence[str]) -> str:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}" '
        f'height="{height:g}" font-family="system-ui, Helvetica, Arial, sans-serif">'
    )
    return "\n".join([head, f"<style>{STYLE}</style>", *parts, "</svg>", ""])
