"""The tables of a page: answers of both sides, reasons, and single payments."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

from fraud_detection.events import Action
from fraud_detection.judge.comparison import Answer, Comparison, Example, Fired
from fraud_detection.judge.words import money

KINDS = {
    "newly_caught": "Frauds that the change catches and today misses",
    "newly_missed": "Frauds that today catches and the change misses",
    "newly_hurt": "Good customers whom the change answers more severely",
    "newly_spared": "Good customers whom the change answers more mildly",
    "newly_unseen": "Payments that today stops and the change approves, and nobody knows what they were",
    "largest": "The largest payments of all that would be answered differently",
}


def table(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Return a table of cells that are HTML already."""
    head = "".join(f"<th>{one}</th>" for one in heads)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in line)}</tr>" for line in lines)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def actions(found: Comparison) -> str:
    """Return how many payments each pair of answers was given to."""
    labels = [action.label for action in Action]
    heads = (f"{escape(found.first)} ↓ · {escape(found.second)} →", *labels)
    lines = [
        (
            label,
            *(
                f'<span class="{"same" if row == column else ""}">{count:,}</span>'
                for column, count in enumerate(counts)
            ),
        )
        for row, (label, counts) in enumerate(zip(labels, found.actions, strict=True))
    ]
    return table(heads, lines)


def reasons(found: Comparison) -> str:
    """Return how often each reason stood on a decision, and how often it was right."""
    heads = (
        "reason",
        f"fired, {escape(found.first)}",
        "frauds",
        "good",
        f"fired, {escape(found.second)}",
        "frauds",
        "good",
    )
    lines = [
        (f"{escape(one.code)}<small>{escape(one.words)}</small>", *_fired(one.first), *_fired(one.second))
        for one in found.reasons
    ]
    return table(heads, lines) if lines else "<p>No reason stood on any decision whose label is in.</p>"


def _fired(one: Fired) -> Iterator[str]:
    yield f"{one.payments:,}"
    yield money(one.frauds)
    yield money(one.good)


def examples(found: Comparison) -> str:
    """Return single payments, one list for each kind of difference."""
    parts = []
    for kind, words in KINDS.items():
        shown: Sequence[Example] = getattr(found.examples, kind)
        opened = " open" if shown and kind != "largest" else ""
        inside = _examples(found, shown) if shown else "<p>There is none.</p>"
        parts.append(f"<details{opened}><summary>{words}</summary>{inside}</details>")
    return "".join(parts)


def _examples(found: Comparison, shown: Sequence[Example]) -> str:
    heads = ("payment", "amount", "what it was", escape(found.first), escape(found.second))
    return table(heads, [_example(one) for one in shown])


def _example(one: Example) -> Sequence[str]:
    known = {True: "fraud", False: "good", None: "not known yet"}[one.fraud]
    about = [one.event_time, *([f"card {one.card}"] if one.card else [])]
    about += [f"{name.replace('_', ' ')} {value}" for name, value in one.segments.items() if value]
    payment = f"{escape(one.transaction_id)}<small>{escape(', '.join(about))}</small>"
    amount = "-" if one.amount is None else f"{one.amount:,.2f}"
    return payment, amount, known, _answer(one.first), _answer(one.second)


def _answer(one: Answer) -> str:
    score = "no score" if one.score is None else f"score {one.score:.3f}"
    return f"{one.action}<small>{escape('; '.join([score, *one.reasons]))}</small>"
