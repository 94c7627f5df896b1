"""`fraud evaluate` and `fraud prequential`: quality of a model, on one slice and on many."""

from __future__ import annotations

import datetime as dt
from contextlib import nullcontext
from pathlib import Path

import click

from fraud_detection.cli import engines, options
from fraud_detection.cli.command import command
from fraud_detection.cli.extras import tracks
from fraud_detection.cli.printing import Output
from fraud_detection.cli.train.training import print_metrics
from fraud_detection.core.errors import ConfigError


@command("evaluate")
@options.config
@click.option("--features", type=options.PATH, default=options.FEATURES, help="Feature table.")
@options.bundle
@click.option(
    "--out", type=options.PATH, default=Path("build/evaluation"), help="Folder of the figures and plots."
)
@options.no_tracking
def evaluate(
    output: Output, *, config: Path, features: Path, bundle: Path, out: Path, no_tracking: bool
) -> None:
    """Evaluate a bundle on the test slice."""
    from fraud_detection.project.checks import open_project
    from fraud_detection.training import workflow

    project, screen = open_project(config), output.screen
    tracking = tracks(project, screen.print, wanted=not no_tracking)
    report = workflow.evaluate(project, features, bundle, out, progress=screen.progress, tracking=tracking)
    screen.finish()
    if report.refit_bundle:
        screen.print(
            f"bundle {report.refit_bundle} was refitted on the test slice too; these are the figures of "
            f"{report.bundle}, the bundle before its refit, on the slice that it had not learned from"
        )
    print_metrics(screen, project, report.metrics, out)
    output.write(dict(report.metrics))


@command("prequential")
@options.config
@options.data
@click.option("--features", type=options.PATH, help="Feature table to train on, instead of --data.")
@click.option("--start-dates", required=True, help="Start dates, YYYY-MM-DD,YYYY-MM-DD,...")
@click.option("--train-days", type=int, default=7, help="Days that each model is trained on.")
@click.option("--delay-days", type=int, default=7, help="Label delay in days.")
@click.option("--test-days", type=int, default=7, help="Days that each model scores.")
@click.option("--history-days", type=int, default=56, help="Days of history before the training days.")
@click.option("--seeds", type=int, default=2, help="Models per fold, whose scores are averaged.")
@options.memory
@click.option(
    "--out",
    type=options.PATH,
    default=Path("scores.parquet"),
    help="Table of fold, id and score per payment.",
)
@engines.engine_options
def prequential(
    output: Output,
    *,
    config: Path,
    data: Path | None,
    features: Path | None,
    engine_options: engines.EngineOptions,
    start_dates: str,
    train_days: int,
    delay_days: int,
    test_days: int,
    history_days: int,
    seeds: int,
    memory: int | None,
    out: Path,
) -> None:
    """Train anew for each start date and score the days that follow."""
    from fraud_detection.adapters.files.tables import write_batches
    from fraud_detection.project.checks import open_project
    from fraud_detection.training import prequential as folds
    from fraud_detection.training.tables.replayed import replayed_table
    from fraud_detection.training.workspace import Workspace

    project, screen = open_project(config), output.screen
    plan = folds.WalkForwardPlan(train_days, delay_days, test_days, history_days, seeds)
    days = [_day(text) for text in start_dates.split(",")]
    # What the earliest fold may not know, no fold's categories may be made of.
    known_until = min(folds.Fold.of(day, plan).until for day in days)
    history_path, engine = data or Path(project.history), engine_options.settings()
    id_name = project.schema.transaction_id.field or "transaction_id"
    with (
        replayed_table(project, history_path, known_until, screen.progress, engine, out.parent)
        if features is None
        else nullcontext(folds.stored_table(project, features, known_until))
    ) as table:
        workspace = Workspace.next_to(out, memory, screen.print)
        scores = folds.prequential(table, days, plan, project.model, screen.progress, workspace)
        count = write_batches(out, (batch.columns(id_name) for batch in scores))
    screen.finish()
    screen.print(f"wrote {count:,} scores of {len(days)} folds to {out}")
    output.write({"scores": count, "folds": len(days), "features": len(table.info.features)})


def _day(text: str) -> dt.date:
    try:
        return dt.date.fromisoformat(text.strip())
    except ValueError:
        raise ConfigError(f"--start-dates: expected dates such as 2026-08-01, got {text!r}") from None
