"""A small made-up history with a feature table, shared by the tests of training."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from fraud_detection.core.decoding import decode
from fraud_detection.core.events import FeatureDefinition
from fraud_detection.core.project_schema import Project, Split
from fraud_detection.evaluation.time_split import UNKNOWN, boundaries
from fraud_detection.training.tables.dataset import Correction, Dataset, FeatureTableInfo

DAY = 86_400_000
START = 1_767_225_600_000  # 2026-01-01
DELAY = 7 * DAY
SPLIT = Split(validation_share=0.2, test_share=0.2)

FEATURES = [
    FeatureDefinition("amount", "amount {value}, usually {typical}", "money"),
    FeatureDefinition("card_count_1d", "{value} payments in the last day, usually {typical}", "count"),
    FeatureDefinition("terminal_fraud_rate_7d", "{value} fraud here, usually {typical}", "share"),
    FeatureDefinition("channel", "channel {value}, usually {typical}", "code"),
    FeatureDefinition("noise", "noise {value}, usually {typical}", "number"),
    FeatureDefinition("never", "never seen {value}, usually {typical}", "number"),
]


def project(**blocks: object) -> Project:
    plain: dict[str, object] = {
        "project": "test",
        "schema": {
            "event_time": {"field": "time"},
            "entities": {"zebra": {"field": "z"}, "ant": {"field": "a"}},
        },
        "model": {"rounds": 60, "early_stopping": 10, "max_depth": 3, "threads": 1},
        "policy": {"review_capacity_per_day": 5.0},
    }
    return decode({**plain, **blocks}, Project, "test")


def history(payments: int = 6000, days: int = 80, seed: int = 1, unlabelled: float = 0.05) -> Dataset:
    """Payments in order of time; fraud follows the first three features, the others are noise."""
    rng = np.random.default_rng(seed)
    event_time = np.sort(START + rng.integers(0, days * DAY, payments))
    amount = np.round(rng.lognormal(3.5, 1.0, payments), 2)
    count = rng.poisson(2.0, payments).astype(float)
    risk = rng.beta(0.3, 6.0, payments)
    chance = 1 / (1 + np.exp(-(-8.5 + 0.8 * np.log(amount) + 2.5 * (count > 4) + 14.0 * risk)))
    label = (rng.random(payments) < chance).astype(np.int8)
    label[rng.random(payments) < unlabelled] = UNKNOWN
    risk[rng.random(payments) < 0.1] = np.nan
    code = rng.integers(0, 3, payments).astype(float)
    columns = [amount, count, risk, code, rng.normal(size=payments), np.full(payments, np.nan)]
    info = FeatureTableInfo(
        fingerprint="0123456789abcdef",
        features=FEATURES,
        boundaries=boundaries(event_time, SPLIT, DELAY),
        category_encoding={"channel": {"web": 0.5, "shop": 0.3, "app": 0.2}},
        delay_ms=DELAY,
    )
    return Dataset(
        transaction_id=np.array([str(i) for i in range(payments)], object),
        event_time=event_time,
        amount=amount,
        card=np.array([f"c{i}" for i in rng.integers(0, 300, payments)], object),
        label=label,
        known_at=event_time + DELAY,
        corrections=np.full(payments, "", object),
        weight=np.ones(payments),
        features=np.column_stack(columns).astype(np.float32),
        info=info,
    )


def spoilt_after(dataset: Dataset, moment: int) -> Dataset:
    """Return the same history with every label told after `moment` turned round, and later rows garbled."""
    late = dataset.known_at > moment
    turned = np.where(late & (dataset.label != UNKNOWN), 1 - dataset.label, dataset.label).astype(np.int8)
    after = dataset.event_time >= moment
    features = np.where(after[:, None], np.float32(-777.0), dataset.features)
    amount = np.where(after, 1e6, dataset.amount)
    return replace(dataset, label=turned, features=features, amount=amount)


def corrected(dataset: Dataset, after: int) -> Dataset:
    """Return the same history where every other fraud is superseded so many ms after it became known."""
    back = (dataset.label == 1) & (np.arange(len(dataset)) % 2 == 0)
    texts = [Correction.write([Correction(0, int(at) + after)]) for at in dataset.known_at]
    return replace(dataset, corrections=np.where(back, np.array(texts, object), ""))


def with_late_labels(dataset: Dataset) -> Dataset:
    """Return the same history where every other fraud becomes known only 60 days after its delay."""
    late = (dataset.label == 1) & (np.arange(len(dataset)) % 2 == 0)
    return replace(dataset, known_at=dataset.known_at + np.where(late, 60 * DAY, 0))
