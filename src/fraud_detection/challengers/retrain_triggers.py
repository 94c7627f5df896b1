"""Triggers of a retraining: old labels, or drift of the payments.

Every reason is a sentence, so that the log of a scheduler says why.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np

from fraud_detection.adapters.sqlite.logged_decisions import LoggedDecision, LoggedDecisionReader
from fraud_detection.backtesting.replay import learned_until
from fraud_detection.core.score.bundle import Bundle
from fraud_detection.evaluation.measures import DAY_MS
from fraud_detection.history.logged_decisions import state_files
from fraud_detection.releases.registry import ReleaseRegistry
from fraud_detection.training.drift import DRIFTED, MIN_PAYMENTS, stability_index

RECENT_DAYS = 7
MAX_PAYMENTS = 100_000
RETRAINED = "retrained in place of"
"""Prefix of the reason of a release that adds a retrained challenger as a shadow."""
RISK = "_fraud_"
"""Part of the name of every feature that follows labels."""


class Reason(msgspec.Struct, frozen=True):
    """Result of one trigger, and the reason."""

    due: bool
    message: str


class Drift(msgspec.Struct, frozen=True):
    """Drift of recent payments; population stability index by feature, the largest first.

    score: of the champion's own decisions; None with too few of them.  risk: of features that follow labels:
    reported, but no reason, since a week of a slow rate over few merchants is never like the months before.
    """

    payments: int
    score: float | None
    features: dict[str, float]
    risk: dict[str, float] = {}

    def reason(self) -> Reason:
        """Return whether the drift is due for a retraining."""
        if self.payments < MIN_PAYMENTS:
            message = f"only {self.payments:,} payments of late: at least {MIN_PAYMENTS:,} show drift"
            return Reason(due=False, message=message)
        drifted = [f"{name} {value:.2f}" for name, value in self.features.items() if value >= DRIFTED]
        if self.score is not None and self.score >= DRIFTED:
            drifted.insert(0, f"score {self.score:.2f}")
        if drifted:
            more = f" and {len(drifted) - 3} more" if len(drifted) > 3 else ""  # noqa: PLR2004 - as many as one reads
            message = f"drifted (index {DRIFTED:g} or more): {', '.join(drifted[:3])}{more}"
            return Reason(due=True, message=message)
        largest = max([self.score or 0.0, *self.features.values()])
        return Reason(due=False, message=f"no drift: the largest index is {largest:.2f}, of {DRIFTED:g}")


def older_than(champion: Bundle, now_ms: int, age_ms: int) -> Reason:
    """Return whether the champion's latest labels are at least `age_ms` old."""
    age = now_ms - learned_until(champion)
    message = f"the champion's labels are {age / DAY_MS:.1f} days old, of {age_ms / DAY_MS:g}"
    return Reason(due=age >= age_ms, message=message)


def young_challenger(registry: ReleaseRegistry, now: dt.datetime, age_ms: int) -> Reason | None:
    """Return a reason to wait while a retrained challenger has been a shadow for less than `age_ms`.

    What made it due lasts until that one is promoted, which takes labels of weeks.
    """
    named = [
        release
        for release in registry.releases()
        if release.kind == "shadow" and release.reason.startswith(RETRAINED)
    ]
    if not named:
        return None
    days = (now - dt.datetime.fromisoformat(named[-1].at)) / dt.timedelta(days=1)
    if days * DAY_MS >= age_ms:
        return None
    message = f"release {named[-1].number} put a challenger into the shadow {days:.1f} days ago"
    return Reason(due=False, message=f"{message}: another one comes after {age_ms / DAY_MS:g}")


def latest_time(states: Sequence[Path]) -> int | None:
    """Return the latest event time of the state files in ms, None without a payment."""
    watermarks = []
    for path in state_files(states):
        reader = LoggedDecisionReader(path)
        watermarks.append(reader.watermark)
        reader.close()
    return max([time_ms for time_ms in watermarks if time_ms >= 0], default=None)


def drift_of(champion: Bundle, states: Sequence[Path], now_ms: int) -> Drift:
    """Compare the payments of the last RECENT_DAYS before `now_ms` with those the champion learned from."""
    decisions = [decision for path in state_files(states) for decision in _recent(path, now_ms)]
    reference, width = champion.contents.reference, len(champion.contents.features.definitions)
    matrix = np.frombuffer(b"".join(decision.features for decision in decisions), np.float64).reshape(
        -1, width
    )
    scores = [
        decision.score
        for decision in decisions
        if decision.bundle == champion.name and decision.score is not None
    ]
    enough = len(scores) >= MIN_PAYMENTS
    indexes = {
        feature.name: stability_index(feature.distribution, matrix[:, index].astype(np.float32))
        for index, feature in enumerate(reference.features)
    }
    ordered = dict(sorted(indexes.items(), key=lambda index: -index[1])) if len(matrix) else {}
    risk = {name: value for name, value in ordered.items() if RISK in name}
    payments = {name: value for name, value in ordered.items() if name not in risk}
    score = stability_index(reference.score, np.array(scores)) if enough else None
    return Drift(len(matrix), score, payments, risk)


def _recent(path: Path, now_ms: int) -> list[LoggedDecision]:
    """Return the latest decisions of a file, no more than MAX_PAYMENTS."""
    reader = LoggedDecisionReader(path)
    decisions: list[LoggedDecision] = []
    for decision in reader.recent(now_ms - RECENT_DAYS * DAY_MS):
        if decision.event_time <= now_ms:
            decisions.append(decision)
        if len(decisions) == MAX_PAYMENTS:
            break
    reader.close()
    return decisions
