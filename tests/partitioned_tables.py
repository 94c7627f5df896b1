"""Tables of features made in partitions, to be compared with those of one process."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from fraud_detection.adapters.files.tables import read_columns
from fraud_detection.core.errors import ConfigError
from fraud_detection.core.project_schema import Project
from fraud_detection.training.tables.partitioned_job import FeatureJob, HistoryFiles
from fraud_detection.training.tables.report import FeaturesReport, partitioned_report
from tests.in_memory_dataflow import InMemoryDataflow

Made = tuple[FeaturesReport | str, dict[str, object], dict[str, str]]


def made(make: Callable[[Path], FeaturesReport], out: Path) -> Made:
    """Return the report and the table, every number as its bits, or the reason for which there is none."""
    try:
        report = make(out)
    except ConfigError as error:
        return str(error), {}, {}
    columns, metadata = read_columns(out)
    return report, bits(columns), metadata


def in_partitions(
    project: Project, files: HistoryFiles, out: Path, as_of: int | None = None, seed: int = 0
) -> FeaturesReport:
    """Make a table in partitions, which the seed draws."""
    job = FeatureJob(InMemoryDataflow(seed), project, out, silent)
    return partitioned_report(job.run(files, as_of, for_training=False))


def silent(_stage: str, _share: float) -> None:
    """Ignore progress."""


def bits(columns: Mapping[str, np.ndarray | list[object]]) -> dict[str, object]:
    """Return columns that are equal where every number is, to the bit."""
    return {name: _bits(column) for name, column in columns.items()}


def _bits(column: np.ndarray | list[object]) -> object:
    return column if isinstance(column, list) else (column.dtype, column.tobytes())
