"""A table of features for one command, replayed by this process or by an engine in partitions alike."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fraud_detection.adapters.host.scratch import scratch_folder
from fraud_detection.core.project_schema import Project
from fraud_detection.history.load import Progress, check_not_empty, read_history
from fraud_detection.training.tables.build import feature_table
from fraud_detection.training.tables.engines import EngineSettings
from fraud_detection.training.tables.feature_table import FeatureTable, Table
from fraud_detection.training.tables.partitioned_job import FeatureJob, HistoryFiles


@contextmanager
def replayed_table(
    project: Project,
    history: Path,
    apply_labels_until: int,
    progress: Progress,
    engine: EngineSettings,
    scratch: Path,
) -> Iterator[Table]:
    """Make the features of a history as a model reads them, see `feature_table`; in partitions, on disk.

    scratch: a folder for the table and for what an engine needs meanwhile.
    """
    if not engine.in_partitions(history):
        loaded = read_history(project, history, progress)
        check_not_empty(history, loaded.empty)
        yield feature_table(project, loaded, progress, apply_labels_until)[0]
        return
    scratch.mkdir(parents=True, exist_ok=True)
    with scratch_folder(scratch) as folder:
        table = folder / "features.parquet"
        with engine.opened(history, table, progress) as flow:
            job = FeatureJob(flow, project, table, progress)
            job.run(HistoryFiles(history), None, for_training=False, apply_labels_until=apply_labels_until)
        yield FeatureTable(table)
