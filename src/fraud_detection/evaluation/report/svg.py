"""The elements of a chart as SVG: lines, boxes, dots, text, and the scale that says where they are.

A class says what a mark is; `STYLE` says how that looks on a light and on a dark page, and leaves the
background to the page.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from html import escape

STEPS, FINE_STEPS = (1.0, 2.0, 5.0), (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0)
MIN_TICKS = 4
SMALLEST = 1e-9
COLOURS = {
    "svg": ("#1c2430", "#e6eaf0"),
    ".title": ("#1c2430", "#e6eaf0"),
    ".grid": ("#d8dee6", "#323b48"),
    ".mark": ("#5b6675", "#9aa6b5"),
    ".zero": ("#5b6675", "#9aa6b5"),
    ".limit": ("#c2410c", "#f08a5a"),
    ".other": ("#8d99a8", "#77869a"),
    ".unknown": ("#e4e8ed", "#2a323d"),
    ".above": ("#13805b", "#3fc08e"),
    ".below": ("#c2410c", "#f08a5a"),
    ".either": ("#5b6675", "#9aa6b5"),
    ".series0": ("#0b6fc2", "#58a6f0"),
    ".series1": ("#c2410c", "#f08a5a"),
    ".series2": ("#13805b", "#3fc08e"),
    ".series3": ("#8b4a94", "#cf9bd8"),
    ".series4": ("#8a6100", "#e0b04c"),
    ".series5": ("#0e7490", "#4fc3d9"),
}
"""The colour of each kind of mark, on a light page and on a dark one."""


def _colours(position: int) -> str:
    return " ".join(f"{selector} {{ color: {pair[position]}; }}" for selector, pair in COLOURS.items())


STYLE = f"""svg text, svg rect, svg circle {{ fill: currentColor; }}
svg line, svg polyline {{ fill: none; stroke: currentColor; }}
svg text {{ font-size: 12px; }} text[class] {{ font-weight: bold; }} text.title {{ font-size: 16px; }}
polyline {{ stroke-width: 2; }} line.above, line.below, line.either {{ stroke-width: 3; }}
line.limit, line.mark {{ stroke-dasharray: 5 4; }}
{_colours(0)}
@media (prefers-color-scheme: dark) {{ {_colours(1)} }}"""


class Scale:
    """Maps values of an axis to positions between two edges of a picture; a linear axis has its 0."""

    def __init__(self, values: Sequence[float], start: float, end: float, *, log: bool = False) -> None:
        """Make room for all values."""
        self.log, self.start, self.end = log, start, end
        if log:
            self.low, self.high = min(values, default=1.0) / 1.1, max(values, default=10.0) * 1.15
        else:
            self.low, self.high = min([0.0, *values]), max([0.0, *values])
            if self.high - self.low < SMALLEST:
                self.high = self.low + 1.0

    def position(self, value: float) -> float:
        """Return where a value is; what a logarithm cannot take is at the low end."""
        if self.log:
            share = math.log(max(value, self.low) / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    def ticks(self) -> list[float]:
        """Return round values from the lowest to the highest.

        >>> Scale([-10.0, 95.0], 0, 100).ticks()
        [0.0, 20.0, 40.0, 60.0, 80.0]
        >>> Scale([3.0, 700.0], 0, 100, log=True).ticks()
        [5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0]
        """
        if self.log:
            coarse = list(self._log_ticks(STEPS))
            return coarse if len(coarse) >= MIN_TICKS else list(self._log_ticks(FINE_STEPS))
        rough = (self.high - self.low) / MIN_TICKS
        unit = 10.0 ** math.floor(math.log10(rough))
        step = max(unit * multiple for multiple in STEPS if unit * multiple <= rough)
        first, last = math.ceil(self.low / step), math.floor(self.high / step)
        return [number * step for number in range(first, last + 1)]

    def _log_ticks(self, steps: Sequence[float]) -> Iterator[float]:
        for power in range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1):
            for tick in (step * 10.0**power for step in steps):
                if self.low <= tick <= self.high:
                    yield tick


def number(value: float) -> str:
    """Return a value as an axis shows it.

    >>> number(2000.0), number(0.5), number(0.0)
    ('2,000', '0.5', '0')
    """
    return f"{value:,.0f}" if value == round(value) else f"{value:g}"


def line(kind: str, x: float, y: float, to_x: float, to_y: float) -> str:
    """Return a straight line."""
    return f'<line class="{kind}" x1="{x:.1f}" y1="{y:.1f}" x2="{to_x:.1f}" y2="{to_y:.1f}"/>'


def polyline(kind: str, points: Sequence[tuple[float, float]]) -> str:
    """Return a line through points."""
    coordinates = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline class="{kind}" points="{coordinates}"/>'


def box(kind: str, x: float, y: float, width: float, height: float, tooltip: str = "") -> str:
    """Return a box, with a tooltip."""
    rect = f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"'
    return f"{rect}><title>{escape(tooltip)}</title></rect>" if tooltip else f"{rect}/>"


def dot(kind: str, x: float, y: float, radius: int) -> str:
    """Return a dot."""
    return f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="{radius}"/>'


def text(
    x: float, y: float, content: str, anchor: str = "start", *, kind: str = "", turned: bool = False
) -> str:
    """Return text anchored at its start, middle or end; `turned` text runs upwards."""
    own = f' class="{kind}"' if kind else ""
    turn = f' transform="rotate(-90 {x:.1f} {y:.1f})"' if turned else ""
    return f'<text{own} x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{turn}>{escape(content)}</text>'


def inline(title: str, width: float, height: float, elements: Sequence[str], more: str = "") -> str:
    """Return a picture for a page that holds `STYLE`."""
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" role="img"{more}>'
    return "\n".join([head, f"<title>{escape(title)}</title>", *elements, "</svg>", ""])


def file(title: str, width: float, height: float, elements: Sequence[str]) -> str:
    """Return a picture that is a file of its own."""
    size = f' width="{width:g}" height="{height:g}" font-family="system-ui, Helvetica, Arial, sans-serif"'
    return inline(title, width, height, [f"<style>{STYLE}</style>", *elements], size)
