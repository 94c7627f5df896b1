"""`fraud shadow`: configurations that decide every live payment too, and answer nobody."""

from __future__ import annotations

import logging
from argparse import Namespace

from fraud_detection.adapters.host.gc_tuning import few_collections
from fraud_detection.adapters.host.stopping import Stop, ending_on_signals
from fraud_detection.challengers.shadow import Shadows
from fraud_detection.cli.arguments import STATE
from fraud_detection.cli.printing import terminal, write_figures
from fraud_detection.core.errors import ConfigError
from fraud_detection.releases.registry import ReleaseRegistry

LOG = logging.getLogger(__name__)


def shadow(arguments: Namespace) -> None:
    """Decide beside the services until told to stop, or until all is decided."""
    screen, stop = terminal(arguments), Stop()
    states = arguments.state or [STATE]
    for state in states:
        if not state.is_file():
            raise ConfigError(f"{state}: no such state file; name that of a service with --state")
    if arguments.history is not None and not arguments.history.is_file():
        raise ConfigError(
            f"{arguments.history}: no such file; name the one that the service was started with"
        )
    shadows = Shadows(ReleaseRegistry(arguments.live), states, arguments.history, screen.progress)
    LOG.info("following %s", arguments.live, extra={"event": "started", "live": str(arguments.live)})
    try:
        with few_collections(), ending_on_signals(stop):
            if arguments.once:
                while shadows.step() and not stop.asked:
                    screen.progress(f"decided in the shadow: {shadows.decided:,}", 0.0)
            else:
                shadows.run(lambda: stop.asked)
    finally:
        shadows.close()
    screen.finish()
    decided = shadows.decided
    words = "stopped: decided in the shadow: %s"
    LOG.info(words, f"{decided:,}", extra={"event": "stopped", "decided": decided})
    write_figures(arguments, {"decided": decided})
