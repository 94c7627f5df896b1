"""What decides, and the state file that it goes on from, as the options of several commands name them."""

from __future__ import annotations

import logging
from pathlib import Path

from fraud_detection.adapters.sqlite.connection import WAIT_FOR_LOCK_S
from fraud_detection.cli.losses import accept_losses
from fraud_detection.cli.options import BUNDLE, PROJECT_FILE, DecidedBy
from fraud_detection.core.errors import ConfigError
from fraud_detection.core.project_schema import Project
from fraud_detection.engine.engine import Engine
from fraud_detection.project.checks import open_project
from fraud_detection.project.loader import load_project
from fraud_detection.releases import lifecycle
from fraud_detection.releases.registry import ReleaseRegistry
from fraud_detection.serving.embedded.release_follower import ReleaseFollower
from fraud_detection.serving.embedded.service import EmbeddedService
from fraud_detection.serving.embedded.stream_runner import open_released_service, open_service
from fraud_detection.serving.load_engine import load_engine

LOG = logging.getLogger(__name__)


def registry_of(by: DecidedBy) -> ReleaseRegistry | None:
    """Return the release registry, if one is named; it says alone what decides."""
    if by.registry is None:
        return None
    if by.bundle is not None or by.config is not None:
        raise ConfigError(
            "--registry says what decides: leave out --bundle and --config, and change it with "
            "`fraud release`"
        )
    return ReleaseRegistry(by.registry)


def engine_of(by: DecidedBy) -> Engine:
    """Load what decides, without any state."""
    registry = registry_of(by)
    if registry is None:
        return load_engine(by.bundle or BUNDLE, project_of(by.config))
    return lifecycle.engine_of(registry, lifecycle.current(registry).champion)


def opened(
    by: DecidedBy,
    state: Path,
    *,
    synchronous: str,
    accept_loss: bool,
    textual: bool = False,
    wait_s: float = WAIT_FOR_LOCK_S,
) -> tuple[Engine, EmbeddedService, ReleaseFollower | None]:
    """Open a service over the state file, by a bundle or by what is released."""
    if accept_loss:
        accept_losses([state])
    registry = registry_of(by)
    if registry is None:
        bundle, project = by.bundle or BUNDLE, project_of(by.config)
        engine, service = open_service(
            bundle, state, project=project, textual=textual, synchronous=synchronous, wait_s=wait_s
        )
        return engine, service, None
    return open_released_service(registry, state, textual=textual, synchronous=synchronous, wait_s=wait_s)


def project_of(config: Path | None) -> Project | None:
    """Return the project file of today, if one was given."""
    return None if config is None else open_project(config)


def warn_of_other_rules(used: Project) -> None:
    """Warn when the project file at hand answers differently than the bundle's copy of it."""
    if not PROJECT_FILE.is_file():
        return
    try:
        here = load_project(PROJECT_FILE)
    except ConfigError:
        return
    if here.project == used.project and (here.rules, here.policy) != (used.rules, used.policy):
        LOG.warning(
            "%s has other rules or another policy than the bundle, whose own are used; decide by the file's "
            "with --config %s",
            PROJECT_FILE,
            PROJECT_FILE,
            extra={"event": "other_rules"},
        )
