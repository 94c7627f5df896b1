"""What a score is worth: measures of ranking, of calibration and of single answers.

Plain definitions on arrays of shape (n,): `score` is higher for more suspicious
payments, `fraud` is True or False.  No model, no file, no threshold is chosen here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

DAY_MS = 86_400_000
RESAMPLES = 400


@dataclass(frozen=True, slots=True)
class Ranking:
    """Frauds and good payments at each distinct score, the highest first; shape (distinct,).

    >>> one = Ranking.of(np.array([0.9, 0.5, 0.5]), np.array([True, True, False]))
    >>> one.frauds.tolist(), one.goods.tolist()
    ([1, 1], [0, 1])
    """

    frauds: np.ndarray
    goods: np.ndarray

    @classmethod
    def of(cls, score: np.ndarray, fraud: np.ndarray) -> Ranking:
        """Count by distinct score."""
        levels, group = np.unique(-np.asarray(score), return_inverse=True)
        frauds = np.bincount(group[fraud.astype(bool)], minlength=levels.size)
        return cls(frauds, np.bincount(group, minlength=levels.size) - frauds)

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
        found = int(self.frauds[allowed].sum())
        return _ratio(found, int(self.frauds.sum()))

    def curve(self) -> tuple[np.ndarray, np.ndarray]:
        """Return recall and precision at each distinct score."""
        found, flagged = np.cumsum(self.frauds), np.cumsum(self.frauds + self.goods)
        return found / max(int(self.frauds.sum()), 1), found / flagged

    def intervals(self, seed: int, resamples: int = RESAMPLES) -> dict[str, tuple[float, float]]:
        """Return 95 % intervals of average precision and AUC by a Poisson bootstrap over payments.

        Drawing each payment Poisson(1) times makes the counts of a group Poisson too, so a
        resample costs as much as there are groups with a fraud, not as there are payments.
        """
        groups = self._around_frauds()
        rng = np.random.default_rng(seed)
        draws = [(rng.poisson(groups.frauds), rng.poisson(groups.goods)) for _ in range(resamples)]
        return {
            "average_precision": _middle_95([_average_precision(*draw) for draw in draws]),
            "auc": _middle_95([_auc(*draw) for draw in draws]),
        }

    def _around_frauds(self) -> Ranking:
        """Merge neighbouring groups without a fraud; neither measure can tell the difference."""
        guilty = self.frauds > 0
        starts = guilty | np.concatenate([[True], guilty[:-1]])
        at = np.flatnonzero(starts)
        return Ranking(np.add.reduceat(self.frauds, at), np.add.reduceat(self.goods, at))


@dataclass(frozen=True, slots=True)
class Bins:
    """Calibration in bins of payments with neighbouring scores: mean score, share of frauds, number."""

    predicted: np.ndarray
    observed: np.ndarray
    count: np.ndarray

    def error(self) -> float:
        """Return the mean distance of score and share of frauds, each bin weighed by its number."""
        return float((self.count * np.abs(self.predicted - self.observed)).sum() / self.count.sum())


def calibration_bins(score: np.ndarray, fraud: np.ndarray, bins: int = 10) -> Bins:
    """Sort by score and cut into `bins` parts of equal number.

    >>> calibration_bins(np.array([0.1, 0.9]), np.array([0, 1]), bins=2).error().__round__(3)
    0.1
    """
    return _binned(score, fraud, np.array_split(np.argsort(score, kind="stable"), bins))


def risk_bins(score: np.ndarray, fraud: np.ndarray, bins: int = 10) -> Bins:
    """Sort by score and cut into `bins` parts in each of which equally many frauds are expected.

    Where frauds are rare, parts of equal number put nearly all of them into the last one.

    >>> risk_bins(np.array([0.1] * 9 + [0.9]), np.array([0] * 9 + [1]), bins=2).count.tolist()
    [9, 1]
    """
    order = np.argsort(score, kind="stable")
    expected = np.cumsum(score[order])
    edges = np.searchsorted(expected, expected[-1:] * np.arange(1, bins) / bins, side="right")
    return _binned(score, fraud, np.split(order, edges))


def _binned(score: np.ndarray, fraud: np.ndarray, cut: list[np.ndarray]) -> Bins:
    parts = [part for part in cut if part.size]
    predicted = [float(score[part].mean()) for part in parts]
    observed = [float(fraud[part].mean()) for part in parts]
    return Bins(np.array(predicted), np.array(observed), np.array([part.size for part in parts]))


def brier(score: np.ndarray, fraud: np.ndarray) -> float:
    """Return the mean squared distance of score and truth.

    >>> brier(np.array([1.0, 0.5]), np.array([1, 0]))
    0.125
    """
    return float(((score - fraud) ** 2).mean())


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
        today = (days == day) & ~caught[number]
        found = _caught_today(score[today], fraud[today], number[today], top)
        caught[found] = True
        hits.append(found.size / top)
    return float(np.mean(hits)) if hits else math.nan


def answers(flagged: np.ndarray, fraud: np.ndarray) -> dict[str, float]:
    """Return accuracy, precision and recall of the payments that were not simply approved.

    >>> answers(np.array([True, True, False, False]), np.array([1, 0, 0, 0]))
    {'accuracy': 0.75, 'precision': 0.5, 'recall': 1.0}
    """
    hit = int((flagged & (fraud == 1)).sum())
    return {
        "accuracy": float((flagged == (fraud == 1)).mean()),
        "precision": _ratio(hit, int(flagged.sum())),
        "recall": _ratio(hit, int((fraud == 1).sum())),
    }


def _caught_today(score: np.ndarray, fraud: np.ndarray, card: np.ndarray, top: int) -> np.ndarray:
    """Return the cards with a fraud among the `top` cards; of equal scores the smaller id is shown."""
    cards, group = np.unique(card, return_inverse=True)
    best = np.full(cards.size, -np.inf)
    np.maximum.at(best, group, score)
    guilty = np.bincount(group, weights=fraud, minlength=cards.size) > 0
    shown = np.argsort(-best, kind="stable")[:top]
    return np.asarray(cards[shown[guilty[shown]]])


def _average_precision(frauds: np.ndarray, goods: np.ndarray) -> np.float64:
    found, flagged = np.cumsum(frauds), np.cumsum(frauds + goods)
    total = frauds.sum()
    if total == 0:
        return np.float64(np.nan)
    return np.float64((frauds * found / np.maximum(flagged, 1)).sum() / total)


def _auc(frauds: np.ndarray, goods: np.ndarray) -> np.float64:
    pairs = float(frauds.sum()) * float(goods.sum())
    if pairs == 0:
        return np.float64(np.nan)
    below = goods.sum() - np.cumsum(goods)
    return np.float64((frauds * (below + goods / 2)).sum() / pairs)


def _middle_95(values: list[np.float64]) -> tuple[float, float]:
    if not values or np.isnan(values).all():
        return (math.nan, math.nan)
    low, high = np.nanquantile(values, [0.025, 0.975])
    return (float(low), float(high))


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
