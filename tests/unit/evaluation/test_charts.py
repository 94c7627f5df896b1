"""Charts are true to their figures: a longer bar for more, a higher point for more, everything inside."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraud_detection.evaluation.report.charts import HEIGHT, WIDTH, Axis, Mark, Series, bar_chart, line_chart
from fraud_detection.evaluation.report.svg import STYLE
from tests.root import ROOT

SVG = "{http://www.w3.org/2000/svg}"
PAGES = {"light": "#ffffff", "dark": "#0d1117"}
PICTURES = sorted((ROOT / "docs/pictures").glob("*.svg"))
VALUES = st.floats(0.01, 1e6)


def parsed(svg: str) -> ET.Element:
    return ET.fromstring(svg)  # noqa: S314 - our own


@given(
    st.lists(st.tuples(VALUES, VALUES), min_size=2, max_size=20, unique_by=lambda one: one[0]), st.booleans()
)
def test_points_stand_in_the_order_of_their_values_and_inside_the_picture(
    points: list[tuple[float, float]],
    log: bool,  # noqa: FBT001
) -> None:
    axis, ordered = Axis("x", log=log), sorted(points)
    svg = line_chart(
        "<title> & more", axis, Axis("ms", log=log), [Series("p99", ordered)], [Mark("here", x=1.0)]
    )
    (line,) = parsed(svg).iter(f"{SVG}polyline")
    pixels = [tuple(map(float, pair.split(","))) for pair in str(line.get("points")).split()]
    assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in pixels)
    assert [x for x, _ in pixels] == sorted(x for x, _ in pixels)
    for (_, y), (_, value) in zip(pixels, ordered, strict=True):
        for (_, other_y), (_, other) in zip(pixels, ordered, strict=True):
            assert y <= other_y or value <= other


@given(st.lists(VALUES, min_size=1, max_size=8))
def test_bars_are_as_long_as_their_values(values: list[float]) -> None:
    svg = bar_chart("speed", "/s", [(f"one {index}", value) for index, value in enumerate(values)])
    bars = list(parsed(svg).iter(f"{SVG}rect"))
    widths = [float(str(bar.get("width"))) for bar in bars]
    assert len(widths) == len(values)
    longest = max(widths)
    for width, value in zip(widths, values, strict=True):
        assert abs(width / longest - value / max(values)) < 0.01
    assert longest < WIDTH


def luminance(colour: str) -> float:
    """Return the relative luminance of `#rrggbb`, as WCAG 2 defines it."""
    parts = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    red, green, blue = (one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def colours(svg: ET.Element) -> dict[str, dict[str, str]]:
    """Return the colour of each selector in the picture's style, for light and for dark pages."""
    (style,) = svg.iter(f"{SVG}style")
    light, dark = str(style.text).split("@media (prefers-color-scheme: dark)")
    parts = {"light": light, "dark": dark}
    return {page: dict(re.findall(r"(\S+) { color: (#\w{6}); }", part)) for page, part in parts.items()}


def every_kind() -> list[str]:
    lines = [Series(f"line {index}", [(1.0, index + 1.0), (2.0, 3.0)]) for index in range(6)]
    marks = [Mark("here", x=1.5), Mark("level", y=2.0)]
    return [line_chart("x", Axis("x"), Axis("y"), lines, marks), bar_chart("x", "/s", [("a", 1), ("b", 2)])]


@pytest.mark.parametrize("text", [*every_kind(), *map(Path.read_text, PICTURES)])
def test_a_picture_is_legible_on_a_light_and_on_a_dark_page(text: str) -> None:
    svg = parsed(text)
    assert not re.search(r"(?:fill|stroke|background)=", text)  # a colour of its own would fit one page only
    for page, found in colours(svg).items():
        used = {f".{one.get('class')}" for one in svg.iter() if one.get("class")} | {"svg"}
        assert used <= set(found)
        selectors = {f".{one.get('class')}" for one in svg.iter(f"{SVG}text") if one.get("class")} | {"svg"}
        for selector in used - {".grid"}:
            min_contrast = 4.5 if selector in selectors else 2.5
            assert contrast(found[selector], PAGES[page]) >= min_contrast, (page, selector)


def test_the_pictures_of_the_pages_are_drawn_as_they_would_be_today() -> None:
    assert len(PICTURES) == 8
    (style,) = {text.split("<style>")[1].split("</style>")[0] for text in map(Path.read_text, PICTURES)}
    assert style == STYLE
