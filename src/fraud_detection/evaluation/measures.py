"""Metrics of scores: ranking, calibration, and single decisions.

Plain definitions on arrays of shape (n,): `score` is higher for more suspicious
payments, `fraud` is True or False, `weight` says how many payments each stands for (1 where it is not
given).  No model, no file, no threshold is chosen here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fraud_detection.evaluation.weights import are_equal

DAY_MS = 86_400_000
RESAMPLES = 400


@dataclass(frozen=True, slots=True)
class Stratum:
    """The frauds and good payments of one weight at each distinct score, counted."""

    weight: float
    frauds: np.ndarray
    goods: np.ndarray


@dataclass(frozen=True, slots=True)
class Ranking:
    """Frauds and good payments at each distinct score, the highest first; shape (distinct,).

    strata: the same by weight; empty where each payment stands for itself alone.

    >>> one = Ranking.of(np.array([0.9, 0.5, 0.5]), np.array([True, True, False]))
    >>> one.frauds.tolist(), one.goods.tolist()
    ([1, 1], [0, 1])
    """

    frauds: np.ndarray
    goods: np.ndarray
    strata: tuple[Stratum, ...] = ()

    @classmethod
    def of(cls, score: np.ndarray, fraud: np.ndarray, weight: np.ndarray | None = None) -> Ranking:
        """Count by distinct score, each payment as many times as it weighs."""
        levels, group = np.unique(-np.asarray(score), return_inverse=True)
        if weight is None or are_equal(weight):
            return cls(*_counted(group, fraud, levels.size))
        strata = []
        for stratum_weight in np.unique(weight):
            own = weight == stratum_weight
            strata.append(Stratum(float(stratum_weight), *_counted(group[own], fraud[own], levels.size)))
        return cls.together(strata)

    @classmethod
    def together(cls, strata: Sequence[Stratum]) -> Ranking:
        """Add up strata, each as many times as its payments weigh."""
        frauds = np.sum([stratum.weight * stratum.frauds for stratum in strata], axis=0)
        goods = np.sum([stratum.weight * stratum.goods for stratum in strata], axis=0)
        return cls(frauds, goods, tuple(strata))

    def average_precision(self) -> float:
        """Return the mean precision over all frauds; NaN without one."""
        return float(_average_precision(self.frauds, self.goods))

    def auc(self) -> float:
        """Return the chance that a fraud scores above a good payment, ties counted half."""
        return float(_auc(self.frauds, self.goods))

    def recall_at(self, false_positive_rate: float) -> float:
        """Return the largest share of frauds found while at most that share of good payments is hit.

        >>> Ranking(np.array([1, 0, 1]), np.array([0, 1, 1])).recall_at(0.1)
        0.5
        """
        allowed = np.cumsum(self.goods) <= false_positive_rate * self.goods.sum()
        caught = float(self.frauds[allowed].sum())
        return _ratio(caught, float(self.frauds.sum()))

    def curve(self) -> tuple[np.ndarray, np.ndarray]:
        """Return recall and precision at each distinct score."""
        caught, flagged = np.cumsum(self.frauds), np.cumsum(self.frauds + self.goods)
        return caught / max(float(self.frauds.sum()), 1.0), caught / flagged

    def intervals(self, seed: int, resamples: int = RESAMPLES) -> dict[str, tuple[float, float]]:
        """Return 95 % intervals of average precision and AUC by a Poisson bootstrap over payments.

        Drawing each payment Poisson(1) times makes the counts of a group Poisson too, so a
        resample costs as much as there are groups with a fraud, not as there are payments.
        A payment of weight 100 is drawn as one, and counts 100 when drawn.
        """
        groups = self._around_frauds()
        rng = np.random.default_rng(seed)
        draws = [groups.resampled(rng) for _ in range(resamples)]
        return {
            "average_precision": middle_95([_average_precision(*draw) for draw in draws]),
            "auc": middle_95([_auc(*draw) for draw in draws]),
        }

    def _around_frauds(self) -> Ranking:
        """Merge neighbouring groups without a fraud; neither measure sees the difference."""
        guilty = self.frauds > 0
        starts = guilty | np.concatenate([[True], guilty[:-1]])
        at = np.flatnonzero(starts)
        if self.strata:
            merged = [
                Stratum(
                    stratum.weight, np.add.reduceat(stratum.frauds, at), np.add.reduceat(stratum.goods, at)
                )
                for stratum in self.strata
            ]
            return Ranking.together(merged)
        return Ranking(np.add.reduceat(self.frauds, at), np.add.reduceat(self.goods, at))

    def resampled(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Return frauds and good payments of one resample."""
        if not self.strata:
            return rng.poisson(self.frauds), rng.poisson(self.goods)
        strata = [
            Stratum(stratum.weight, rng.poisson(stratum.frauds), rng.poisson(stratum.goods))
            for stratum in self.strata
        ]
        resampled = Ranking.together(strata)
        return resampled.frauds, resampled.goods


@dataclass(frozen=True, slots=True)
class Bins:
    """Calibration in bins of payments with neighbouring scores: mean score, share of frauds, number."""

    predicted: np.ndarray
    observed: np.ndarray
    count: np.ndarray

    def error(self) -> float:
        """Return the mean distance of score and share of frauds, each bin weighed by its number."""
        return float((self.count * np.abs(self.predicted - self.observed)).sum() / self.count.sum())


def calibration_bins(
    score: np.ndarray, fraud: np.ndarray, bins: int = 10, weight: np.ndarray | None = None
) -> Bins:
    """Sort by score and cut into `bins` parts of equal number.

    >>> calibration_bins(np.array([0.1, 0.9]), np.array([0, 1]), bins=2).error().__round__(3)
    0.1
    """
    return _binned(score, fraud, np.array_split(np.argsort(score, kind="stable"), bins), weight)


def risk_bins(score: np.ndarray, fraud: np.ndarray, bins: int = 10, weight: np.ndarray | None = None) -> Bins:
    """Sort by score and cut into `bins` parts in each of which equally many frauds are expected.

    Where frauds are rare, parts of equal number put nearly all of them into the last one.

    >>> risk_bins(np.array([0.1] * 9 + [0.9]), np.array([0] * 9 + [1]), bins=2).count.tolist()
    [9, 1]
    """
    order = np.argsort(score, kind="stable")
    expected = np.cumsum(score[order] if weight is None else (score * weight)[order])
    edges = np.searchsorted(expected, expected[-1:] * np.arange(1, bins) / bins, side="right")
    return _binned(score, fraud, np.split(order, edges), weight)


def _binned(score: np.ndarray, fraud: np.ndarray, cut: list[np.ndarray], weight: np.ndarray | None) -> Bins:
    each = np.ones(score.size) if weight is None else weight
    bins = [rows for rows in cut if rows.size]
    predicted = [mean(score[rows], each[rows]) for rows in bins]
    observed = [mean(fraud[rows], each[rows]) for rows in bins]
    count = np.array([rows.size if weight is None else each[rows].sum() for rows in bins])
    return Bins(np.array(predicted), np.array(observed), count)


def mean(values: np.ndarray, weight: np.ndarray) -> float:
    """Return the mean of values that weigh differently, NaN where there is none."""
    total = float(weight.sum())
    return float((values * weight).sum()) / total if total else math.nan


def brier(score: np.ndarray, fraud: np.ndarray, weight: np.ndarray | None = None) -> float:
    """Return the mean squared distance of score and label.

    >>> brier(np.array([1.0, 0.5]), np.array([1, 0]))
    0.125
    """
    return mean((score - fraud) ** 2, np.ones(score.size) if weight is None else weight)


def card_precision(
    score: np.ndarray, fraud: np.ndarray, card: np.ndarray, event_time: np.ndarray, top: int = 100
) -> float:
    """Return the share of frauds among the `top` cards shown to people each UTC day, mean over days.

    A card is ranked by its highest score of the day; one that was caught is not shown again.

    >>> day = np.array([0, 0, DAY_MS])
    >>> card_precision(np.array([0.9, 0.1, 0.8]), np.array([1, 0, 1]), np.array(["a", "b", "a"]), day, top=1)
    0.5
    """
    number = np.unique(card, return_inverse=True)[1]
    caught = np.zeros(number.max(initial=-1) + 1, dtype=bool)
    hits = []
    days = event_time // DAY_MS
    for day in np.unique(days):
        on_day = (days == day) & ~caught[number]
        new_hits = _caught_on_day(score[on_day], fraud[on_day], number[on_day], top)
        caught[new_hits] = True
        hits.append(new_hits.size / top)
    return float(np.mean(hits)) if hits else math.nan


def accuracy_measures(
    flagged: np.ndarray, fraud: np.ndarray, weight: np.ndarray | None = None
) -> dict[str, float]:
    """Return accuracy, precision and recall of the payments that were not simply approved.

    >>> accuracy_measures(np.array([True, True, False, False]), np.array([1, 0, 0, 0]))
    {'accuracy': 0.75, 'precision': 0.5, 'recall': 1.0}
    """
    each = np.ones(flagged.size) if weight is None else weight
    guilty = fraud == 1
    hit = float(each[flagged & guilty].sum())
    return {
        "accuracy": mean(flagged == guilty, each),
        "precision": _ratio(hit, float(each[flagged].sum())),
        "recall": _ratio(hit, float(each[guilty].sum())),
    }


def _counted(group: np.ndarray, fraud: np.ndarray, levels: int) -> tuple[np.ndarray, np.ndarray]:
    frauds = np.bincount(group[fraud.astype(bool)], minlength=levels)
    return frauds, np.bincount(group, minlength=levels) - frauds


def _caught_on_day(score: np.ndarray, fraud: np.ndarray, card: np.ndarray, top: int) -> np.ndarray:
    """Return the cards with a fraud among the `top` cards; of equal scores the smaller id is shown."""
    cards, group = np.unique(card, return_inverse=True)
    best = np.full(cards.size, -np.inf)
    np.maximum.at(best, group, score)
    guilty = np.bincount(group, weights=fraud, minlength=cards.size) > 0
    shown = np.argsort(-best, kind="stable")[:top]
    return np.asarray(cards[shown[guilty[shown]]])


def _average_precision(frauds: np.ndarray, goods: np.ndarray) -> np.float64:
    caught, flagged = np.cumsum(frauds), np.cumsum(frauds + goods)
    total = frauds.sum()
    if total == 0:
        return np.float64(np.nan)
    return np.float64((frauds * caught / np.maximum(flagged, 1)).sum() / total)


def _auc(frauds: np.ndarray, goods: np.ndarray) -> np.float64:
    pairs = float(frauds.sum()) * float(goods.sum())
    if pairs == 0:
        return np.float64(np.nan)
    below = goods.sum() - np.cumsum(goods)
    return np.float64((frauds * (below + goods / 2)).sum() / pairs)


def middle_95(values: list[np.float64]) -> tuple[float, float]:
    """Return the edges between which 95 % of resampled values lie; NaN where no value has a meaning."""
    if not values or np.isnan(values).all():
        return (math.nan, math.nan)
    low, high = np.nanquantile(values, [0.025, 0.975])
    return (float(low), float(high))


def _ratio(numerator: float, whole: float) -> float:
    return numerator / whole if whole else 0.0
