"""`fraud serve`: decisions over HTTP."""

from __future__ import annotations

import ipaddress
import logging
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fraud_detection.cli import options
from fraud_detection.cli.command import command
from fraud_detection.cli.printing import Output
from fraud_detection.core.errors import ConfigError

if TYPE_CHECKING:
    from fraud_detection.serving.workers.settings import WorkerSettings

LOG = logging.getLogger(__name__)


@command("serve")
@options.decided_by
@options.state
@click.option("--source", help="Background stream input: a file, or - for a pipe.")
@click.option("--host", default="127.0.0.1", help="The address to listen on.")
@click.option("--port", type=int, default=8000, help="The port to listen on.")
@options.workers("Number of worker processes.")
@click.option("--keys", type=options.PATH, metavar="FILE", help="File of API keys, see `fraud api-key`.")
@click.option("--certificate", type=options.PATH, metavar="FILE", help="TLS certificate, in PEM.")
@click.option(
    "--private-key", type=options.PATH, metavar="FILE", help="Private key of the certificate, in PEM."
)
@click.option("--max-queue", type=int, default=2000, help="Events that may wait; more are rejected at once.")
@options.log_format
@click.option(
    "--max-connections",
    type=click.IntRange(min=1),
    default=1000,
    metavar="N",
    help="Open connections per worker; one more gets 503 and is closed.",
)
@options.profile_memory
@options.synchronous
@options.accept_loss
def serve(
    output: Output,
    *,
    by: options.DecidedBy,
    state: Path,
    source: str | None,
    host: str,
    port: int,
    workers: int,
    keys: Path | None,
    certificate: Path | None,
    private_key: Path | None,
    max_queue: int,
    max_connections: int,
    profile_memory: int,
    synchronous: str,
    accept_loss: bool,
) -> None:
    """Decide payments over HTTP while the customer waits.

    On SIGTERM it completes accepted requests, and exits.
    """
    from fraud_detection.adapters.http.server import make_room
    from fraud_detection.serving.http.api_keys import load_keys
    from fraud_detection.serving.workers.settings import WorkerSettings

    known = None if keys is None else load_keys(keys)
    if known is None and not _is_loopback(host):
        raise ConfigError(
            f"--host {host} can be reached from outside: give --keys FILE "
            "(`fraud api-key` makes one), or anybody can call it"
        )
    if (certificate is None) != (private_key is None):
        raise ConfigError("TLS needs both --certificate and --private-key")
    make_room(max_connections)
    settings = WorkerSettings(
        worker=0,
        workers=workers,
        folder="",
        bundle=str(by.bundle or options.BUNDLE),
        registry=_named(by.registry),
        state=str(state),
        port=port,
        host=host,
        project=_named(by.config),
        keys=_named(keys),
        certificate=_named(certificate),
        private_key=_named(private_key),
        max_queue=max_queue,
        max_connections=max_connections,
        profile_memory_mb=profile_memory,
        synchronous=synchronous,
        log_format=output.log_format,
    )
    if workers > 1:
        if source is not None:
            raise ConfigError("--source is read by one process: leave out --workers")
        _serve_with_workers(settings, accept_loss=accept_loss)
        return
    # It takes a model's libraries, which the process that starts workers does not need.
    from fraud_detection.cli.serve.serve_alone import serve_alone

    serve_alone(settings, by, known, source, accept_loss=accept_loss)


def _serve_with_workers(settings: WorkerSettings, *, accept_loss: bool) -> None:
    """Serve with several processes at one port."""
    from fraud_detection.adapters.host.stopping import Stop, ending_on_signals
    from fraud_detection.cli.losses import accept_losses
    from fraud_detection.serving.http.key_follower import on_hangup
    from fraud_detection.serving.workers.ownership import state_files_of
    from fraud_detection.serving.workers.supervisor import Hangups, serve_with_workers

    if accept_loss:
        accept_losses(state_files_of(Path(settings.state)))
    stop = Stop()
    hangups = Hangups()
    with ending_on_signals(stop), on_hangup(hangups):
        serve_with_workers(settings, stop, hangups)
    LOG.info("stopped", extra={"event": "stopped"})


def _named(path: Path | None) -> str | None:
    return None if path is None else str(path)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
