"""`fraud serve` and `fraud api-key`: decisions over HTTP, and who may ask for them."""

from __future__ import annotations

import ipaddress
import logging
from argparse import Namespace
from pathlib import Path
from typing import cast

from fraud_detection.adapters.host.stopping import Stop, ending_on_signals
from fraud_detection.adapters.http.server import make_room
from fraud_detection.cli.arguments import BUNDLE
from fraud_detection.cli.losses import accept_losses
from fraud_detection.cli.printing import print_line
from fraud_detection.core.errors import ConfigError
from fraud_detection.serving.http.api_keys import ROLES, Role, add_key, load_keys
from fraud_detection.serving.http.key_follower import on_hangup
from fraud_detection.serving.workers.ownership import kept_files
from fraud_detection.serving.workers.settings import WorkerSettings
from fraud_detection.serving.workers.supervisor import Hangups, serve_with_workers

LOG = logging.getLogger(__name__)


def serve(arguments: Namespace) -> None:
    """Answer over HTTP until told to stop; what was taken is answered first."""
    keys = None if arguments.keys is None else load_keys(arguments.keys)
    if keys is None and not _is_loopback(arguments.host):
        raise ConfigError(
            f"--host {arguments.host} can be reached from outside: give --keys FILE, so that not everybody "
            "may ask; `fraud api-key` makes one"
        )
    if (arguments.certificate is None) != (arguments.private_key is None):
        raise ConfigError("TLS needs both --certificate and --private-key")
    make_room(arguments.most_connections)
    if arguments.workers > 1:
        if arguments.source is not None:
            raise ConfigError("--source is read by one process: leave out --workers")
        _serve_with_workers(arguments)
        return
    # It takes a model's libraries, which the process that starts workers does not need.
    from fraud_detection.cli.serve.serve_alone import serve_alone  # noqa: PLC0415 - see above

    serve_alone(arguments, keys)


def _serve_with_workers(arguments: Namespace) -> None:
    """Let several processes answer at one port."""

    def named(path: Path | None) -> str | None:
        return None if path is None else str(path)

    settings = WorkerSettings(
        worker=0,
        workers=arguments.workers,
        folder="",
        bundle=str(arguments.bundle or BUNDLE),
        live=named(arguments.live),
        state=str(arguments.state),
        port=arguments.port,
        host=arguments.host,
        project=named(arguments.config),
        keys=named(arguments.keys),
        certificate=named(arguments.certificate),
        private_key=named(arguments.private_key),
        most_waiting=arguments.most_waiting,
        most_connections=arguments.most_connections,
        synchronous=arguments.synchronous,
        log_format=arguments.log_format,
    )
    if arguments.accept_loss:
        accept_losses(kept_files(arguments.state))
    stop = Stop()
    hangups = Hangups()
    with ending_on_signals(stop), on_hangup(hangups):
        serve_with_workers(settings, stop, hangups)
    LOG.info("stopped", extra={"event": "stopped"})


def api_key(arguments: Namespace) -> None:
    """Add a key and print it, once."""
    roles = tuple(part.strip() for part in arguments.roles.split(","))
    if unknown := sorted(set(roles) - set(ROLES)):
        raise ConfigError(f"--roles: unknown {', '.join(unknown)}; allowed here: {', '.join(ROLES)}")
    key = add_key(arguments.keys, arguments.name, cast("tuple[Role, ...]", roles), arguments.per_second)
    print_line(key)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
