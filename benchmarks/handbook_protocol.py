"""Evaluate the scores of `fraud prequential` on the handbook's data by the handbook's protocol.

    python -m benchmarks.handbook_protocol handbook.parquet scores.parquet

A fold has a train week, a delay week and a test week.  Evaluated are the payments of the test week, without
cards that were known to be compromised: those with a fraud in the train week, and for each test day those
with a fraud until eight days before it, since labels come after seven.  docs/handbook.md has the figures.
"""

from __future__ import annotations

import argparse
import datetime as dt
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import pyarrow.parquet as pq

from fraud_detection.core.errors import ConfigError
from fraud_detection.evaluation.measures import Ranking, card_precision

DAY_MS = 86_400_000
TRAIN_DAYS, TEST_FROM, TEST_UNTIL = 7, 14, 21
KNOWN_AFTER = 8
"""Days from a fraud to the first test day on which its card is known."""


class Payments(msgspec.Struct, frozen=True):
    """Columns of the payments, a row each: id, time in ms, card, fraud (bool)."""

    id: np.ndarray
    time: np.ndarray
    card: np.ndarray
    fraud: np.ndarray


class Figures(msgspec.Struct, frozen=True):
    """What a fold, or the mean of all, reaches."""

    auc: float
    average_precision: float
    card_precision: float

    def line(self, name: str) -> str:
        """Return the figures as a line of the report."""
        return f"{name:<10}  {self.auc:.3f}  {self.average_precision:.3f}  {self.card_precision:.3f}"


def evaluated(payments: Payments, start: str) -> np.ndarray:
    """Return the places of the payments that count in a fold; `start` is the first train day, YYYY-MM-DD."""
    day = (payments.time - _ms(start)) // DAY_MS
    learned = set(payments.card[(day >= 0) & (day < TRAIN_DAYS) & payments.fraud])
    kept = []
    for today in range(TEST_FROM, TEST_UNTIL):
        since = (day >= TRAIN_DAYS - 1) & (day <= today - KNOWN_AFTER)
        known = learned | set(payments.card[since & payments.fraud])
        rows = np.flatnonzero(day == today)
        kept.append(rows[~np.isin(payments.card[rows], list(known))])
    return np.concatenate(kept)


def figures(payments: Payments, start: str, score_of: dict[int, float]) -> Figures:
    """Return what the scores of one fold reach; raise ConfigError where a payment has none."""
    rows = evaluated(payments, start)
    missing = [one for one in payments.id[rows].tolist() if one not in score_of]
    if missing:
        raise ConfigError(f"fold {start}: {len(missing):,} of {rows.size:,} payments have no score")
    score = np.array([score_of[one] for one in payments.id[rows].tolist()])
    fraud, card, time = payments.fraud[rows], payments.card[rows], payments.time[rows]
    ranking = Ranking.of(score, fraud)
    return Figures(ranking.auc(), ranking.average_precision(), card_precision(score, fraud, card, time))


def read_payments(path: Path) -> Payments:
    """Read the columns of the handbook's file, by its own names."""
    table = pq.read_table(path)
    time = table["TX_DATETIME"].to_numpy().astype("datetime64[ms]").astype(np.int64)
    columns = [table[name].to_numpy() for name in ("TRANSACTION_ID", "CUSTOMER_ID", "TX_FRAUD")]
    return Payments(columns[0], time, columns[1], columns[2] == 1)


def read_scores(path: Path) -> dict[str, dict[int, float]]:
    """Read what `fraud prequential` wrote: fold -> payment -> score."""
    found: dict[str, dict[int, float]] = {}
    columns = pq.read_table(path).to_pydict()
    for fold, one, score in zip(columns["fold"], columns["TRANSACTION_ID"], columns["score"], strict=True):
        found.setdefault(fold, {})[int(one)] = score
    return found


def _ms(day: str) -> int:
    return int(dt.datetime.fromisoformat(day).replace(tzinfo=dt.UTC).timestamp() * 1000)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the figures of each fold, and their mean."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("payments", type=Path, help="the handbook's payments")
    parser.add_argument("scores", type=Path, help="the scores that `fraud prequential --out` wrote")
    chosen = parser.parse_args(arguments)
    payments, scores = read_payments(chosen.payments), read_scores(chosen.scores)
    found = {fold: figures(payments, fold, own) for fold, own in sorted(scores.items())}
    means = np.mean([msgspec.structs.astuple(one) for one in found.values()], axis=0)
    lines = [one.line(fold) for fold, one in found.items()]
    head = f"{'fold':<10}  AUC    AP     CP@100"
    sys.stdout.write("\n".join([head, *lines, Figures(*map(float, means)).line("mean")]) + "\n")


if __name__ == "__main__":
    main()
