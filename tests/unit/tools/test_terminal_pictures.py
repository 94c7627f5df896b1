"""The pictures of the README are those of the screens that are kept, and everything in them can be read."""

from __future__ import annotations

import re
import sys
from collections import deque
from xml.etree import ElementTree as ET  # our own picture

import pytest

from fraud_detection.cli.look_back.explain import HEADINGS as ANSWERS
from fraud_detection.cli.try_it.demo import HEADINGS, demo_figures
from fraud_detection.demo.demo import DemoView
from fraud_detection.engine.counters import Tally
from tools.terminal_pictures import COLUMNS, EDGE, FOLDER, TITLES, current, picture, surest, wrapped
from tools.terminal_recording import output_of, screens

SVG = "{http://www.w3.org/2000/svg}"
LINE_BY_LINE = """
import sys, time
for number in range(3):
    if number:
        sys.stdout.write("\\r\\x1b[2K\\x1b[1A\\x1b[2K")
    sys.stdout.write(f"\\x1b[1mround\\x1b[0m {number}\\n{sys.stdout.isatty()} é")
    sys.stdout.flush()
"""


def shown(name: str) -> list[str]:
    return (FOLDER / f"{name}.txt").read_text(encoding="utf-8").splitlines()


def drawn(svg: str) -> list[tuple[float, float, str]]:
    elements = ET.fromstring(svg).iter(f"{SVG}text")  # noqa: S314 - our own picture
    return [(float(one.attrib["x"]), float(one.attrib["y"]), one.text or "") for one in elements]


@pytest.mark.parametrize("name", TITLES)
def test_the_picture_is_that_of_the_screen_that_is_kept(name: str) -> None:
    stored_text = (FOLDER / f"{name}.svg").read_text(encoding="utf-8")
    assert stored_text == current(name), "run `python -m tools.terminal_pictures`"


@pytest.mark.parametrize("name", TITLES)
def test_every_word_of_the_screen_is_in_the_picture_once_and_inside_it(name: str) -> None:
    svg = ET.fromstring(current(name))  # noqa: S314 - our own picture
    right, bottom = float(svg.attrib["width"]) - EDGE, float(svg.attrib["height"])
    placed = drawn(current(name))
    expected = re.sub(r"[│┃─━┏┓┗┛┳┻╇┡┩└┘┴├┤┼]", " ", " ".join(shown(name))).split()
    assert " ".join(text for _, _, text in placed).split() == expected
    for x, y, text in placed:
        assert EDGE <= x <= x + 7.2 * len(text) <= right + 1, text
        assert 0 < y < bottom


def test_the_demo_shows_the_table_of_the_demo() -> None:
    header = next(line for line in shown("demo") if line.startswith("┃"))
    assert tuple(part.strip() for part in header.strip("┃").split("┃")) == HEADINGS
    names = demo_figures(DemoView(Tally(), 0.0, deque()))
    assert re.split(r"  +", shown("demo")[1].strip()) == list(names)


def test_the_payment_that_is_explained_is_one_of_the_demo() -> None:
    one = surest("\n".join(shown("demo")))
    command, heading, *_ = shown("explain")
    assert command.startswith(f"$ fraud explain {one} ")
    assert heading.startswith(f"Payment {one} of ")
    assert heading.endswith(ANSWERS["decline"])


def test_lines_that_are_too_long_go_on_further_in_and_lose_no_word() -> None:
    line = "  why: " + "word " * 60
    rows = list(wrapped(line.rstrip()))
    assert len(rows) > 2
    assert all(len(row) <= COLUMNS for row in rows)
    assert all(row.startswith("    ") for row in rows[1:])
    assert " ".join(" ".join(rows).split()) == " ".join(line.split())


def test_the_rules_of_a_table_join_without_a_gap() -> None:
    svg = ET.fromstring(picture("a table", "┏━━┳━┓\n┃ab┃c┃\n└──┴─┘\n"))  # noqa: S314 - our own picture
    lines = [
        {key: float(one.attrib[key]) for key in ("x1", "y1", "x2", "y2")} for one in svg.iter(f"{SVG}line")
    ]
    across = [one for one in lines if one["y1"] == one["y2"]]
    upright = [one for one in lines if one["x1"] == one["x2"]]
    assert (len(across), len(upright)) == (2, 3)
    assert {one["y1"] for one in across} == {y for one in upright for y in (one["y1"], one["y2"])}
    assert {one["x1"] for one in across} | {one["x2"] for one in across} <= {one["x1"] for one in upright}


def test_the_screens_of_a_terminal_are_what_a_person_saw_before_each_change() -> None:
    output = output_of([sys.executable, "-c", LINE_BY_LINE], 80, 24)
    assert list(screens(output, 24)) == [f"round {number}\nTrue é" for number in range(3)]


def test_a_screen_is_as_high_as_its_terminal() -> None:
    assert list(screens("\r\n".join(map(str, range(30))), 3)) == ["27\n28\n29"]
