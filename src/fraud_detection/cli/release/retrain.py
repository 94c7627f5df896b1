"""`fraud retrain`: a challenger, when it is time for one."""

from __future__ import annotations

import datetime as dt
import getpass
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fraud_detection.cli import options
from fraud_detection.cli.command import command
from fraud_detection.cli.extras import require, tracks
from fraud_detection.cli.printing import Figures, Output, print_line
from fraud_detection.cli.release.backtest import lines
from fraud_detection.cli.train.quality import NAMES, shown
from fraud_detection.cli.train.training import history_file, print_warnings
from fraud_detection.core.errors import ConfigError

if TYPE_CHECKING:
    from fraud_detection.adapters.terminal import Terminal
    from fraud_detection.challengers.retrain import Retrained
    from fraud_detection.challengers.retrain_triggers import Reason
    from fraud_detection.core.score.bundle import Bundle
    from fraud_detection.releases.registry import ReleaseRegistry


@command("retrain")
@options.config
@options.history_options
@click.option(
    "--bundle",
    cls=options.DefaultOption,
    type=options.PATH,
    show_default=f"{options.BUNDLE}, or that of --registry",
    help="The champion.",
)
@click.option(
    "--registry", type=options.PATH, metavar="DIR", help="Release registry: its champion, its shadows."
)
@options.author
@click.option("--trials", type=click.IntRange(min=0), default=30, help="Trials of tuning, 0 for none.")
@click.option(
    "--minutes",
    cls=options.DefaultOption,
    type=float,
    show_default="unlimited",
    help="Minutes after which no trial begins.",
)
@click.option(
    "--when-older-than",
    type=options.DURATION,
    metavar="AGE",
    help="Retrain when its labels are older, such as 7d.",
)
@click.option("--when-drifted", is_flag=True, help="Retrain when payments of --state have drifted.")
@click.option("--new-features", is_flag=True, help="Rebuild categories and features.")
@click.option("--out", type=options.PATH, default=Path("build/challengers"), help="Folder of challengers.")
@options.no_tracking
def retrain(
    output: Output,
    *,
    config: Path,
    history_options: options.HistoryOptions,
    bundle: Path | None,
    registry: Path | None,
    author: str | None,
    trials: int,
    minutes: float | None,
    when_older_than: int | None,
    when_drifted: bool,
    new_features: bool,
    out: Path,
    no_tracking: bool,
) -> None:
    """Train a challenger on matured labels, and put it into shadow mode."""
    import msgspec

    from fraud_detection.challengers import retrain as work
    from fraud_detection.core.score.archive import read_bundle
    from fraud_detection.project.checks import open_project
    from fraud_detection.releases.registry import ReleaseRegistry
    from fraud_detection.training.tune import Budget

    if trials:
        require("optuna", "or give --trials 0")
    project, screen = open_project(config), output.screen
    released = None if registry is None else ReleaseRegistry(registry)
    path = _champion_path(bundle, released)
    champion = read_bundle(path)
    reasons = conditions(champion, history_options, when_older_than, when_drifted=when_drifted)
    waits = _young_challenger(released, when_older_than) if any(reason.due for reason in reasons) else None
    if waits is not None:
        reasons.append(waits)
    for reason in reasons:
        screen.print(reason.message)
    if waits is not None or (reasons and not any(reason.due for reason in reasons)):
        print_line("not yet")
        output.write({"due": False, "reasons": [msgspec.to_builtins(reason) for reason in reasons]})
        return
    settings = work.RetrainSettings(
        champion=path,
        data=history_file(project, history_options),
        labels=history_options.labels,
        states=history_options.state,
        as_of=history_options.as_of,
        out=out,
        budget=Budget(trials, minutes),
        new_features=new_features,
        tracking=tracks(project, screen.print, wanted=not no_tracking),
    )
    retrained = work.retrain(project, settings, screen.progress, screen.print)
    screen.finish()
    _print_summary(screen, retrained)
    shadow = None
    if released is not None and retrained.bundle.name != champion.name:
        shadow = _shadow(released, author, champion, retrained)
    output.write(_figures(reasons, retrained, shadow))


def _champion_path(bundle: Path | None, registry: ReleaseRegistry | None) -> Path:
    """Return where the bundle in force is: that of the release registry, where one is named."""
    from fraud_detection.releases import lifecycle

    if registry is None:
        return bundle or options.BUNDLE
    return registry.bundle_path(lifecycle.bundle_of(registry, lifecycle.current(registry).champion).name)


def conditions(
    champion: Bundle,
    history_options: options.HistoryOptions,
    older_than_ms: int | None,
    *,
    when_drifted: bool,
) -> list[Reason]:
    """Return what each condition says; none was asked for, none is returned."""
    from fraud_detection.challengers.retrain_triggers import drift_of, latest_time, older_than
    from fraud_detection.history.logged_decisions import state_files

    reasons = []
    states = state_files(history_options.state)
    if when_drifted and not states:
        raise ConfigError("--when-drifted looks at what was decided: name a state file with --state")
    latest = latest_time(states) if history_options.as_of is None else history_options.as_of
    now = int(time.time() * 1000) if latest is None else latest
    if older_than_ms is not None:
        reasons.append(older_than(champion, now, older_than_ms))
    if when_drifted:
        reasons.append(drift_of(champion, states, now).reason())
    return reasons


def _young_challenger(registry: ReleaseRegistry | None, older_than_ms: int | None) -> Reason | None:
    from fraud_detection.challengers.retrain_triggers import RECENT_DAYS, young_challenger
    from fraud_detection.evaluation.measures import DAY_MS

    if registry is None:
        return None
    age_ms = older_than_ms or RECENT_DAYS * DAY_MS
    return young_challenger(registry, dt.datetime.now(dt.UTC), age_ms)


def _print_summary(screen: Terminal, retrained: Retrained) -> None:
    print_warnings(screen, retrained.leakage_suspects, (*retrained.warnings, *retrained.notes))
    if retrained.tuned.trials:
        print_line(
            f"tuned: average precision {retrained.tuned.score:.4f} in place of "
            f"{retrained.tuned.baseline_score:.4f} "
            f"on folds before the test slice, {retrained.tuned.trials} settings tried"
        )
    print_line(f"{'on the latest mature slice':44}{'champion':>12}{'challenger':>12}")
    for name, label in NAMES.items():
        before = "-" if retrained.champion is None else shown(name, retrained.champion[name])
        print_line(f"  {label:42}{before:>12}{shown(name, retrained.challenger[name]):>12}")
    if retrained.report is not None:
        for line in lines(retrained.report):
            print_line(line)
    print_line(
        f"challenger {retrained.bundle.name} in {retrained.directory}: evaluated as "
        f"{retrained.evaluated.name}, then "
        f"refitted on payments until {retrained.bundle.manifest.periods.train_until}"
    )


def _shadow(registry: ReleaseRegistry, name: str | None, champion: Bundle, retrained: Retrained) -> str:
    """Let the challenger decide in shadow mode; return its configuration."""
    from fraud_detection.challengers.retrain_triggers import RETRAINED
    from fraud_detection.cli.release.announce import OWN_FEATURES
    from fraud_detection.releases import lifecycle
    from fraud_detection.releases.shadow_project import shadow_project

    now = lifecycle.current(registry)
    _, current_project = lifecycle.content_of(registry, now.champion)
    project = shadow_project(retrained.bundle, current_project)
    config_id = lifecycle.store(registry, retrained.bundle, project).config_id
    author = lifecycle.Author(name or getpass.getuser(), f"{RETRAINED} {champion.name}")
    lifecycle.set_shadows(registry, [(retrained.bundle, project)], author, seen=now.number)
    if lifecycle.has_other_features(registry, retrained.bundle):
        print_line(OWN_FEATURES.format(retrained.bundle.name))
    print_line(f"in shadow mode as {config_id}: `fraud shadow` runs it, `fraud promote` evaluates the gate")
    return config_id


def _figures(reasons: list[Reason], retrained: Retrained, shadow: str | None) -> Figures:
    import msgspec

    return {
        "due": True,
        "reasons": [msgspec.to_builtins(reason) for reason in reasons],
        "bundle": retrained.bundle.name,
        "evaluated": retrained.evaluated.name,
        "trials": retrained.tuned.trials,
        "score": retrained.tuned.score,
        "baseline_score": retrained.tuned.baseline_score,
        "challenger": dict(retrained.challenger),
        "champion": None if retrained.champion is None else dict(retrained.champion),
        "backtest": msgspec.to_builtins(retrained.report),
        "shadow": shadow,
        "tracked": retrained.tracked,
    }
