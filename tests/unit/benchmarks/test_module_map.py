"""The module map is that of the sources, its arrows lead down, and nothing lies on anything else."""

from __future__ import annotations

import re
from itertools import pairwise
from xml.etree import ElementTree as ET  # our own picture

import pytest

from benchmarks.package_graph import Dependencies, package_imports, without_implied
from tests.root import ROOT
from tools.module_map import OUTPUT, current, layers, picture

SVG = "{http://www.w3.org/2000/svg}"
ROWS = [["top"], ["left", "right"], ["bottom"]]
Box = tuple[float, float, float, float]


@pytest.fixture(scope="module")
def svg() -> ET.Element:
    return ET.fromstring(OUTPUT.read_text(encoding="utf-8"))  # noqa: S314 - our own picture


def boxes(svg: ET.Element) -> dict[str, Box]:
    names = [text.text or "" for text in svg.iter(f"{SVG}text") if text.get("class")]
    sizes = [
        [float(box.attrib[name]) for name in ("x", "y", "width", "height")] for box in svg.iter(f"{SVG}rect")
    ]
    corners = [(x, y, x + width, y + height) for x, y, width, height in sizes]
    return dict(zip(names, corners, strict=True))


def arrows(svg: ET.Element) -> list[list[tuple[float, float]]]:
    lines = [
        re.findall(r"([\d.]+),([\d.]+)", polyline.attrib["points"]) for polyline in svg.iter(f"{SVG}polyline")
    ]
    return [[(float(x), float(y)) for x, y in line] for line in lines[::2]]


def test_the_picture_is_that_of_the_sources() -> None:
    assert OUTPUT.read_text(encoding="utf-8") == current(), "run `python -m tools.module_map`"


def test_each_box_is_a_package_and_each_package_a_box(svg: ET.Element) -> None:
    folders = {path.parent.name for path in (ROOT / "src/fraud_detection").glob("*/__init__.py")}
    assert boxes(svg).keys() == folders


def test_each_arrow_leads_down_from_a_package_to_one_that_it_imports(svg: ET.Element) -> None:
    def package(x: float, y: float, *, side: int) -> str:
        (name,) = (name for name, box in boxes(svg).items() if box[side] == y and box[0] < x < box[2])
        return name

    ends = [(package(*line[0], side=3), package(*line[-1], side=1)) for line in arrows(svg)]
    assert set(ends) <= package_imports(ROOT / "src")
    assert all(high < low for line in arrows(svg) for (_, high), (_, low) in pairwise(line))


def test_boxes_keep_their_distance_and_no_arrow_passes_over_one(svg: ET.Element) -> None:
    packages = list(boxes(svg).values())
    for box in packages:
        for other_box in packages:
            assert (
                box is other_box or box[2] < other_box[0] or other_box[2] < box[0] or box[1] != other_box[1]
            )
    for line in arrows(svg):
        for (x, y), (to_x, to_y) in pairwise(line):
            for part in range(1, 20):
                at_x, at_y = x + (to_x - x) * part / 20, y + (to_y - y) * part / 20
                assert not any(box[0] < at_x < box[2] and box[1] < at_y < box[3] for box in packages)


@pytest.mark.parametrize("gone", [set(), {("top", "left")}, {("left", "bottom")}, {("top", "bottom")}])
def test_any_import_that_comes_or_goes_changes_the_picture(gone: Dependencies) -> None:
    imports = {("top", "left"), ("left", "bottom"), ("top", "bottom")}
    now, before = imports - gone, imports if gone else imports | {("top", "right")}
    assert picture(ROWS, now) != picture(ROWS, before)


def test_what_was_left_out_is_reached_by_what_is_drawn() -> None:
    imports = package_imports(ROOT / "src")
    below = without_implied(imports)
    for start, end in imports:
        reachable = {start}
        for _ in layers():
            reachable |= {lower for upper, lower in below if upper in reachable}
        assert end in reachable
