"""Train a challenger on what has matured, and say what it would change; the gate decides what is promoted.

The features stay the champion's, so that services can change over without a new state.  The challenger is
tuned on folds before the test slice, and both are evaluated on that slice with the same labels.  Then it is
fitted
again on all that has matured, that slice too: so it goes into the shadow.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import yaml

from fraud_detection.backtesting.replay import learned_until
from fraud_detection.backtesting.report import BacktestSettings, backtest
from fraud_detection.core.errors import ConfigError
from fraud_detection.core.features.fingerprint import fingerprint
from fraud_detection.core.file_targets import check_target
from fraud_detection.core.project_schema import Project
from fraud_detection.core.score.archive import evaluated_bundle, read_bundle
from fraud_detection.core.score.bundle import Bundle
from fraud_detection.evaluation.comparison import Report
from fraud_detection.history.load import History, Progress, check_not_empty, read_history
from fraud_detection.training.evaluate import evaluate_slice
from fraud_detection.training.fit import Learned, Slices, leakage_suspects, learn, refit
from fraud_detection.training.make_bundle import make_bundle, make_refitted
from fraud_detection.training.stages import store_table
from fraud_detection.training.tables.build import feature_table
from fraud_detection.training.tables.feature_table import FeatureTable
from fraud_detection.training.tune import Budget, Tuned, tune
from fraud_detection.training.workflow import (
    EvaluateReport,
    checked_scorer,
    evaluate,
    score_test,
    store_bundle,
    tracker,
    warnings_of,
)
from fraud_detection.training.workspace import Workspace

TABLE = "features.parquet"


class RetrainSettings(msgspec.Struct, frozen=True):
    """Settings of a retraining: history, tuning budget, and output folder.

    champion: the bundle in force.  data: a file of historical payments; None where state files hold all.
    as_of: in ms; without it that of the last payment.
    new_features: let categories, and features where the project file asks for others, be learned anew.
    """

    champion: Path
    data: Path | None
    labels: tuple[Path, ...] = ()
    states: tuple[Path, ...] = ()
    as_of: int | None = None
    out: Path = Path("build/challengers")
    budget: Budget = Budget()
    new_features: bool = False
    tracking: bool = False


class Retrained(msgspec.Struct, frozen=True):
    """Result of a retraining.

    bundle: refitted on all matured labels.  evaluated: the bundle before the refit, which had not learned
    the test slice; challenger: its figures there.
    champion: figures of the test slice; None where it cannot be evaluated there, see `notes`.
    report: what the challenger would have changed in that time; None where it could not be asked.
    tracked: its version in the model registry, None where nothing was tracked.
    """

    bundle: Bundle
    directory: Path
    evaluated: Bundle
    tuned: Tuned
    challenger: dict[str, float]
    champion: dict[str, float] | None
    leakage_suspects: dict[str, float]
    warnings: tuple[str, ...]
    notes: tuple[str, ...]
    report: Report | None
    tracked: str | None


def retrain(
    project: Project, settings: RetrainSettings, progress: Progress, log: Callable[[str], None]
) -> Retrained:
    """Train and evaluate a challenger, and store it in a folder of its own name.

    Raises ConfigError when the project file asks for other features than the champion's and they are to stay.
    """
    champion = read_bundle(settings.champion)
    check_same_features(project, champion, settings)
    table = _table(project, champion, settings, progress)
    slices, workspace = Slices.of(table), Workspace.next_to(table.path, log=log)
    tried = [champion.contents.project.model]
    tuned = tune(table, project.model, tried, settings.budget, progress, workspace)
    better = msgspec.structs.replace(project, model=tuned.settings)
    learned = learn(slices, better.model, lambda share: progress("growing trees", share), workspace)
    evaluated = make_bundle(better, slices, learned)
    store_bundle(evaluated, settings.out / evaluated.name)
    progress("growing trees", 1.0)
    evaluation = settings.out / f"{evaluated.name}.evaluation"
    evaluation_report = evaluate(
        better, table.path, settings.out / evaluated.name, evaluation, progress=progress
    )
    notes, figures, report = _compare_with_champion(
        project, champion, evaluated, settings, table, progress, log
    )
    refitted = refit(
        table, learned, better.model, lambda share: progress("refit", share), workspace=workspace
    )
    bundle = make_refitted(evaluated, slices, refitted)
    directory = settings.out / bundle.name
    store_bundle(bundle, directory)
    progress("refit", 1.0)
    return Retrained(
        bundle=bundle,
        directory=directory,
        evaluated=evaluated,
        tuned=tuned,
        challenger=evaluation_report.metrics,
        champion=figures,
        leakage_suspects=leakage_suspects(slices.train),
        warnings=warnings_of(slices, learned, bundle),
        notes=notes,
        report=report,
        tracked=_tracked(better, bundle, directory, learned, evaluation_report)
        if settings.tracking
        else None,
    )


def check_same_features(project: Project, champion: Bundle, settings: RetrainSettings) -> None:
    """Raise ConfigError when the project has other features than the champion, without `new_features`."""
    own = fingerprint(project, champion.contents.features.category_encoding)
    if not settings.new_features and own != champion.manifest.fingerprint:
        raise ConfigError(
            f"the project file asks for other features (fingerprint {own}) than the champion {champion.name} "
            f"has ({champion.manifest.fingerprint}); with --new-features it needs a new state file"
        )


def as_of_last_payment(history: History) -> None:
    """Drop labels that became known after the last payment."""
    if history.as_of is None:
        history.as_of = history.payments[-1].payment.event_time
        history.payments = [historical.known_by(history.as_of) for historical in history.payments]


def change_file(bundle: Bundle, champion: Bundle, folder: Path) -> Path:
    """Write the change set that replaces the champion by the challenger; return its path."""
    path = folder / f"{bundle.name}.yaml"
    until = bundle.manifest.periods.labels_as_of
    reason = f"trained again in place of {champion.name}, labels as of {until}"
    change = {"name": f"challenger-{bundle.name}", "reason": reason, "bundle": bundle.name}
    check_target(path).write_text(yaml.safe_dump(change, sort_keys=False))
    return path


def _tracked(
    project: Project, bundle: Bundle, directory: Path, learned: Learned, evaluation_report: EvaluateReport
) -> str:
    run = tracker(project)
    version = run.trained(bundle, directory, learned.rounds)
    run.evaluated(bundle.name, evaluation_report.metrics, evaluation_report.pictures)
    return version


def _table(project: Project, champion: Bundle, settings: RetrainSettings, progress: Progress) -> FeatureTable:
    history = read_history(project, settings.data, progress, settings.labels, settings.as_of, settings.states)
    check_not_empty(settings.data or settings.states[0], history.empty)
    as_of_last_payment(history)
    category_encoding = None if settings.new_features else champion.contents.features.category_encoding
    dataset, _ = feature_table(project, history, progress, category_encoding=category_encoding, exact=True)
    settings.out.mkdir(parents=True, exist_ok=True)
    store_table(settings.out / TABLE, project, dataset, history, [])
    return FeatureTable(settings.out / TABLE)


def _compare_with_champion(  # noqa: PLR0913, PLR0917 - two bundles, and what to evaluate them on
    project: Project,
    champion: Bundle,
    bundle: Bundle,
    settings: RetrainSettings,
    table: FeatureTable,
    progress: Progress,
    log: Callable[[str], None],
) -> tuple[tuple[str, ...], dict[str, float] | None, Report | None]:
    """Evaluate the champion on the same rows, and backtest both."""
    # Its evaluated bundle had learned less, which leaves more history to evaluate it on.
    path = _evaluated_bundle(champion, settings) or settings.champion
    champion = read_bundle(path)
    problem = _why_not(champion, bundle, table)
    if problem:
        return (problem,), None, None
    cut = table.info.boundaries
    scorer = checked_scorer(champion, table.info.fingerprint, project.model.threads)
    scored = score_test(table, champion, scorer)
    figures = evaluate_slice(scored, champion.manifest.cutoffs, project.costs, project.model.seed)
    tried = BacktestSettings(
        changes=(change_file(bundle, champion, settings.out),),
        bundle=path,
        features=settings.out / TABLE,
        start=cut.test_from,
        end=cut.test_until,
    )
    return (), figures, backtest(project, tried, progress, log)


def _evaluated_bundle(champion: Bundle, settings: RetrainSettings) -> Path | None:
    """Return the path of the champion's evaluated bundle, in --out or beside it; None without one."""
    folders = (settings.out, settings.out.parent, settings.champion.parent)
    return next(filter(None, (evaluated_bundle(folder, champion) for folder in folders)), None)


def _why_not(champion: Bundle, bundle: Bundle, table: FeatureTable) -> str:
    """Return why the champion cannot be evaluated on the test slice; empty where it can."""
    evaluated = champion.manifest.evaluated_as
    if bundle.name == champion.name:
        return "as evaluated, the challenger is the champion: only payments after the test slice are new"
    if champion.manifest.fingerprint != table.info.fingerprint:
        return "the champion has other features: the two cannot be compared on one table"
    if learned_until(champion) > table.info.boundaries.test_from:
        return (
            "the champion has learned from labels of the test slice, so its figures would be too good: "
            "compare them on later payments, in shadow mode"
            + (f"; as evaluated, it is bundle {evaluated}: copy its folder into --out" if evaluated else "")
        )
    return ""
