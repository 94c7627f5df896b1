"""`fraud features`, `train`, `evaluate`, `prequential`: from history to a judged bundle."""

from __future__ import annotations

import datetime as dt
from argparse import Namespace
from pathlib import Path

import msgspec

from fraud_detection.adapters.files.tables import write_columns
from fraud_detection.adapters.terminal import Terminal
from fraud_detection.cli.extras import tracks
from fraud_detection.cli.printing import terminal, write_figures
from fraud_detection.cli.train.quality import quality_lines, quality_warnings
from fraud_detection.core.errors import ConfigError
from fraud_detection.core.project_schema import Project
from fraud_detection.core.score.archive import check_bundle_target
from fraud_detection.evaluation.slices import iso
from fraud_detection.history.load import read_history, refuse_empty
from fraud_detection.project.checks import open_project
from fraud_detection.training.prequential import Fold, Plan, prequential
from fraud_detection.training.stages import (
    FeaturesReport,
    check_same_features,
    make_features,
    train_and_evaluate,
    train_evaluate_and_refit,
)
from fraud_detection.training.tables.build import feature_table
from fraud_detection.training.workflow import TrainReport
from fraud_detection.training.workflow import evaluate as judge
from fraud_detection.training.workflow import train as learn


def features(arguments: Namespace) -> None:
    """Replay history into a table of features."""
    project, screen = open_project(arguments.config), terminal(arguments)
    report = _features(project, arguments, arguments.out, screen)
    screen.finish()
    write_figures(arguments, msgspec.to_builtins(report))


def train(arguments: Namespace) -> None:
    """Train a bundle; from a file of history it is judged on its last slice too."""
    project, screen = open_project(arguments.config), terminal(arguments)
    bundle, tracking = (
        check_bundle_target(arguments.bundle),
        tracks(project, screen.say, wanted=not arguments.no_tracking),
    )
    table = arguments.features
    if table is not None:
        check_same_features(project, arguments.features)
    if table is not None and not arguments.refit:
        trained = learn(project, table, bundle, progress=screen.progress, tracking=tracking)
        screen.finish()
        _say_doubts(screen, trained)
        screen.say(f"bundle {trained.bundle.name} in {bundle}")
        write_figures(arguments, dict(trained.metrics))
        return
    if table is None:
        table = bundle.parent / "features.parquet"
        _features(project, arguments, table, screen)
    evaluation = bundle.parent / "evaluation"
    work = train_evaluate_and_refit if arguments.refit else train_and_evaluate
    trained, judged = work(project, table, bundle, evaluation, screen.progress, tracking=tracking)
    screen.finish()
    _say_doubts(screen, trained)
    _say_metrics(screen, project, judged.metrics, evaluation)
    judged_as = trained.bundle.manifest.judged
    if judged_as is not None:
        until = trained.bundle.manifest.periods.train_until
        screen.say(
            f"these are the figures of {judged_as}; then it was fitted again on payments until {until}"
        )
    screen.say(
        f"bundle {trained.bundle.name} in {bundle}; decide with `fraud score FILE --bundle {bundle} "
        "--history PAST`, so that it remembers these payments"
    )
    write_figures(arguments, dict(judged.metrics))


def evaluate(arguments: Namespace) -> None:
    """Judge a bundle on the test slice."""
    project, screen = open_project(arguments.config), terminal(arguments)
    tracking = tracks(project, screen.say, wanted=not arguments.no_tracking)
    report = judge(
        project,
        arguments.features,
        arguments.bundle,
        arguments.out,
        progress=screen.progress,
        tracking=tracking,
    )
    screen.finish()
    if report.instead_of:
        screen.say(
            f"bundle {report.instead_of} was fitted again on the test slice too; these are the figures of "
            f"{report.bundle}, as which it was judged, on the slice that this one had not learned from"
        )
    _say_metrics(screen, project, report.metrics, arguments.out)
    write_figures(arguments, dict(report.metrics))


def prequential_scores(arguments: Namespace) -> None:
    """Train anew for each start and write the scores of the days that follow."""
    project, screen = open_project(arguments.config), terminal(arguments)
    plan = Plan(
        arguments.train_days,
        arguments.delay_days,
        arguments.test_days,
        arguments.history_days,
        arguments.seeds,
    )
    starts = [_day(text) for text in arguments.starts.split(",")]
    history = read_history(project, _history(project, arguments), screen.progress)
    refuse_empty(history, _history(project, arguments))
    # What the earliest fold may not know, no fold's categories may be made of.
    learn_until = min(Fold.of(start, plan).until for start in starts)
    dataset, _ = feature_table(project, history, screen.progress, learn_until)
    scores = prequential(dataset, starts, plan, project.model, screen.progress)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    write_columns(
        arguments.out, scores.columns(project.schema.transaction_id.field or "transaction_id"), None
    )
    screen.finish()
    screen.say(f"wrote {len(scores.score):,} scores of {len(starts)} folds to {arguments.out}")
    write_figures(
        arguments, {"scores": len(scores.score), "folds": len(starts), "features": len(dataset.info.features)}
    )


def _features(project: Project, arguments: Namespace, out: Path, screen: Terminal) -> FeaturesReport:
    report = make_features(
        project,
        past_file(project, arguments),
        out,
        screen.progress,
        arguments.labels,
        arguments.as_of,
        states=arguments.state,
    )
    screen.say(
        f"{report.payments:,} payments ({report.refused:,} rows refused, {report.repeated:,} repeated, "
        f"{report.strays:,} labels without their payment), "
        f"{report.labelled:,} labelled, {report.frauds:,} frauds, {report.features} features"
    )
    if report.conflicts:
        screen.say(
            f"warning: {report.conflicts:,} of the repeated rows have other content under the id of an "
            "earlier one, which stands: is `schema.transaction_id` an id of payments?"
        )
    if report.decided:
        screen.say(
            f"{report.decided:,} of them out of state files, {report.control_group:,} as control group, "
            f"which stand for {report.left_out:,} that were stopped"
        )
    if report.immature and report.moment is not None:
        screen.say(_immature(report.immature, report.moment, named=arguments.as_of is not None))
    return report


def _immature(count: int, moment: int, *, named: bool) -> str:
    """Say which payments are in no slice, and what to do if that is wrong."""
    words = (
        f"the labels of {count:,} payments cannot be in at {iso(moment)}: they are younger than "
        "`schema.label.delay`, and in no slice"
    )
    if named:
        return words
    return f"{words}; nothing is told of later than that: if the labels are, say of when with --as-of"


def past_file(project: Project, arguments: Namespace) -> Path | None:
    """Return the file of past payments; None where state files tell all, since there is no such file."""
    named: Path = _history(project, arguments)
    told_elsewhere = arguments.state and arguments.data is None and not named.exists()
    return None if told_elsewhere else named


def _history(project: Project, arguments: Namespace) -> Path:
    return arguments.data or Path(project.history)


def _day(text: str) -> dt.date:
    try:
        return dt.date.fromisoformat(text.strip())
    except ValueError:
        raise ConfigError(f"--starts: expected dates such as 2026-08-01, got {text!r}") from None


def _say_doubts(screen: Terminal, trained: TrainReport) -> None:
    for name, separation in trained.suspects.items():
        screen.say(
            f"warning: `{name}` alone ranks {100 * separation:.1f} % of frauds right: "
            "does it know the outcome?"
        )
    for doubt in trained.doubts:
        screen.say(f"warning: {doubt}")


def _say_metrics(screen: Terminal, project: Project, metrics: dict[str, float], folder: Path) -> None:
    for line in quality_lines(metrics):
        screen.say(f"  {line}")
    for warning in quality_warnings(metrics, project):
        screen.say(f"warning: {warning}")
    screen.say(f"all figures and plots are in {folder}")
