"""The page says what the report says, is whole without a network, and takes any text."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fraud_detection.core.project_schema import Costs
from fraud_detection.evaluation.compare import compare
from fraud_detection.evaluation.comparison import Comparison, Estimate, Report, Variant
from fraud_detection.evaluation.messages import headline, money, rows, signed, unobserved_outcomes
from fraud_detection.evaluation.report.charts import SMALL_HEIGHT, SMALL_WIDTH, Bars, by_week, intervals
from fraud_detection.evaluation.report.page import page
from fraud_detection.evaluation.report.svg import Scale, number
from tests.unit.evaluation.payments import DAY, START, Paid, decisions, evaluation_set, payments

VOID = {"meta", "br"}


class Reading(HTMLParser):
    """Reads a page, and complains where a tag is not closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.text.append(data)


def compared(paid: list[Paid]) -> Comparison:
    baseline = decisions("baseline", [payment.baseline for payment in paid], capacity=2.0)
    return compare(
        evaluation_set(paid), baseline, decisions("change", [payment.variant for payment in paid]), Costs()
    )


def report(*comparison: Comparison, name: str = "stricter", text: str = "rule x: review") -> Report:
    variants = tuple(
        Variant(name=name, owner=text, reason=text, changes=(text,), comparison=one) for one in comparison
    )
    return Report(project=name, bundle="b", notes=(text,), variants=variants)


@settings(deadline=None, max_examples=20)
@given(payments)
def test_every_figure_of_the_report_is_on_the_page(paid: list[Paid]) -> None:
    comparison = compared(paid)
    read = Reading(page(report(comparison)))
    assert read.open == []
    text = "\n".join(read.text)
    assert headline(comparison) in text
    assert comparison.total is not None
    for row in rows(comparison.total):
        for cell in (row.figure, row.baseline, row.variant, row.difference):
            assert cell in text
    assert unobserved_outcomes(comparison) in text
    for kind in msgspec.structs.asdict(comparison.examples).values():
        for one in kind:
            assert one.transaction_id in text


@settings(deadline=None, max_examples=20)
@given(st.text(max_size=20))
def test_whatever_people_write_stays_text(text: str) -> None:
    nasty = f"<script>alert(1)</script>&\"'{text}"
    paid = [Paid(0, 100, nasty, 1, 0, 2, nasty), Paid(DAY, 900, "a", 0, 0, 2, "<b>")]
    comparison = compared(paid)
    read = Reading(page(report(comparison, comparison, name=nasty, text=nasty)))
    assert read.open == []
    assert "script" not in {tag for tag, _ in read.tags}


def test_the_page_fetches_nothing() -> None:
    text = page(report(compared([Paid(0, 100, "a", 1, 0, 2), Paid(15 * DAY, 900, "a", 0, 0, 2)])))
    assert not re.search(r"(?:src|href)\s*=\s*[\"'](?!#)", text)
    assert "url(" not in text
    assert "@import" not in text
    assert set(re.findall(r"https?://[^\"' ]+", text)) <= {"http://www.w3.org/2000/svg"}


def test_a_week_without_labels_is_grey_and_has_no_bar_of_money() -> None:
    paid = [Paid(week * 7 * DAY + DAY, 5000, f"c{week}", 1, 0, 2) for week in range(3)]
    text = page(report(compared(paid)))
    assert text.count('class="unknown"') == 3  # one a chart that needs labels
    young = compare(
        evaluation_set(paid[:1], as_of=START + DAY), decisions("a", [1]), decisions("b", [2]), Costs()
    )
    text = "".join(Reading(page(report(young))).text)
    assert "no week has mature labels yet" in text
    assert "precision" not in text


VALUES = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=12)


@given(VALUES, st.data())
def test_a_longer_bar_is_more_and_all_are_inside_the_picture(
    values: list[float], data: st.DataObject
) -> None:
    other = data.draw(st.lists(st.none() | st.floats(-1e6, 1e6), min_size=len(values), max_size=len(values)))
    weeks = [f"2026-01-{day + 1:02d}" for day in range(len(values))]
    svg = by_week("<x>", weeks, [Bars("a", values), Bars("b", other)])
    bars = [
        (float(y), float(height))
        for y, height in re.findall(
            r'<rect class="other" x="[-.\d]+" y="([-.\d]+)" width="[.\d]+" height="([.\d]+)"><', svg
        )
    ]
    assert len(bars) == len(values)
    for y, height in bars:
        assert 0 <= y <= y + height <= SMALL_HEIGHT + 1
    for (_, tall), value in zip(bars, values, strict=True):
        for (_, other_tall), other_value in zip(bars, values, strict=True):
            assert tall <= other_tall + 0.11 or abs(value) >= abs(other_value) or tall == 0.5


@given(
    st.lists(st.tuples(st.floats(-1e6, 1e6), st.floats(0, 1e6), st.floats(0, 1e6)), min_size=1, max_size=8)
)
def test_an_interval_is_drawn_around_its_value_and_inside(
    spans: list[tuple[float, float, float]],
) -> None:
    found = [
        (f"s{index}", Estimate(value=value, low=value - below, high=value + above))
        for index, (value, below, above) in enumerate(spans)
    ]
    svg = intervals("x", found)
    dots = [float(x) for x in re.findall(r'cx="([-.\d]+)"', svg)]
    edges = [
        (float(a), float(b))
        for a, b in re.findall(
            r'<line class="(?:above|below|either)" x1="([-.\d]+)" y1="[-.\d]+" x2="([-.\d]+)"', svg
        )
    ]
    for x, (low, high) in zip(dots, edges, strict=True):
        assert 0 <= low <= x + 0.11
        assert x <= high + 0.11 <= SMALL_WIDTH + 0.11


@given(VALUES)
def test_ticks_are_few_and_within_the_values(values: list[float]) -> None:
    scale = Scale(values, 0, 100)
    ticks = scale.ticks()
    assert 1 <= len(ticks) <= 13
    assert all(scale.low - 1e-6 <= tick <= scale.high + 1e-6 for tick in ticks)
    assert len(set(map(number, ticks))) == len(ticks)


def test_small_shares_have_ticks_that_differ() -> None:
    assert " ".join(map(number, Scale([0.15], 0, 100).ticks())) == "0 0.02 0.04 0.06 0.08 0.1 0.12 0.14"


@pytest.mark.parametrize(
    ("estimate", "text"),
    [
        (Estimate(value=None, low=None, high=None), "-"),
        (Estimate(value=0.0, low=0.0, high=0.0), "0 (0 to 0)"),
        (Estimate(value=1234.5, low=-3.0, high=9999.0), "+1,234 (-3 to +9,999)"),
    ],
)
def test_differences_are_said_with_their_sign(estimate: Estimate, text: str) -> None:
    assert signed(estimate) == text
    assert money(-0.04) == "0"
