"""Stages of DVC, from a file of historical payments to an evaluated bundle: one function each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import msgspec

from fraud_detection.core.errors import ConfigError
from fraud_detection.core.project_schema import Project
from fraud_detection.evaluation.time_split import UNKNOWN
from fraud_detection.history.load import History, Progress, check_not_empty, read_history
from fraud_detection.training.evaluate import EVER
from fraud_detection.training.tables.build import feature_table
from fraud_detection.training.tables.cache import source_of
from fraud_detection.training.tables.dataset import Dataset, write_dataset
from fraud_detection.training.tables.engines import ONE_PROCESS, EngineSettings
from fraud_detection.training.tables.historical_rows import declared_columns
from fraud_detection.training.tables.partitioned_job import FeatureJob, HistoryFiles
from fraud_detection.training.tables.report import FeaturesReport, partitioned_report
from fraud_detection.training.workflow import (
    EvaluateReport,
    TrainReport,
    evaluate,
    refit_bundle,
    tracker,
    train,
)
from fraud_detection.training.workspace import Workspace


def make_features(  # noqa: PLR0913 - what makes up the history, and as of when
    project: Project,
    history_path: Path | None,
    out: Path,
    progress: Progress,
    labels: Sequence[Path] = (),
    as_of: int | None = None,
    *,
    states: Sequence[Path] = (),
    for_training: bool = True,
    engine: EngineSettings = ONE_PROCESS,
) -> FeaturesReport:
    """Replay history into a table of features, with labels of other files, as known at a moment.

    It comes from a file, from state files, or from both.  for_training: see `feature_table`.
    engine: what replays it; the table is the same, whatever it is.
    """
    if engine.in_partitions(history_path):
        named = HistoryFiles(history_path, tuple(labels), tuple(states))
        with engine.opened(history_path, out, progress) as flow:
            job = FeatureJob(flow, project, out, progress)
            return partitioned_report(job.run(named, as_of, for_training=for_training))
    history = read_history(project, history_path, progress, labels, as_of, states)
    check_not_empty(history_path or states[0], history.empty)
    dataset, _ = feature_table(project, history, progress, exact=True, for_training=for_training)
    progress(f"writing {out.name}", 0.0)
    # A state file goes on growing: no table that was made of one is taken for ready later.
    files = [] if states else [path for path in (history_path, *labels) if path is not None]
    store_table(out, project, dataset, history, files)
    progress(f"writing {out.name}", 1.0)
    return _features_report(history, dataset)


def store_table(
    out: Path, project: Project, dataset: Dataset, history: History, files: Sequence[Path]
) -> None:
    """Write a table of features with what its payments declared, and what it was made of."""
    info = msgspec.structs.replace(dataset.info, source=source_of(project.schema, files))
    payments = [historical.payment for historical in history.payments]
    write_dataset(out, replace(dataset, info=info), declared_columns(project.schema, payments))


def train_and_evaluate(  # noqa: PLR0913 - the project, what is read, written and used
    project: Project,
    features: Path,
    bundle: Path,
    evaluation: Path,
    progress: Progress,
    *,
    tracking: bool,
    workspace: Workspace | None = None,
) -> tuple[TrainReport, EvaluateReport]:
    """Train a bundle and evaluate it on the test slice."""
    if project.schema.label is None:
        raise ConfigError("training needs labels: declare `schema.label` in the project file")
    trained = train(project, features, bundle, progress=progress, tracking=tracking, workspace=workspace)
    return trained, evaluate(project, features, bundle, evaluation, progress=progress, tracking=tracking)


def train_evaluate_and_refit(  # noqa: PLR0913 - as above
    project: Project,
    features: Path,
    bundle: Path,
    evaluation: Path,
    progress: Progress,
    *,
    tracking: bool,
    workspace: Workspace | None = None,
) -> tuple[TrainReport, EvaluateReport]:
    """Train a bundle, evaluate it on the test slice, and refit it on all data."""
    trained, evaluated = train_and_evaluate(
        project, features, bundle, evaluation, progress, tracking=False, workspace=workspace
    )
    trained = refit_bundle(trained, features, progress=progress, workspace=workspace)
    if tracking:
        run = tracker(project)
        trained = replace(trained, tracked=run.trained(trained.bundle, bundle, trained.rounds))
        run.evaluated(trained.bundle.name, evaluated.metrics, evaluated.pictures)
    return trained, evaluated


def _features_report(history: History, dataset: Dataset) -> FeaturesReport:
    return FeaturesReport(
        payments=len(history.payments),
        refused=len(history.refused),
        duplicates=history.duplicates,
        unmatched_labels=history.unmatched_labels,
        labelled=int((dataset.label != UNKNOWN).sum()),
        frauds=int((dataset.label == 1).sum()),
        features=len(dataset.info.features),
        fingerprint=dataset.info.fingerprint,
        decided=history.decided,
        control_group=int((dataset.weight > 1).sum()),
        left_out=int((dataset.weight == 0).sum()),
        immature_count=len(dataset.slice(dataset.info.boundaries.test_until, EVER)),
        moment=history.known_until if history.as_of is None else history.as_of,
        conflicts=history.conflicts,
    )
