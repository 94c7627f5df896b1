"""Part the traffic by week and by segment, and sum up both sides in every part."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fraud_detection.core.events import Action
from fraud_detection.evaluation.comparison import Difference, Harm, Judged, Part, Side
from fraud_detection.evaluation.cost_table import Ledger, Sums
from fraud_detection.evaluation.evaluation_set import NONE, Answers, Coded, Traffic
from fraud_detection.evaluation.measures import DAY_MS
from fraud_detection.evaluation.resample import estimate, resampled, share
from fraud_detection.evaluation.time_split import UNKNOWN

WEEK_MS = 7 * DAY_MS
MONDAY_MS = 4 * DAY_MS
"""The first Monday after 1970-01-01."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A part before it is summed up: its name, its time, and whether its labels are in."""

    name: str
    span: tuple[int, int]
    mature: bool = True

    @property
    def days(self) -> float:
        """Return how long it lasts."""
        return (self.span[1] - self.span[0]) / DAY_MS


@dataclass(frozen=True, slots=True)
class Parting:
    """One way to part n payments: for each the number of its piece, or NONE."""

    pieces: Sequence[Piece]
    piece: np.ndarray


def weeks(traffic: Traffic) -> Parting:
    """Part the traffic by calendar weeks from Monday, UTC; the first and the last may be cut off.

    A week is mature when every payment in it is older than the label delay.
    """
    number = (traffic.event_time - MONDAY_MS) // WEEK_MS
    first, last = ((edge - MONDAY_MS) // WEEK_MS for edge in (traffic.span[0], traffic.span[1] - 1))
    pieces = [_week(traffic, week, traffic.event_time[number == week]) for week in range(first, last + 1)]
    return Parting(pieces, number - first)


def _week(traffic: Traffic, number: int, times: np.ndarray) -> Piece:
    start = MONDAY_MS + number * WEEK_MS
    span = (max(start, traffic.span[0]), min(start + WEEK_MS, traffic.span[1]))
    newest = int(times.max()) if times.size else span[1] - 1
    return Piece(iso_day(span[0]), span, newest + traffic.delay_ms <= traffic.as_of)


def everything(traffic: Traffic, name: str) -> Parting:
    """Return all traffic as one piece that is not judged."""
    return Parting([Piece(name, traffic.span, mature=False)], np.zeros(len(traffic), np.int64))


def mature_only(by_week: Parting, name: str) -> tuple[Parting, float]:
    """Return the mature weeks as one piece, and how many days they have."""
    mature = [week for week in by_week.pieces if week.mature]
    if not mature:
        return Parting([], np.full(by_week.piece.size, NONE)), 0.0
    span = (mature[0].span[0], mature[-1].span[1])
    inside = np.array([week.mature for week in by_week.pieces])[by_week.piece]
    return Parting([Piece(name, span)], np.where(inside, 0, NONE)), sum(week.days for week in mature)


def segment(coded: Coded, total: Parting, most: int) -> Parting:
    """Part what is in `total` by a segment's values: the `most` frequent ones, the rest as others.

    The most frequent stands first, but where the names have an order of their own.
    """
    inside = total.piece != NONE
    counts = np.bincount(coded.codes[inside & (coded.codes != NONE)], minlength=len(coded.names))
    ranked = np.arange(counts.size) if coded.ordered else np.argsort(-counts, kind="stable")
    order = [int(code) for code in ranked if counts[code]]
    kept = order if len(order) <= most else order[: most - 1]
    places = np.full(len(coded.names) + 1, len(kept), np.int64)
    places[kept] = np.arange(len(kept))
    places[NONE] = len(kept) + 1
    piece = np.where(inside, places[coded.codes], NONE)
    names = [*(coded.names[code] for code in kept), "others", "missing"]
    used = [number for number in range(len(names)) if (piece == number).any()]
    final = np.full(len(names) + 1, NONE)
    final[used] = np.arange(len(used))
    span = total.pieces[0].span if total.pieces else (0, 0)
    return Parting([Piece(names[number], span) for number in used], final[piece])


class Summing:
    """Sums up the parts of one comparison."""

    def __init__(self, traffic: Traffic, sides: tuple[Answers, Answers], ledger: Ledger, seed: int) -> None:
        """Take what is judged, and the seed of the resamples."""
        self.traffic, self.sides, self.ledger, self.seed = traffic, sides, ledger, seed

    def parts(self, parting: Parting, days: float | None = None) -> list[Part]:
        """Return every piece summed up.  days: how long each lasts, where that is not its span."""
        own = parting.piece[self.ledger.rows]
        rows = np.flatnonzero((own != NONE) & np.array([*(one.mature for one in parting.pieces), False])[own])
        number, sums = own[rows], self.ledger.sums[rows]
        totals = [np.bincount(number, weights=column, minlength=len(parting.pieces)) for column in sums.T]
        draws = resampled(number, self.ledger.cluster[rows], sums, len(parting.pieces), self.seed)
        return [
            self._part(
                piece, parting.piece == place, np.array([t[place] for t in totals]), draws[:, place], days
            )
            for place, piece in enumerate(parting.pieces)
        ]

    def _part(
        self, piece: Piece, inside: np.ndarray, total: np.ndarray, draws: np.ndarray, days: float | None
    ) -> Part:
        lasts = piece.days if days is None else days
        sums = [(Sums(total, side), Sums(draws, side)) for side in (0, 1)]
        first, second = (self._side(side, inside, lasts, *sums[side], piece.mature) for side in (0, 1))
        actions = [side.action[inside] for side in self.sides]
        known = sums[0][0]
        return Part(
            name=piece.name,
            since=iso(piece.span[0]),
            until=iso(piece.span[1]),
            days=round(lasts, 6),
            mature=piece.mature,
            payments=int(inside.sum()),
            unlabelled=int((self.traffic.label[inside] == UNKNOWN).sum()),
            frauds=round(known.of("frauds"), 6) if piece.mature else None,
            effective_frauds=round(known.effective("frauds"), 6) if piece.mature else None,
            fraud_money=round(known.of("fraud_money"), 6) if piece.mature else None,
            changed=int((actions[0] != actions[1]).sum()),
            first=first,
            second=second,
            difference=_difference(sums[0], sums[1]) if piece.mature else None,
        )

    def _side(
        self,
        side: int,
        inside: np.ndarray,
        days: float,
        total: Sums,
        draws: Sums,
        mature: bool,  # noqa: FBT001
    ) -> Side:
        answers = self.sides[side]
        approved, reviewed, declined = np.bincount(answers.action[inside], minlength=len(Action)).tolist()
        day = self.traffic.event_time[inside & (answers.action == Action.REVIEW)] // DAY_MS
        busy, reviews = np.unique(day, return_counts=True)
        worst = int(np.argmax(reviews)) if busy.size else None
        return Side(
            approved=approved,
            reviewed=reviewed,
            declined=declined,
            reviews_per_day=round(reviewed / days, 6) if days else 0.0,
            worst_day=None if worst is None else iso_day(int(busy[worst]) * DAY_MS),
            worst_day_reviews=0 if worst is None else int(reviews[worst]),
            days_over_capacity=None if answers.capacity is None else int((reviews > answers.capacity).sum()),
            judged=self._judged(answers, inside, total, draws) if mature else None,
        )

    def _judged(self, answers: Answers, inside: np.ndarray, total: Sums, draws: Sums) -> Judged:
        caught, money = total.of("caught"), total.of("caught_money")
        return Judged(
            frauds_caught=round(caught, 6),
            frauds_missed=round(total.of("frauds") - caught, 6),
            money_caught=round(money, 6),
            money_missed=round(total.of("fraud_money") - money, 6),
            caught_by_decline=round(total.of("caught_by_decline"), 6),
            good_declined=self._harm(answers, inside, total, Action.DECLINE),
            good_reviewed=self._harm(answers, inside, total, Action.REVIEW),
            precision=share(caught, total.of("flagged"), total.effective("flagged"), draws.precision()),
            recall=share(caught, total.of("frauds"), total.effective("frauds"), draws.recall()),
            cost=round(total.of("cost"), 6),
            money_saved=round(float(total.saved()), 6),
        )

    def _harm(self, answers: Answers, inside: np.ndarray, total: Sums, action: Action) -> Harm:
        name = "declined_good" if action is Action.DECLINE else "reviewed_good"
        hurt = inside & (answers.action == action) & (self.traffic.label == 0)
        cards = self.traffic.card.codes[hurt]
        return Harm(
            payments=round(total.of(name), 6),
            cards=int(np.unique(cards[cards != NONE]).size + (cards == NONE).sum()),
            money=round(total.of(f"{name}_money"), 6),
        )


def _difference(first: tuple[Sums, Sums], second: tuple[Sums, Sums]) -> Difference:
    def of(name: str) -> tuple[float, np.ndarray]:
        return second[0].of(name) - first[0].of(name), second[1][name] - first[1][name]

    def by(take: str) -> tuple[float, np.ndarray]:
        values = [(getattr(total, take)(), getattr(draws, take)()) for total, draws in (first, second)]
        return float(values[1][0] - values[0][0]), values[1][1] - values[0][1]

    return Difference(
        frauds_caught=estimate(*of("caught")),
        money_caught=estimate(*of("caught_money")),
        good_declined=estimate(*of("declined_good")),
        good_reviewed=estimate(*of("reviewed_good")),
        money_saved=estimate(*by("saved")),
        precision=estimate(*by("precision")),
        recall=estimate(*by("recall")),
    )


def iso(ms: int) -> str:
    """Return a time as people write it.

    >>> iso(0), iso_day(MONDAY_MS)
    ('1970-01-01T00:00:00Z', '1970-01-05')
    """
    return dt.datetime.fromtimestamp(ms / 1000, dt.UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def iso_day(ms: int) -> str:
    """Return the day of a time in UTC."""
    return iso(ms)[:10]
