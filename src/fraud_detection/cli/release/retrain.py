"""`fraud retrain`: a challenger, when it is time for one."""

from __future__ import annotations

import datetime as dt
import getpass
import time
from argparse import Namespace
from pathlib import Path

import msgspec

from fraud_detection.adapters.terminal import Terminal
from fraud_detection.challengers.retrain import Retrained, RetrainSettings, retrain
from fraud_detection.challengers.retrain_triggers import (
    RECENT_DAYS,
    RETRAINED,
    Reason,
    drift_of,
    latest_time,
    older_than,
    young_challenger,
)
from fraud_detection.cli.arguments import BUNDLE
from fraud_detection.cli.extras import require, tracks
from fraud_detection.cli.printing import print_line, terminal, write_figures
from fraud_detection.cli.release.backtest import lines
from fraud_detection.cli.release.release import OWN_FEATURES
from fraud_detection.cli.train.quality import NAMES, told
from fraud_detection.cli.train.training import past_file
from fraud_detection.core.errors import ConfigError
from fraud_detection.core.project_schema import Project
from fraud_detection.core.score.archive import read_bundle
from fraud_detection.core.score.bundle import Bundle
from fraud_detection.evaluation.measures import DAY_MS
from fraud_detection.history.logged_decisions import state_files
from fraud_detection.project.checks import open_project
from fraud_detection.releases import lifecycle
from fraud_detection.releases.registry import ReleaseRegistry
from fraud_detection.training.tune import Budget


def train_challenger(arguments: Namespace) -> None:
    """Train a challenger if it is time, print what it would change, and let it decide in the shadow."""
    if arguments.trials:
        require("optuna", "or give --trials 0")
    project, screen = open_project(arguments.config), terminal(arguments)
    path = champion_path(arguments)
    champion = read_bundle(path)
    reasons = conditions(arguments, champion)
    waits = _young_challenger(arguments) if any(reason.due for reason in reasons) else None
    if waits is not None:
        reasons.append(waits)
    for reason in reasons:
        screen.say(reason.message)
    if waits is not None or (reasons and not any(reason.due for reason in reasons)):
        print_line("not yet")
        write_figures(arguments, {"due": False, "reasons": [msgspec.to_builtins(one) for one in reasons]})
        return
    tracking = tracks(project, screen.say, wanted=not arguments.no_tracking)
    settings = _settings(arguments, project, path, tracking=tracking)
    found = retrain(project, settings, screen.progress, screen.say)
    screen.finish()
    _tell(screen, found)
    shadow = _shadow(arguments, champion, found)
    write_figures(arguments, _figures(reasons, found, shadow))


def champion_path(arguments: Namespace) -> Path:
    """Return where the bundle in force is: that of the live folder, where one is named."""
    if arguments.live is None:
        return Path(arguments.bundle or BUNDLE)
    registry = ReleaseRegistry(arguments.live)
    return registry.bundle_path(lifecycle.bundle_of(registry, lifecycle.current(registry).champion).name)


def conditions(arguments: Namespace, champion: Bundle) -> list[Reason]:
    """Return what each condition says; none was asked for, none is returned."""
    found = []
    states = state_files(arguments.state)
    if arguments.when_drifted and not states:
        raise ConfigError("--when-drifted looks at what was decided: name a state file with --state")
    told = latest_time(states) if arguments.as_of is None else arguments.as_of
    now = int(time.time() * 1000) if told is None else told
    if arguments.when_older_than is not None:
        found.append(older_than(champion, now, arguments.when_older_than))
    if arguments.when_drifted:
        found.append(drift_of(champion, states, now).reason())
    return found


def _young_challenger(arguments: Namespace) -> Reason | None:
    if arguments.live is None:
        return None
    age_ms = arguments.when_older_than or RECENT_DAYS * DAY_MS
    return young_challenger(ReleaseRegistry(arguments.live), dt.datetime.now(dt.UTC), age_ms)


def _settings(arguments: Namespace, project: Project, champion: Path, *, tracking: bool) -> RetrainSettings:
    return RetrainSettings(
        champion=champion,
        data=past_file(project, arguments),
        labels=tuple(arguments.labels),
        states=tuple(arguments.state),
        as_of=arguments.as_of,
        out=arguments.out,
        budget=Budget(arguments.trials, arguments.minutes),
        new_features=arguments.new_features,
        tracking=tracking,
    )


def _tell(screen: Terminal, found: Retrained) -> None:
    for name, separation in found.suspects.items():
        screen.say(
            f"warning: `{name}` alone ranks {100 * separation:.1f} % of frauds right: "
            "does it know the outcome?"
        )
    for words in (*found.doubts, *found.notes):
        screen.say(f"warning: {words}")
    if found.tuned.trials:
        print_line(
            f"tuned: average precision {found.tuned.worth:.4f} in place of {found.tuned.worth_today:.4f} on "
            f"folds before the test slice, {found.tuned.trials} settings tried"
        )
    print_line(f"{'on the latest mature slice':44}{'champion':>12}{'challenger':>12}")
    for name, words in NAMES.items():
        before = "-" if found.champion is None else told(name, found.champion[name])
        print_line(f"  {words:42}{before:>12}{told(name, found.challenger[name]):>12}")
    if found.report is not None:
        for line in lines(found.report):
            print_line(line)
    print_line(
        f"challenger {found.bundle.name} in {found.directory}: judged as {found.judged.name}, then fitted "
        f"again on payments until {found.bundle.manifest.periods.train_until}"
    )


def _shadow(arguments: Namespace, champion: Bundle, found: Retrained) -> str | None:
    """Let the challenger decide in shadow mode; return its configuration, None where it does not."""
    if arguments.live is None or found.bundle.name == champion.name:
        return None
    registry = ReleaseRegistry(arguments.live)
    now = lifecycle.current(registry)
    _, today = lifecycle.content_of(registry, now.champion)
    project = lifecycle.shadow_project(found.bundle, today)
    config_id = lifecycle.store(registry, found.bundle, project).config_id
    author = lifecycle.Author(arguments.by or getpass.getuser(), f"{RETRAINED} {champion.name}")
    lifecycle.set_shadows(registry, [(found.bundle, project)], author, seen=now.number)
    if lifecycle.has_other_features(registry, found.bundle):
        print_line(OWN_FEATURES.format(found.bundle.name))
    print_line(
        f"in the shadow as {config_id}: `fraud shadow` lets it decide, `fraud promote` asks the gate for it"
    )
    return config_id


def _figures(reasons: list[Reason], found: Retrained, shadow: str | None) -> dict[str, object]:
    return {
        "due": True,
        "reasons": [msgspec.to_builtins(one) for one in reasons],
        "bundle": found.bundle.name,
        "judged": found.judged.name,
        "trials": found.tuned.trials,
        "worth": found.tuned.worth,
        "worth_today": found.tuned.worth_today,
        "challenger": dict(found.challenger),
        "champion": None if found.champion is None else dict(found.champion),
        "backtest": msgspec.to_builtins(found.report),
        "shadow": shadow,
        "tracked": found.tracked,
    }
