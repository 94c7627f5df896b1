"""Detect label leakage: columns whose name, or whose values alone, give the label away."""

from __future__ import annotations

from typing import Final

import numpy as np

from fraud_detection.onboarding.column_assignment import ColumnAssignment
from fraud_detection.onboarding.column_keywords import AFTERWARDS, HISTORY, name_tokens
from fraud_detection.onboarding.columns import Floats, Integers, Profile, values_by_row
from fraud_detection.onboarding.labels import LabelColumn

TOO_GOOD: Final = 0.99
_MIN_ROWS: Final = 10
_MAX_VALUES: Final = 5_000


def ignore_leaks(columns: ColumnAssignment, label: LabelColumn | None) -> None:
    """Ignore every unassigned column that is probably filled in after the payment."""
    for profile in [profile for profile in columns.unassigned.values() if profile.kind != "empty"]:
        suspicion = _by_name(profile) or _by_values(profile, label)
        if suspicion is not None:
            columns.ignore(
                profile, f"probably a leak: {suspicion}; if it is not, use {_flag(profile)} {profile.name}"
            )


def _flag(profile: Profile) -> str:
    return "--number" if profile.kind == "number" else "--category"


def _by_name(profile: Profile) -> str | None:
    tokens = set(name_tokens(profile.name))
    if tokens & HISTORY:
        return None
    keywords = sorted(tokens & AFTERWARDS) or ["new balance"] * ({"new", "balance"} <= tokens)
    return f"its name says {keywords[0]!r}, which is known only after the payment" if keywords else None


def _by_values(profile: Profile, label: LabelColumn | None) -> str | None:
    if label is None:
        return None
    area = separation(profile, label.by_row)
    if area < TOO_GOOD:
        return None
    return f"alone it separates fraud from legitimate almost perfectly (area under ROC {area:.3f})"


def separation(profile: Profile, labels: Floats) -> float:
    """Return how well the column alone ranks frauds: 0.5 is chance, 1 is perfect.

    Numbers rank as they are, or the other way round, a missing one before all others.
    Texts rank by their share of frauds in every other row, and are evaluated on the rest.

    >>> from fraud_detection.onboarding.columns import profile
    >>> labels = np.array([0.0, 1.0] * 50)
    >>> loss, number = profile("loss", ["", "9.5"] * 50), profile("number", range(100))
    >>> separation(loss, labels), separation(number, labels) < 0.6
    (1.0, True)
    """
    known = np.isfinite(labels)
    if min((labels[known] == 1).sum(), (labels[known] == 0).sum()) < _MIN_ROWS or profile.distinct == 0:
        return 0.5
    if profile.kind == "number":
        ranked = np.nan_to_num(profile.by_row, nan=-np.inf, posinf=np.inf, neginf=-np.inf)[known]
        auc = area(ranked, labels[known])
        return max(auc, 1 - auc)
    if profile.distinct > _MAX_VALUES:
        return 0.5
    return _of_texts(profile.codes[known] + 1, profile.distinct + 1, labels[known])


def _of_texts(codes: Integers, values: int, labels: Floats) -> float:
    learn, held_out = _halves(labels)
    counts = np.bincount(codes[learn], minlength=values)
    frauds = np.bincount(codes[learn], weights=labels[learn], minlength=values)
    base = labels[learn].mean()
    share = (frauds + base) / (counts + 1)
    return area(values_by_row(share, codes)[held_out], labels[held_out])


def _halves(labels: Floats) -> tuple[Integers, Integers]:
    """Deal frauds, and legitimate rows, out alternately to two halves."""
    order = np.argsort(labels, kind="stable")
    return order[::2], order[1::2]


def area(scores: Floats, labels: Floats) -> float:
    """Return the area under the ROC curve; equal scores count half.

    >>> area(np.array([0.1, 0.4, 0.4, 0.8]), np.array([0.0, 0.0, 1.0, 1.0]))
    0.875
    """
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    frauds = labels == 1
    positive, negative = int(frauds.sum()), int((~frauds).sum())
    if not positive or not negative:
        return 0.5
    return float((ranks[frauds].sum() - positive * (positive + 1) / 2) / (positive * negative))
