"""Charts are true to their figures: a longer bar for more, a higher point for more, everything inside."""

from __future__ import annotations

import xml.etree.ElementTree as ET

from hypothesis import given
from hypothesis import strategies as st

from fraud_detection.bench.chart import HEIGHT, WIDTH, Axis, Mark, Series, bar_chart, line_chart

SVG = "{http://www.w3.org/2000/svg}"
VALUES = st.floats(0.01, 1e6)


def drawn(svg: str) -> ET.Element:
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
    (line,) = drawn(svg).iter(f"{SVG}polyline")
    places = [tuple(map(float, pair.split(","))) for pair in str(line.get("points")).split()]
    assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in places)
    assert [x for x, _ in places] == sorted(x for x, _ in places)
    for (_, y), (_, value) in zip(places, ordered, strict=True):
        for (_, other_y), (_, other) in zip(places, ordered, strict=True):
            assert y <= other_y or value <= other


@given(st.lists(VALUES, min_size=1, max_size=8))
def test_bars_are_as_long_as_their_values(values: list[float]) -> None:
    svg = bar_chart("speed", "/s", [(f"one {place}", value) for place, value in enumerate(values)])
    background, *bars = drawn(svg).iter(f"{SVG}rect")
    widths = [float(str(bar.get("width"))) for bar in bars]
    assert len(widths) == len(values)
    longest = max(widths)
    for width, value in zip(widths, values, strict=True):
        assert abs(width / longest - value / max(values)) < 0.01
    assert float(str(background.get("width"))) == WIDTH
