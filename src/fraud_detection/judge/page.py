"""A report as one page for people: words, tables and charts, nothing fetched from anywhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from html import escape

from fraud_detection.judge.charts import Bars, by_week, intervals
from fraud_detection.judge.comparison import (
    Comparison,
    Difference,
    Estimate,
    Judged,
    Part,
    Report,
    Side,
    Variant,
)
from fraud_detection.judge.page_tables import actions, examples, reasons, table
from fraud_detection.judge.style import STYLE
from fraud_detection.judge.words import Row, headline, money, plus, rows, share, signed, span, unseen

READING = """
<h3>How to read this</h3>
<p><b>Frauds caught</b> were reviewed or declined; <b>missed</b> ones were approved. <b>Money saved</b> is
what approving everything would have cost, less what these answers cost, by the prices under
<code>costs</code> of the project file: of a fraud that goes to review a part is missed all the same, and
a good customer who is declined costs something too.</p>
<p>Figures in brackets are <b>95 % intervals</b>: other weeks of the same kind would mostly give figures
within them. Where an interval of a difference holds 0, the difference may be chance. Both sides answered
the same payments, and payments of one card are drawn together.</p>
<p>Weeks whose <b>labels are not in</b> yet are grey: their payments are counted, nothing else is said
about them, and they are in no total. A payment without a label is neither good nor fraud. Nothing that
became known after the moment of judgement is used.</p>
<p>History holds what customers did after the answers they had <em>then</em>. Whoever is declined would
have tried again; that is not in these figures.</p>
"""


def page(report: Report) -> str:
    """Return the whole page as HTML."""
    title = f"A change tried on history: {report.project}"
    parts = [f"<h1>{escape(title)}</h1>", *_heading(report), *_overview(report)]
    for number, variant in enumerate(report.variants):
        parts += _variant(variant, number)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        + "\n".join([*parts, READING])
        + "\n</body>\n</html>\n"
    )


def _heading(report: Report) -> Iterator[str]:
    found = report.variants[0].comparison
    whole, weeks = found.traffic, found.weeks
    judged = sum(week.mature for week in weeks)
    yield (
        f'<p class="soft">{whole.payments:,} payments from {span(whole)}, decided again; bundle in force '
        f"{escape(report.bundle)}. As of {found.as_of} the labels of {judged} of {len(weeks)} weeks are in "
        f"(they take {found.label_delay_days:g} days).</p>"
    )
    for note in report.notes:
        yield f'<p class="note">{escape(note)}</p>'


def _overview(report: Report) -> Iterator[str]:
    if len(report.variants) == 1:
        return
    lines = []
    for number, one in enumerate(report.variants):
        part, between = one.comparison.traffic, _difference(one.comparison)
        saved, caught, hurt = (
            ("-", "-", "-")
            if between is None
            else (signed(between.money_saved), signed(between.frauds_caught), signed(between.good_declined))
        )
        name = f'<a href="#change{number}">{escape(one.name)}</a>'
        reviews = plus(part.second.reviews_per_day - part.first.reviews_per_day)
        lines.append([name, f"{part.changed:,}", saved, caught, hurt, reviews])
    heads = (
        "change",
        "decisions that differ",
        "money saved",
        "frauds caught",
        "good declined",
        "reviews a day",
    )
    yield "<h3>All changes beside today</h3>"
    yield table(heads, lines)


def _variant(variant: Variant, number: int) -> Iterator[str]:
    found = variant.comparison
    yield f'<h2 id="change{number}">{escape(variant.name)}</h2>'
    said = [f"asked for by {variant.owner}"] if variant.owner else []
    said += [variant.reason] if variant.reason else []
    yield f'<p class="soft">{escape("; ".join(said))}</p>' if said else ""
    changed = "".join(f"<li>{escape(one)}</li>" for one in variant.changes)
    yield f"<ul>{changed or '<li>It changes nothing.</li>'}</ul>"
    yield f'<p class="lead">{escape(headline(found))}</p>'
    yield f'<div class="tiles">{"".join(_tiles(found))}</div>'
    yield from _figures(found)
    yield f'<h3>By week</h3><div class="charts">{"".join(_weeks(found))}</div>'
    yield from _segments(found)
    yield f"<h3>Answers of both sides</h3>{actions(found)}"
    yield f"<h3>Reasons</h3>{reasons(found)}"
    yield f"<h3>Decisions that would differ</h3>{examples(found)}"


def _tiles(found: Comparison) -> Iterator[str]:
    between = _difference(found)
    if between is not None:
        yield _tile("money saved", between.money_saved, more_is_good=True)
        yield _tile("frauds caught", between.frauds_caught, more_is_good=True)
        yield _tile("good payments declined", between.good_declined, more_is_good=False)
    first, second = found.traffic.first, found.traffic.second
    capacity = found.capacity_per_day[1]
    beside = "" if capacity is None else f", capacity {money(capacity)}"
    reviews = f"{money(first.reviews_per_day)} → {money(second.reviews_per_day)}"
    yield (
        f'<div class="tile">reviews a day<b>{reviews}</b>'
        f"<span>worst day {second.worst_day_reviews:,}{beside}</span></div>"
    )


def _tile(words: str, found: Estimate, *, more_is_good: bool) -> str:
    kind = "same"
    if found.low is not None and found.high is not None and (found.low > 0 or found.high < 0):
        kind = "good" if (found.low > 0) is more_is_good else "bad"
    value = "-" if found.value is None else plus(found.value)
    edges = "" if found.low is None or found.high is None else f"{plus(found.low)} to {plus(found.high)}"
    return f'<div class="tile">{words}<b class="{kind}">{value}</b><span>95 %: {edges or "-"}</span></div>'


def _difference(found: Comparison) -> Difference | None:
    return None if found.total is None else found.total.difference


def _figures(found: Comparison) -> Iterator[str]:
    part = found.total or found.traffic
    words = "the weeks whose labels are in" if found.total else "all payments; no labels are in yet"
    payments = f"{part.payments:,} payments, {part.unlabelled:,} without a label"
    yield f"<h3>Figures of {words}: {span(part)}, {payments}</h3>"
    heads = ("", escape(found.first), escape(found.second), "difference (95 %)")
    yield table(heads, [_row(row) for row in rows(part)])
    if said := unseen(found):
        yield f'<p class="note">{escape(said)}</p>'


def _row(row: Row) -> Sequence[str]:
    meaning = f"<small>{escape(row.meaning)}</small>" if row.meaning else ""
    return (f"{escape(row.figure)}{meaning}", escape(row.first), escape(row.second), escape(row.difference))


def _weeks(found: Comparison) -> Iterator[str]:
    names = [week.since[:10] for week in found.weeks]
    shown: tuple[tuple[str, Callable[[Judged], float]], ...] = (
        ("Money saved", lambda side: side.money_saved),
        ("Fraud missed, in money", lambda side: side.money_missed),
        ("Good payments declined", lambda side: side.good_declined.payments),
    )
    for title, take in shown:
        judged = [[side.judged for side in sides] for sides in _sides(found)]
        values = [[None if one is None else take(one) for one in side] for side in judged]
        yield _figure(title, by_week(title, names, _bars(found, values)))
    reviews = [[side.reviews_per_day for side in sides] for sides in _sides(found)]
    title = "Reviews a day"
    yield _figure(title, by_week(title, names, _bars(found, reviews), found.capacity_per_day[1]))


def _sides(found: Comparison) -> tuple[list[Side], list[Side]]:
    return [week.first for week in found.weeks], [week.second for week in found.weeks]


def _bars(found: Comparison, values: Sequence[Sequence[float | None]]) -> list[Bars]:
    return [Bars(name, own) for name, own in zip((found.first, found.second), values, strict=True)]


def _figure(title: str, picture: str) -> str:
    return f"<figure><figcaption>{escape(title)}</figcaption>{picture}</figure>"


def _segments(found: Comparison) -> Iterator[str]:
    if not any(found.segments.values()):
        return
    yield "<h3>Money saved by segment: the change less today</h3>"
    pictures = [
        _figure(name.replace("_", " "), intervals(name, [_saved(part) for part in parts]))
        for name, parts in found.segments.items()
        if parts
    ]
    yield f'<div class="charts">{"".join(pictures)}</div>'
    for name, parts in found.segments.items():
        words = escape(name.replace("_", " "))
        yield f"<details><summary>all figures by {words}</summary>{_parts(parts)}</details>"


def _saved(part: Part) -> tuple[str, Estimate]:
    nothing = Estimate(value=None, low=None, high=None)
    return part.name, nothing if part.difference is None else part.difference.money_saved


def _parts(parts: Sequence[Part]) -> str:
    heads = (
        "",
        "payments",
        "differ",
        "frauds",
        "caught",
        "good declined",
        "good reviewed",
        "precision",
        "recall",
    )
    sizes = '<p class="soft">Large figures are those of the change, small ones those of today.</p>'
    return sizes + table(heads, [_line(part) for part in parts])


def _line(part: Part) -> Sequence[str]:
    return (
        escape(part.name),
        f"{part.payments:,}",
        f"{part.changed:,}",
        money(part.frauds),
        *(
            f"{one}<small>{two}</small>"
            for one, two in zip(_told(part.second), _told(part.first), strict=True)
        ),
    )


def _told(side: Side) -> Sequence[str]:
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
