"""`fraud shadow`: configurations that decide every live payment in shadow mode."""

from __future__ import annotations

import logging
from pathlib import Path

import click

from fraud_detection.cli import options
from fraud_detection.cli.command import command
from fraud_detection.cli.paths import check_states
from fraud_detection.cli.printing import Output
from fraud_detection.core.errors import ConfigError

LOG = logging.getLogger(__name__)


@command("shadow")
@options.own_registry
@options.service_states
@click.option(
    "--history",
    type=options.PATH,
    metavar="FILE",
    help="History that the state file began with, for shadows with other features.",
)
@click.option("--exit-when-idle", is_flag=True, help="Exit when every logged payment is decided.")
@options.log_format
def shadow(
    output: Output, *, registry: Path, state: tuple[Path, ...], history: Path | None, exit_when_idle: bool
) -> None:
    """Run the shadows: decide every live payment, without effect.

    It runs until it is interrupted, or with --exit-when-idle until all is decided.
    """
    from fraud_detection.adapters.host.gc_tuning import few_collections
    from fraud_detection.adapters.host.stopping import Stop, ending_on_signals
    from fraud_detection.challengers.shadow import Shadows
    from fraud_detection.releases.lifecycle import current
    from fraud_detection.releases.registry import ReleaseRegistry

    screen, stop = output.screen, Stop()
    check_states(state)
    if history is not None and not history.is_file():
        raise ConfigError(f"{history}: no such file; name the one that the service was started with")
    released = ReleaseRegistry(registry)
    current(released)  # refuses a registry without a release
    shadows = Shadows(released, state, history, screen.progress)
    LOG.info("following %s", registry, extra={"event": "started", "registry": str(registry)})
    try:
        with few_collections(), ending_on_signals(stop):
            if exit_when_idle:
                while shadows.step() and not stop.requested:
                    screen.progress(f"decided in shadow mode: {shadows.decided:,}", 0.0)
            else:
                shadows.run(lambda: stop.requested)
    finally:
        shadows.close()
    screen.finish()
    decided = shadows.decided
    message = "stopped: decided in shadow mode: %s"
    LOG.info(message, f"{decided:,}", extra={"event": "stopped", "decided": decided})
    output.write({"decided": decided})
