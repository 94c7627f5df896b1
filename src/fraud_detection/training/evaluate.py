"""Evaluate a scored slice of history: every reported figure, in one flat table.

The key says the unit where a figure has one.  Payments without a label count as
traffic (reviews a day) and in nothing else; the others as many times as they weigh.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from fraud_detection.adapters.files.text_codes import TextCodes
from fraud_detection.evaluation.cutoffs import ExpectedCosts, expected_costs
from fraud_detection.evaluation.intervals import rate_interval
from fraud_detection.evaluation.measures import (
    DAY_MS,
    Ranking,
    accuracy_measures,
    brier,
    calibration_bins,
    card_precision,
    mean,
)
from fraud_detection.evaluation.time_split import UNKNOWN
from fraud_detection.evaluation.weights import are_equal, effective

if TYPE_CHECKING:
    from fraud_detection.core.project_schema import Costs
    from fraud_detection.core.score.bundle import Cutoffs
    from fraud_detection.training.tables.feature_table import Table

EVER = 2**62
"""Later than any label: all that history holds is asked for."""


@dataclass(frozen=True, slots=True)
class Scored:
    """A slice of history with its calibrated scores, and the labels known at some moment.

    row: the numbers of the payments in their table.  card: numbers that order cards as their ids do.  The
    others as in `Payments`; each of shape (n,).
    """

    row: np.ndarray
    event_time: np.ndarray
    amount: np.ndarray
    card: np.ndarray
    weight: np.ndarray
    score: np.ndarray
    label: np.ndarray
    days: float

    @classmethod
    def of(cls, table: Table, rows: range, score: np.ndarray, span: tuple[int, int], as_of: int) -> Scored:
        """Take rows of a table, which all lie in `span`, in ms, with labels as known at `as_of`."""
        cards, columns = TextCodes(), []
        for payments in table.payments(rows):
            cards.add(payments.card)
            columns.append((payments.event_time, payments.amount, payments.weight, payments.labels(as_of)))
        event_time, amount, weight, label = (np.concatenate(parts) for parts in zip(*columns, strict=True))
        row, days = np.arange(rows.start, rows.stop), (span[1] - span[0]) / DAY_MS
        return cls(row, event_time, amount, cards.numbers(), weight, score, label, days)

    def labelled(self) -> Scored:
        """Return the labelled rows with a weight above 0."""
        known = (self.label != UNKNOWN) & (self.weight > 0)
        columns = {name: getattr(self, name)[known] for name in self.__slots__ if name != "days"}
        return replace(self, **columns)


def evaluate_slice(scored: Scored, cutoffs: Cutoffs, costs: Costs, seed: int) -> dict[str, float]:
    """Return every figure, rounded to 6 digits; NaN where a figure has no meaning.

    `*_low` and `*_high` bound a 95 % interval; `amount_only_*` is what the amount alone reaches.
    """
    known = scored.labelled()
    figures = {
        **_counts(scored, known),
        **_lots(scored, known),
        **_ranking(known, seed),
        **_calibration(known),
        **_accuracy(known, cutoffs, seed),
        **_volumes(scored, cutoffs),
        **_stopped(known, cutoffs),
        **money(known, cutoffs, costs),
    }
    return {name: round(float(value), 6) for name, value in figures.items()}


def money(known: Scored, cutoffs: Cutoffs, costs: Costs) -> dict[str, float]:
    """Return what the policy costs, and what it saves over approving everything, in major units.

    A day's figure spreads the whole over the slice's days.
    """
    each = _prices(known, costs)
    everything, policy = float(each.approved.sum()), float(_price_of(each, known.score, cutoffs).sum())
    return {
        "cost_approving_all_major_units": everything,
        "cost_major_units": policy,
        "money_saved_major_units": everything - policy,
        "money_saved_major_units_per_day": (everything - policy) / known.days,
        "money_saved_share": (everything - policy) / everything if everything else 0.0,
    }


def savings(known: Scored, cutoffs: Cutoffs, costs: Costs) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return, for every possible value of each cut-off, the major units saved a day; the other stays.

    Keys 'review' and 'decline'; values are thresholds (rising distinct scores) and savings.
    """
    each = _prices(known, costs)
    below = known.score < cutoffs.decline_at
    above = known.score >= cutoffs.review_at
    reviewing, declining = each.approved - each.reviewed, each.approved - each.declined
    fixed = float(declining[~below].sum())
    review = _falling_sums(known.score[below], reviewing[below], fixed)
    decline = _falling_sums(known.score[above], (declining - reviewing)[above], float(reviewing[above].sum()))
    return {
        name: (thresholds, sums / known.days)
        for name, (thresholds, sums) in (("review", review), ("decline", decline))
    }


def _prices(known: Scored, costs: Costs) -> ExpectedCosts:
    each = expected_costs((known.label == 1).astype(float), known.amount, costs)
    return each.weighted(known.weight)


def _price_of(each: ExpectedCosts, score: np.ndarray, cutoffs: Cutoffs) -> np.ndarray:
    reviewed = np.where(score >= cutoffs.review_at, each.reviewed, each.approved)
    return np.where(score >= cutoffs.decline_at, each.declined, reviewed)


def _falling_sums(score: np.ndarray, gain: np.ndarray, start: float) -> tuple[np.ndarray, np.ndarray]:
    thresholds, group = np.unique(score, return_inverse=True)
    each = np.bincount(group, weights=gain, minlength=thresholds.size)
    return thresholds, start + np.cumsum(each[::-1])[::-1]


def _counts(scored: Scored, known: Scored) -> dict[str, float]:
    frauds, payments = float(known.weight[known.label == 1].sum()), float(known.weight.sum())
    return {
        "days": scored.days,
        "payments_count": scored.label.size,
        "unlabelled_count": int((scored.label == UNKNOWN).sum()),
        "frauds_count": frauds,
        "fraud_rate": frauds / max(payments, 1),
        "accuracy_always_legitimate": 1 - frauds / max(payments, 1),
    }


def _lots(scored: Scored, known: Scored) -> dict[str, float]:
    """Return the counts of the control group; empty where every weight is 1."""
    if are_equal(scored.weight):
        return {}
    return {
        "control_group_count": int((known.weight > 1).sum()),
        "left_out_count": int((scored.weight == 0).sum()),
        "effective_count": effective(known.weight),
    }


def _ranking(known: Scored, seed: int) -> dict[str, float]:
    fraud, weight = known.label == 1, known.weight
    ranking = Ranking.of(known.score, fraud, weight)
    amount = amount_ranking(known)
    bounds = ranking.intervals(seed)
    return {
        "average_precision": ranking.average_precision(),
        "average_precision_low": bounds["average_precision"][0],
        "average_precision_high": bounds["average_precision"][1],
        "auc": ranking.auc(),
        "auc_low": bounds["auc"][0],
        "auc_high": bounds["auc"][1],
        "recall_at_0_1_percent_false_positives": ranking.recall_at(0.001),
        "recall_at_1_percent_false_positives": ranking.recall_at(0.01),
        "card_precision_at_100": _card_precision(known),
        "amount_only_average_precision": amount.average_precision(),
        "amount_only_auc": amount.auc(),
    }


def amount_ranking(known: Scored) -> Ranking:
    """Rank by the amount alone, the largest first and unknown ones last: what needs no model."""
    amount = np.nan_to_num(known.amount, nan=-math.inf)
    return Ranking.of(amount, known.label == 1, known.weight)


def _card_precision(known: Scored) -> float:
    # The control group is assigned by payment, not by card: no weight says how many cards one stands for.
    if not are_equal(known.weight):
        return math.nan
    return card_precision(known.score, known.label, known.card, known.event_time)


def _calibration(known: Scored) -> dict[str, float]:
    weight = None if are_equal(known.weight) else known.weight
    return {
        "brier": brier(known.score, known.label, weight),
        "calibration_error": calibration_bins(known.score, known.label, weight=weight).error(),
        "score_mean": mean(known.score, known.weight),
    }


def _accuracy(known: Scored, cutoffs: Cutoffs, seed: int) -> dict[str, float]:
    flagged, fraud, weight = known.score >= cutoffs.review_at, known.label == 1, known.weight
    measures = accuracy_measures(flagged, known.label, weight)
    precision = rate_interval(fraud[flagged], weight[flagged], seed)
    recall = rate_interval(flagged[fraud], weight[fraud], seed)
    return {
        **measures,
        "precision_low": precision[0],
        "precision_high": precision[1],
        "recall_low": recall[0],
        "recall_high": recall[1],
    }


def _stopped(known: Scored, cutoffs: Cutoffs) -> dict[str, float]:
    """Return the share of payments that is reviewed, that is declined, and the share of frauds in each."""
    fraud, weight = (known.label == 1).astype(float), known.weight
    declined = (known.score >= cutoffs.decline_at).astype(float)
    reviewed = (known.score >= cutoffs.review_at) - declined
    return {
        "review_rate": mean(reviewed, weight),
        "decline_rate": mean(declined, weight),
        "reviewed_recall": mean(reviewed, weight * fraud),
        "declined_recall": mean(declined, weight * fraud),
    }


def _volumes(scored: Scored, cutoffs: Cutoffs) -> dict[str, float]:
    declined = float((scored.score >= cutoffs.decline_at).sum())
    reviewed = float((scored.score >= cutoffs.review_at).sum()) - declined
    return {"reviews_per_day": reviewed / scored.days, "declines_per_day": declined / scored.days}
