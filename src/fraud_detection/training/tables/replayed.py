"""A table of features in memory, replayed by this process or by an engine in partitions; both are equal."""

from __future__ import annotations

from pathlib import Path

from fraud_detection.adapters.host.scratch import scratch_folder
from fraud_detection.core.project_schema import Project
from fraud_detection.history.load import Progress, check_not_empty, read_history
from fraud_detection.training.tables.build import feature_table
from fraud_detection.training.tables.dataset import Dataset, read_dataset
from fraud_detection.training.tables.engines import EngineSettings
from fraud_detection.training.tables.partitioned_job import FeatureJob, HistoryFiles


def replayed_table(
    project: Project,
    history: Path,
    apply_labels_until: int,
    progress: Progress,
    engine: EngineSettings,
    scratch: Path,
) -> Dataset:
    """Return the features of a history as a model reads them, see `feature_table`.

    scratch: a folder in which an engine may keep files meanwhile.
    """
    if not engine.in_partitions(history):
        loaded = read_history(project, history, progress)
        check_not_empty(history, loaded.empty)
        return feature_table(project, loaded, progress, apply_labels_until)[0]
    scratch.mkdir(parents=True, exist_ok=True)
    with scratch_folder(scratch) as folder:
        table = folder / "features.parquet"
        with engine.opened(history, table, progress) as flow:
            job = FeatureJob(flow, project, table, progress)
            job.run(HistoryFiles(history), None, for_training=False, apply_labels_until=apply_labels_until)
        return read_dataset(table)
