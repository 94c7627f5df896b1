"""Make a feature table of any size of a real one: its payments duplicated, and their values perturbed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from fraud_detection.adapters.files.tables import ParquetParts, write_batches
from fraud_detection.training.tables.dataset import COLUMNS, METADATA_KEY, PREFIX, read_info

AT_ONCE = 65_536
NOISE = 0.05
"""Relative standard deviation of what is put on values that are no whole numbers."""


def enlarged(source: Path, out: Path, rows: int, seed: int = 7) -> Path:
    """Write a table of so many rows, in order of time: each payment of the source as often as all others.

    A copy has an id and a card of its own; time and label are those of its payment, and so are its features
    but for noise.
    """
    parts = ParquetParts(source)
    description = {METADATA_KEY: parts.metadata[METADATA_KEY]}
    write_batches(out, _batches(parts, read_info(source).names, rows, seed), description)
    return out


def _batches(parts: ParquetParts, names: list[str], rows: int, seed: int) -> Iterator[dict[str, np.ndarray]]:
    rng, features = np.random.default_rng(seed), [PREFIX + name for name in names]
    step, at = max(1, AT_ONCE * parts.rows // rows), 0
    for batch in parts.batches([*COLUMNS, *features], 0, parts.rows, step):
        columns = {name: np.asarray(values) for name, values in batch.items()}
        count = columns["event_time"].size
        # How many copies each row gets, so that all together are `rows`.
        edges = np.arange(at, at + count + 1) * rows // parts.rows
        copies, at = np.diff(edges), at + count
        copy = np.arange(edges[0], edges[-1]) - np.repeat(edges[:-1], copies)
        duplicated = {name: np.repeat(values, copies) for name, values in columns.items()}
        for name in ("transaction_id", "card"):
            duplicated[name] = np.array(
                [f"{text}-{n}" for text, n in zip(duplicated[name], copy, strict=True)]
            )
        yield duplicated | {name: _perturbed(duplicated[name], rng) for name in features}


def _perturbed(values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return values of another payment of the kind, float32; counts, codes and what is missing stay."""
    is_whole = np.isnan(values) | (values == np.floor(values))
    noise = 1 + NOISE * rng.standard_normal(values.size, np.float32)
    return np.where(is_whole, values, values * noise).astype(np.float32)
