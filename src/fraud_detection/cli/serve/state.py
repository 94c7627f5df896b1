"""`fraud state create`: a new state file, empty or with the memory of past payments."""

from __future__ import annotations

from argparse import Namespace

from fraud_detection.cli.arguments import BUNDLE
from fraud_detection.cli.printing import terminal, write_figures
from fraud_detection.core.errors import ConfigError
from fraud_detection.engine.engine import Engine
from fraud_detection.project.checks import open_project
from fraud_detection.releases.lifecycle import current, engine_of
from fraud_detection.releases.registry import ReleaseRegistry
from fraud_detection.serving.create_state import new_state
from fraud_detection.serving.load_engine import load_engine


def create(arguments: Namespace) -> None:
    """Make the state file, or one for each worker, and say what it remembers."""
    screen = terminal(arguments)
    engine = None if arguments.history is None else _engine(arguments)
    count = new_state(arguments.path, arguments.workers, engine, arguments.history, screen.progress)
    screen.finish()
    whose = "" if arguments.workers == 1 else f" for each of {arguments.workers} workers"
    remembers = "remembers nothing yet" if engine is None else f"remembers {count:,} payments"
    screen.say(f"{arguments.path}: made{whose}; it {remembers}")
    write_figures(arguments, {"payments": count, "workers": arguments.workers})


def _engine(arguments: Namespace) -> Engine:
    if arguments.live is None:
        project = None if arguments.config is None else open_project(arguments.config)
        return load_engine(arguments.bundle or BUNDLE, project)
    if arguments.bundle is not None or arguments.config is not None:
        raise ConfigError("--live says what answers: leave out --bundle and --config")
    registry = ReleaseRegistry(arguments.live)
    return engine_of(registry, current(registry).champion)
