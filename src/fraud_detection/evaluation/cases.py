"""Single payments that the sides answer differently, and the reasons that stood on their answers."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from fraud_detection.core.events import Action
from fraud_detection.evaluation.comparison import Answer, Example, Examples, Fired, Reason
from fraud_detection.evaluation.evaluation_set import NONE, Answers, Traffic
from fraud_detection.evaluation.resample import figure
from fraud_detection.evaluation.slices import Parting, iso
from fraud_detection.evaluation.time_split import UNKNOWN
from fraud_detection.evaluation.unobserved_outcomes import unseen_weights

MAX_EXAMPLES = 10


def examples(traffic: Traffic, sides: tuple[Answers, Answers], total: Parting) -> Examples:
    """Return the largest payments of each kind of difference.

    `largest` looks at all traffic; the others at what is in `total`, whose labels are in.
    """
    before, after = (side.action for side in sides)
    judged = (total.piece != NONE) & (before != after)
    fraud, good = judged & (traffic.label == 1), judged & (traffic.label == 0)
    picked = {
        "largest": before != after,
        "newly_caught": fraud & (before == Action.APPROVE),
        "newly_missed": fraud & (after == Action.APPROVE),
        "newly_hurt": good & (after > before),
        "newly_spared": good & (after < before),
        "newly_unseen": unseen_weights(traffic, sides, total) > 0,
    }
    return Examples(**{name: tuple(_largest(traffic, sides, rows)) for name, rows in picked.items()})


def _largest(traffic: Traffic, sides: tuple[Answers, Answers], rows: np.ndarray) -> Iterator[Example]:
    places = np.flatnonzero(rows)
    order = np.argsort(-np.nan_to_num(traffic.amount[places]), kind="stable")[:MAX_EXAMPLES]
    for row in places[order].tolist():
        label = int(traffic.label[row])
        yield Example(
            transaction_id=str(traffic.transaction_id[row]),
            event_time=iso(int(traffic.event_time[row])),
            amount=figure(float(traffic.amount[row])),
            card=traffic.card.name(row),
            fraud=None if label == UNKNOWN else label == 1,
            segments={name: coded.name(row) for name, coded in traffic.segments.items()},
            first=_answer(sides[0], row),
            second=_answer(sides[1], row),
        )


def _answer(side: Answers, row: int) -> Answer:
    messages = [side.messages.get(code, code) for code in side.codes(row)]
    return Answer(
        action=Action(int(side.action[row])).label,
        score=figure(float(side.score[row])),
        reasons=tuple(messages),
    )


def reasons(traffic: Traffic, sides: tuple[Answers, Answers], total: Parting) -> tuple[Reason, ...]:
    """Return how often each reason stood on a decision, those that fired most first."""
    first, second = (_fired(traffic, side, total) for side in sides)
    codes = sorted(
        {*first, *second}, key=lambda code: (-max(_often(first, code), _often(second, code)), code)
    )
    none = Fired(payments=0, frauds=0.0, good=0.0, unlabelled=0)
    return tuple(
        Reason(
            code=code,
            message=_message(code, sides),
            first=first.get(code, none),
            second=second.get(code, none),
        )
        for code in codes
    )


def _message(code: str, sides: tuple[Answers, Answers]) -> str:
    """Return what people read for a code; that of each side where a change gave it another meaning."""
    told = {side.messages[code]: side.name for side in reversed(sides) if code in side.messages}
    if len(told) < len(sides):
        return next(iter(told), code)
    return "; ".join(f"{name}: {message}" for message, name in reversed(told.items()))


def _often(fired: dict[str, Fired], code: str) -> int:
    return fired[code].payments if code in fired else 0


def _fired(traffic: Traffic, side: Answers, total: Parting) -> dict[str, Fired]:
    inside = total.piece != NONE
    why, label, weight = side.why[inside], traffic.label[inside], traffic.weights()[inside]
    size = len(side.reasons)
    count = np.bincount(why, minlength=size)
    frauds = np.bincount(why, weights=weight * (label == 1), minlength=size)
    good = np.bincount(why, weights=weight * (label == 0), minlength=size)
    unknown = np.bincount(why[label == UNKNOWN], minlength=size)
    return {
        code: Fired(
            payments=int(count[places].sum()),
            frauds=round(float(frauds[places].sum()), 6),
            good=round(float(good[places].sum()), 6),
            unlabelled=int(unknown[places].sum()),
        )
        for code, places in _places(side).items()
        if count[places].any()
    }


def _places(side: Answers) -> dict[str, list[int]]:
    """Return, for each code, the places in `reasons` that hold it."""
    found: dict[str, list[int]] = {}
    for place, codes in enumerate(side.reasons):
        for code in codes:
            found.setdefault(code, []).append(place)
    return found
