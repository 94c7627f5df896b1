"""What the bank comes to know, and when: reports after days, silence after weeks, and mistakes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fraud_detection.simulator.settings import DAY, HOUR, Ints, LabelSettings

if TYPE_CHECKING:
    from fraud_detection.simulator.columns import Payments

_MIN_DAYS = 0.3
_PROCESSING = 12 * HOUR


def report_delays(labels: LabelSettings, rng: np.random.Generator, count: int) -> Ints:
    """Return how long it takes until a fraud is reported, in ms: days, and a tail of weeks."""
    median = np.where(rng.random(count) < labels.late_share, labels.late_median_days, labels.median_days)
    days = median * np.exp(labels.sigma * rng.normal(size=count))
    delays: Ints = (np.clip(days, _MIN_DAYS, labels.longest_days) * DAY).astype(np.int64)
    return delays


def label(labels: LabelSettings, rng: np.random.Generator, payments: Payments) -> tuple[Ints, Ints]:
    """Return the label of each payment, and when it becomes known: always after the payment."""
    count = len(payments)
    draws = rng.random((2, count))
    fraud = payments.scenario > 0
    reported = fraud & (draws[0] >= labels.missed_rate)
    claimed = ~fraud & (draws[0] < labels.false_claim_rate)
    claim = payments.time + report_delays(labels, rng, count)
    silence = payments.time + round(labels.silence_days * DAY)
    processed = payments.report + (draws[1] * _PROCESSING).astype(np.int64)
    known_at = np.where(reported, processed, np.where(claimed, claim, silence))
    return (reported | claimed).astype(np.int64), known_at
