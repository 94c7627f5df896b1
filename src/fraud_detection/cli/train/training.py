"""`fraud features` and `fraud train`: from history to a bundle and its evaluation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fraud_detection.cli import engines, options
from fraud_detection.cli.command import command
from fraud_detection.cli.extras import tracks
from fraud_detection.cli.printing import Output
from fraud_detection.cli.train.quality import quality_lines, quality_warnings

if TYPE_CHECKING:
    from fraud_detection.adapters.terminal import Terminal
    from fraud_detection.core.project_schema import Project
    from fraud_detection.training.tables.report import FeaturesReport
    from fraud_detection.training.workflow import TrainReport


@command("features")
@options.config
@options.history_options
@engines.engine_options
@click.option("--out", type=options.PATH, default=options.FEATURES, help="Where to write it.")
def features(
    output: Output,
    *,
    config: Path,
    history_options: options.HistoryOptions,
    engine_options: engines.EngineOptions,
    out: Path,
) -> None:
    """Replay history into a table of features."""
    import msgspec

    from fraud_detection.project.checks import open_project

    report = make_table(open_project(config), history_options, engine_options, out, output.screen)
    output.screen.finish()
    output.write(msgspec.to_builtins(report))


@command("train")
@options.config
@options.history_options
@engines.engine_options
@click.option("--features", type=options.PATH, help="Feature table to train on, instead of --data.")
@click.option("--bundle", type=options.PATH, default=options.BUNDLE, help="Where to write the bundle.")
@click.option("--refit", is_flag=True, help="Evaluate it, then refit it on all data.")
@options.memory
@options.no_tracking
def train(
    output: Output,
    *,
    config: Path,
    history_options: options.HistoryOptions,
    engine_options: engines.EngineOptions,
    features: Path | None,
    bundle: Path,
    refit: bool,
    memory: int | None,
    no_tracking: bool,
) -> None:
    """Train a model and pack it into a bundle.

    Trained from --data, it is evaluated on the test slice too.
    """
    from fraud_detection.core.score.archive import check_bundle_target
    from fraud_detection.project.checks import open_project
    from fraud_detection.training import stages, workflow
    from fraud_detection.training.tables.cache import check_same_features
    from fraud_detection.training.workspace import Workspace

    project, screen = open_project(config), output.screen
    bundle, tracking = check_bundle_target(bundle), tracks(project, screen.print, wanted=not no_tracking)
    if features is not None:
        check_same_features(project, features)
    workspace = Workspace.next_to(bundle, memory, screen.print)
    if features is not None and not refit:
        trained = workflow.train(
            project, features, bundle, progress=screen.progress, tracking=tracking, workspace=workspace
        )
        screen.finish()
        print_warnings(screen, trained.leakage_suspects, trained.warnings)
        screen.print(f"bundle {trained.bundle.name} in {bundle}")
        output.write(dict(trained.metrics))
        return
    if features is None:
        features = bundle.parent / "features.parquet"
        make_table(project, history_options, engine_options, features, screen)
    evaluation = bundle.parent / "evaluation"
    work = stages.train_evaluate_and_refit if refit else stages.train_and_evaluate
    trained, evaluated = work(
        project, features, bundle, evaluation, screen.progress, tracking=tracking, workspace=workspace
    )
    screen.finish()
    print_warnings(screen, trained.leakage_suspects, trained.warnings)
    print_metrics(screen, project, evaluated.metrics, evaluation)
    _print_bundle(screen, trained, bundle)
    output.write(dict(evaluated.metrics))


def history_file(project: Project, history_options: options.HistoryOptions) -> Path | None:
    """Return the file of historical payments; None where state files hold all, since there is none."""
    named = history_options.data or Path(project.history)
    return None if history_options.state and history_options.data is None and not named.exists() else named


def make_table(
    project: Project,
    history_options: options.HistoryOptions,
    engine_options: engines.EngineOptions,
    out: Path,
    screen: Terminal,
) -> FeaturesReport:
    """Make the table of features, and say what is in it."""
    from fraud_detection.training.stages import make_features

    report = make_features(
        project,
        history_file(project, history_options),
        out,
        screen.progress,
        history_options.labels,
        history_options.as_of,
        states=history_options.state,
        engine=engine_options.settings(),
    )
    screen.print(
        f"{report.payments:,} payments ({report.refused:,} rows refused, {report.duplicates:,} duplicate, "
        f"{report.unmatched_labels:,} labels without their payment), "
        f"{report.labelled:,} labelled, {report.frauds:,} frauds, {report.features} features"
    )
    if report.conflicts:
        screen.print(
            f"warning: {report.conflicts:,} of the duplicate rows have other content under the id of an "
            "earlier one, which stands: is `schema.transaction_id` an id of payments?"
        )
    if report.decided:
        screen.print(
            f"{report.decided:,} of them out of state files, {report.control_group:,} as control group, "
            f"which stand for {report.left_out:,} that were stopped"
        )
    if report.immature_count and report.moment is not None:
        screen.print(_immature(report.immature_count, report.moment, named=history_options.as_of is not None))
    return report


def _immature(count: int, moment: int, *, named: bool) -> str:
    """Say which payments are in no slice, and what to do if that is wrong."""
    from fraud_detection.evaluation.slices import iso

    message = (
        f"the labels of {count:,} payments are immature at {iso(moment)}: the payments are younger than "
        "`schema.label.delay`, so no slice contains them."
    )
    if named:
        return message
    return f"{message} If the labels are from a later time, name that time with --as-of."


def print_warnings(screen: Terminal, leakage_suspects: Mapping[str, float], warnings: Iterable[str]) -> None:
    """Warn of features that may know the outcome, and of whatever else makes a model doubtful."""
    for name, separation in leakage_suspects.items():
        screen.print(
            f"warning: `{name}` alone ranks {100 * separation:.1f} % of frauds right: "
            "does it know the outcome?"
        )
    for warning in warnings:
        screen.print(f"warning: {warning}")


def _print_bundle(screen: Terminal, trained: TrainReport, bundle: Path) -> None:
    manifest = trained.bundle.manifest
    if manifest.evaluated_as is not None:
        screen.print(
            f"these are the figures of {manifest.evaluated_as}; then it was refitted on payments until "
            f"{manifest.periods.train_until}"
        )
    screen.print(
        f"bundle {trained.bundle.name} in {bundle}; decide with `fraud score FILE --bundle {bundle} "
        "--history PAYMENTS`, so that its profiles hold these payments"
    )


def print_metrics(screen: Terminal, project: Project, metrics: dict[str, float], folder: Path) -> None:
    """Say what an evaluation found, what to doubt about it, and where all of it is."""
    for line in quality_lines(metrics):
        screen.print(f"  {line}")
    for warning in quality_warnings(metrics, project):
        screen.print(f"warning: {warning}")
    screen.print(f"all figures and plots are in {folder}")
