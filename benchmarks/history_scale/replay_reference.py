"""Replay history in this one process, payment after payment, and compare it with a table that is there.

    python -m benchmarks.history_scale.replay_reference TABLE PARAMS DATA LABELS

Prints how many values were compared, and how many differ in any bit, as JSON.  It holds the history in memory
and no table.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pyarrow.parquet as pq

from fraud_detection.adapters.host.gc_tuning import few_collections
from fraud_detection.core.features.extract import Extractor
from fraud_detection.core.features.profile_cache import ProfileCache
from fraud_detection.core.features.replay import Replay
from fraud_detection.history.load import read_history
from fraud_detection.project.checks import open_project
from fraud_detection.training.tables.dataset import PREFIX, read_info

ROWS = 1 << 14


class Comparison(msgspec.Struct):
    """Values compared, and how many of them differ; a row of another payment counts whole."""

    rows: int = 0
    compared: int = 0
    different: int = 0


def compare(table: Path, params: Path, data: Path, labels: Path) -> Comparison:
    """Replay, and compare every row."""
    project, info, found = open_project(params), read_info(table), Comparison()
    history = read_history(project, data, lambda *_: None, [labels])
    replay = Replay(ProfileCache(Extractor(project, info.category_encoding)))
    rows, width = replay.rows(history.payments), len(info.features)
    with few_collections():
        for ids, stored in _stored(table, info.names):
            replayed = array("d")
            for _ in ids:
                replayed.extend(next(rows))
            values = np.frombuffer(replayed, np.float64).reshape(len(ids), width)
            expected = [
                historical.payment.transaction_id
                for historical in history.payments[found.rows : found.rows + len(ids)]
            ]
            same = np.array([own == other for own, other in zip(ids, expected, strict=True)])
            differ = (values.view(np.int64) != stored.view(np.int64)) | ~same[:, None]
            found.rows += len(ids)
            found.compared += values.size
            found.different += int(differ.sum())
    left = len(history.payments) - found.rows
    found.different += left * width
    return found


def _stored(table: Path, names: list[str]) -> Iterator[tuple[list[str], np.ndarray]]:
    columns = [PREFIX + name for name in names]
    with pq.ParquetFile(table) as file:
        for batch in file.iter_batches(ROWS, columns=["transaction_id", *columns]):
            values = [
                batch.column(name).to_numpy(zero_copy_only=False).astype(np.float64) for name in columns
            ]
            yield batch.column("transaction_id").to_pylist(), np.ascontiguousarray(np.column_stack(values))


def main() -> None:
    """Compare the files that are named."""
    paths = [Path(argument) for argument in sys.argv[1:]]
    sys.stdout.buffer.write(msgspec.json.encode(compare(*paths)) + b"\n")


if __name__ == "__main__":
    main()
