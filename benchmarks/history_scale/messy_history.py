"""A history of any size in which payments are late, delivered twice and corrected."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fraud_detection.simulator.history_file import write_history
from fraud_detection.simulator.settings import DAY, SimulatorSettings

PAYMENTS_A_CARD = 78
"""Of 90 days; a few less than the simulator makes."""
LATE, LATE_BY = 0.02, 2_000
"""Share of rows that come later in the file, by up to so many rows."""
DUPLICATE, CORRECTED = 0.01, 0.005
"""Shares of rows that come twice, half of them with another amount, and whose label is corrected later."""
_GROUP_ROWS = 1 << 17


class MessyHistory(msgspec.Struct, frozen=True):
    """A file of payments and a file of labels; rows: of the first."""

    payments: Path
    labels: Path
    rows: int


def messy_history(payments: int, folder: Path, seed: int = 7) -> MessyHistory:
    """Return a history of about so many payments in a folder, made there unless it is there already."""
    made = MessyHistory(folder / f"{payments}.parquet", folder / f"{payments}-labels.parquet", 0)
    if not made.labels.exists():
        plain = folder / f"{payments}-plain.parquet"
        write_history(SimulatorSettings(seed=seed, cards=max(payments // PAYMENTS_A_CARD, 50)), plain)
        _spoil(plain, made, payments, np.random.default_rng(seed))
        plain.unlink()
    return msgspec.structs.replace(made, rows=pq.read_metadata(made.payments).num_rows)


def _spoil(plain: Path, made: MessyHistory, payments: int, dice: np.random.Generator) -> None:
    """Write the first payments of a plain history as they would arrive, and the labels that came later."""
    labels, left = [], payments
    unfinished = made.payments.with_suffix(".unfinished")
    with pq.ParquetFile(plain) as source, pq.ParquetWriter(unfinished, source.schema_arrow) as writer:
        for batch in source.iter_batches(_GROUP_ROWS):
            rows = pa.Table.from_batches([batch.slice(0, left)])
            if not rows.num_rows:
                break
            left -= rows.num_rows
            writer.write_table(_arriving(rows, dice))
            labels.append(_corrections(rows, dice))
    unfinished.replace(made.payments)
    pq.write_table(pa.concat_tables(labels), made.labels)


def _arriving(rows: pa.Table, dice: np.random.Generator) -> pa.Table:
    """Return rows with some of them late and some delivered twice."""
    again = rows.take(np.flatnonzero(dice.random(rows.num_rows) < DUPLICATE))
    changed = dice.random(again.num_rows) < 0.5
    amount = pc.add(again["amount"], pa.array(np.where(changed, 1.0, 0.0)))
    again = again.set_column(again.schema.get_field_index("amount"), "amount", amount)
    both = pa.concat_tables([rows, again.cast(rows.schema)])
    order = np.concatenate([np.arange(rows.num_rows), dice.integers(0, rows.num_rows, again.num_rows)])
    late = dice.random(both.num_rows) < LATE
    order = order + np.where(late, dice.integers(1, LATE_BY, both.num_rows), 0)
    # Which of two deliveries comes first is left to chance: half of them have another amount,
    # so which one stands is part of what is compared.
    return both.take(np.argsort(order, kind="stable"))


def _corrections(rows: pa.Table, dice: np.random.Generator) -> pa.Table:
    """Return labels that take back those of some rows, ten to twenty days after them."""
    some = rows.take(np.flatnonzero(dice.random(rows.num_rows) < CORRECTED))
    known_at = some["label_known_at"].cast(pa.int64()).to_numpy() + dice.integers(10, 20, some.num_rows) * DAY
    return pa.table(
        {
            "transaction_id": some["transaction_id"],
            "is_fraud": pc.subtract(pa.scalar(1, pa.int8()), some["is_fraud"].cast(pa.int8())),
            "label_known_at": pa.array(known_at, pa.int64()).cast(pa.timestamp("ms", "UTC")),
        }
    )
