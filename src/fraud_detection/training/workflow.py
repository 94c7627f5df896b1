"""Train a bundle and evaluate one, from files to files.

Equal inputs give equal outputs, byte for byte: no clock is read and nothing is drawn
without a seed.  The experiment tracker only records; it decides nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np

from fraud_detection.adapters.xgboost.bundle_trial import mark_tried, trusted_scorer
from fraud_detection.adapters.xgboost.model import XGBoostScorer
from fraud_detection.core.errors import ConfigError
from fraud_detection.core.file_targets import check_target
from fraud_detection.core.score.archive import evaluated_bundle, read_bundle, write_bundle
from fraud_detection.core.score.bundle import encode
from fraud_detection.training.evaluate import EVER, Scored, evaluate_slice
from fraud_detection.training.fit import Learned, Slices, leakage_suspects, learn, refit
from fraud_detection.training.make_bundle import iso, make_bundle, make_refitted, validation_margins
from fraud_detection.training.report.pictures import draw
from fraud_detection.training.tables.feature_table import FeatureTable
from fraud_detection.training.tables.scoring import margins, probabilities
from fraud_detection.training.warnings import training_warnings
from fraud_detection.training.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from fraud_detection.core.project_schema import Project
    from fraud_detection.core.score.bundle import Bundle
    from fraud_detection.training.tables.dataset import FeatureTableInfo
    from fraud_detection.training.tables.feature_table import Table

    Progress = Callable[[str, float], None]


@dataclass(frozen=True, slots=True)
class TrainReport:
    """Result of `train`.

    metrics: of the validation slice.  leakage_suspects: features that alone rank nearly all frauds right.
    warnings: why the training should not be trusted, a sentence each.
    tracked: the version in the model registry, None when nothing was tracked.
    """

    bundle: Bundle
    directory: Path
    archive: Path
    metrics: dict[str, float]
    rounds: int
    train_rows: int
    validation_rows: int
    leakage_suspects: dict[str, float]
    warnings: tuple[str, ...]
    tracked: str | None


@dataclass(frozen=True, slots=True)
class EvaluateReport:
    """Result of `evaluate` on the test slice, and its pictures.

    bundle: the evaluated one.  refit_bundle: the bundle that was asked for, where it was refit
    after that one was evaluated; empty where it is the same.
    """

    metrics: dict[str, float]
    metrics_file: Path
    pictures: tuple[Path, ...]
    bundle: str = ""
    refit_bundle: str = ""


class Tracker(Protocol):
    """Where experiments are stored."""

    def trained(self, bundle: Bundle, directory: Path, rounds: int) -> str:
        """Record a training and its bundle; return the version in the model registry."""

    def evaluated(self, bundle_name: str, metrics: Mapping[str, float], pictures: Sequence[Path]) -> None:
        """Add figures and pictures to the training that made the bundle."""


def train(
    project: Project,
    features_path: Path,
    bundle_dir: Path,
    *,
    progress: Progress | None = None,
    tracking: bool = False,
    workspace: Workspace | None = None,
) -> TrainReport:
    """Train on the feature table and write a bundle, as a directory and beside it as .tar.gz.

    workspace: where the model is fitted; without one beside the bundle, see `Workspace`.
    """
    report_progress = progress or _silent
    workspace = workspace or Workspace.next_to(bundle_dir)
    report_progress("reading features", 0.0)
    slices = Slices.of(FeatureTable(features_path))
    report_progress("reading features", 1.0)
    learned = learn(slices, project.model, lambda share: report_progress("growing trees", share), workspace)
    report_progress("growing trees", 1.0)
    report_progress("choosing cut-offs", 0.0)
    bundle = make_bundle(project, slices, learned)
    archive = store_bundle(bundle, bundle_dir)
    report_progress("choosing cut-offs", 1.0)
    return TrainReport(
        bundle=bundle,
        directory=bundle_dir,
        archive=archive,
        metrics=bundle.manifest.metrics,
        rounds=learned.rounds,
        train_rows=len(slices.train),
        validation_rows=len(slices.validation),
        leakage_suspects=leakage_suspects(slices.train),
        warnings=warnings_of(slices, learned, bundle),
        tracked=tracker(project).trained(bundle, bundle_dir, learned.rounds) if tracking else None,
    )


def refit_bundle(
    trained: TrainReport,
    features_path: Path,
    *,
    progress: Progress | None = None,
    as_of: int | None = None,
    workspace: Workspace | None = None,
) -> TrainReport:
    """Refit as many trees on all mature data, and replace the evaluated bundle.

    The evaluated bundle is moved into a folder of its name; calibration and cut-offs are those of it.
    as_of: label cut-off in ms; overrides that of the table.
    """
    report_progress, evaluated = progress or _silent, trained.bundle
    workspace = workspace or Workspace.next_to(trained.directory)
    table = FeatureTable(features_path)
    was = Learned(evaluated.contents.model, evaluated.manifest.calibration, trained.rounds)
    settings = evaluated.contents.project.model
    refitted = refit(table, was, settings, lambda share: report_progress("refit", share), as_of, workspace)
    bundle = make_refitted(evaluated, Slices.of(table), refitted)
    write_bundle(evaluated, trained.directory.parent / evaluated.name)
    archive = store_bundle(bundle, trained.directory)
    report_progress("refit", 1.0)
    return replace(trained, bundle=bundle, archive=archive, train_rows=len(refitted.rows))


def store_bundle(bundle: Bundle, directory: Path) -> Path:
    """Write a bundle that was trained here, which needs no trial later; return its archive."""
    mark_tried(bundle)
    return write_bundle(bundle, directory)


def evaluate(
    project: Project,
    features_path: Path,
    bundle_path: Path,
    out_dir: Path,
    *,
    progress: Progress | None = None,
    tracking: bool = False,
) -> EvaluateReport:
    """Evaluate a bundle on the test slice; write metrics.json and the pictures into `out_dir`.

    A bundle that was refit is represented by its evaluated bundle, where that is beside it.
    Refuses a bundle made of other features, and one that learned from the test slice.
    """
    report_progress = progress or _silent
    report_progress("reading features", 0.0)
    table = FeatureTable(features_path)
    requested_bundle = bundle = read_bundle(bundle_path)
    evaluated = evaluated_bundle(bundle_path.parent, bundle)
    if evaluated is not None and bundle.manifest.periods.labels_as_of > iso(table.info.boundaries.test_from):
        bundle = read_bundle(evaluated)
    scorer = checked_scorer(bundle, table.info.fingerprint, project.model.threads)
    scored = score_test(table, bundle, scorer)
    report_progress("reading features", 1.0)
    report_progress("measuring", 0.0)
    metrics = evaluate_slice(scored, bundle.manifest.cutoffs, project.costs, project.model.seed)
    metrics["immature_count"] = float(len(table.row_range(_test_until(table.info), EVER)))
    report_progress("measuring", 1.0)
    report_progress("drawing", 0.0)
    metrics_file = _write_metrics(out_dir, metrics)
    report = EvaluateReport(
        metrics,
        metrics_file,
        draw(table, scored, bundle, scorer, project.costs, out_dir),
        bundle.name,
        "" if bundle is requested_bundle else requested_bundle.name,
    )
    if tracking:
        tracker(project).evaluated(bundle.name, metrics, report.pictures)
    report_progress("drawing", 1.0)
    return report


def checked_scorer(bundle: Bundle, fingerprint: str, threads: int = 1) -> XGBoostScorer:
    """Return the bundle's scorer, after its fingerprint and its test vectors were checked."""
    bundle.check_fingerprint(fingerprint)
    return trusted_scorer(bundle, threads)


def score_test(table: Table, bundle: Bundle, scorer: XGBoostScorer) -> Scored:
    """Score the payments of the test slice with mature labels, with every label of the history."""
    cut = table.info.boundaries
    learned_until, evaluated = bundle.manifest.periods.labels_as_of, bundle.manifest.evaluated_as
    if learned_until > iso(cut.test_from):
        raise ConfigError(
            f"bundle {bundle.name} learned from labels until {learned_until}, the test slice begins "
            f"{iso(cut.test_from)}: the figures would be too good; evaluate it on later history"
            + (f", or the bundle {evaluated} that it was evaluated as, beside it" if evaluated else "")
        )
    span = (cut.test_from, _test_until(table.info))
    if span[1] <= span[0]:
        raise ConfigError(
            "no payment of the test slice is older than `schema.label.delay`, so its labels are immature; "
            "give more history, or, where the labels are of a later moment, make the table with --as-of"
        )
    rows = table.row_range(*span)
    raw = margins(scorer, table.feature_parts(rows), len(rows))
    scored = Scored.of(table, rows, probabilities(scorer.calibration, raw), span, EVER)
    if not scored.labelled().row.size:
        raise ConfigError("no payment of the test slice has a label; give more history, or wait for labels")
    return scored


def _test_until(info: FeatureTableInfo) -> int:
    """Return the end of the test slice, or of the payments with mature labels, if earlier."""
    until = info.boundaries.test_until
    return until if info.mature_until is None else min(until, info.mature_until)


def warnings_of(slices: Slices, learned: Learned, bundle: Bundle) -> tuple[str, ...]:
    """Return why a training should not be trusted, a sentence each."""
    score = probabilities(learned.calibration, validation_margins(slices, learned, threads=1))
    weight = np.concatenate([part.weight for part in slices.table.payments(slices.all_validation)])
    frauds = int((slices.train.label == 1).sum())
    return training_warnings(frauds, score, bundle.manifest.cutoffs, weight)


def _write_metrics(out_dir: Path, metrics: dict[str, float]) -> Path:
    """Write JSON with one figure a line; a figure without a meaning is null."""
    out_dir.mkdir(parents=True, exist_ok=True)
    path = out_dir / "metrics.json"
    check_target(path).write_bytes(encode(metrics))
    return path


def tracker(project: Project) -> Tracker:
    """Return the tracker of the project; opening it takes some seconds."""
    from fraud_detection.adapters.mlflow_tracking import MlflowTracker  # noqa: PLC0415 - takes seconds, seldom needed

    return MlflowTracker(project)


def _silent(_stage: str, _share: float) -> None:
    """Ignore progress."""
