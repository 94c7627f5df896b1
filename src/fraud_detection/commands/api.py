"""`fraud serve` and `fraud api-key`: decisions over HTTP, and who may ask for them."""

from __future__ import annotations

import ipaddress
import logging
from argparse import Namespace
from importlib.metadata import version
from pathlib import Path
from typing import cast

import msgspec

from fraud_detection.adapters.http_server import listen, make_room, run_loop
from fraud_detection.commands.arguments import BUNDLE
from fraud_detection.commands.printing import print_line
from fraud_detection.commands.serving import accept_losses, opened
from fraud_detection.errors import ConfigError
from fraud_detection.run.access import ROLES, Access, Role, add_key, load_keys
from fraud_detection.run.api import Api
from fraud_detection.run.follow_keys import KeysFollower, on_hangup, say_no_keys
from fraud_detection.run.garbage import few_collections
from fraud_detection.run.openapi import openapi
from fraud_detection.run.request_door import WAIT_S, RequestDoor
from fraud_detection.run.shards import kept_files, refuse_other_workers
from fraud_detection.run.side_source import Listening, SideSource, serve_beside
from fraud_detection.run.stream import Stop, ending_on_signals
from fraud_detection.run.worker import WorkerSettings
from fraud_detection.run.workers import Hangups, serve_with_workers

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
    refuse_other_workers(arguments.state, arguments.workers)
    engine, door, releases = opened(arguments, wait_s=WAIT_S)
    requests = RequestDoor(door, arguments.most_waiting)
    try:
        own_version = version("fraud-detection-system")
        description = msgspec.json.encode(openapi(engine.project, own_version, with_keys=keys is not None))
        access = Access(keys)
        api = Api(requests, access, description)
        beside = None if arguments.source is None else SideSource(requests, arguments.source)
        listening = Listening(
            listen(arguments.host, arguments.port, shared=False),
            arguments.certificate,
            arguments.private_key,
            arguments.most_connections,
        )
        scheme = "http" if arguments.certificate is None else "https"
        address = f"{scheme}://{arguments.host}:{arguments.port}"
        stop = Stop()
        look = say_no_keys
        if arguments.keys is not None:
            follower = KeysFollower(arguments.keys, access, door.site.background)
            follower.start()
            look = follower.look_now
        bundle = engine.bundle.name
        extra = {"event": "started", "bundle": bundle, "address": address}
        LOG.info("bundle %s answers at %s", bundle, address, extra=extra)
        with few_collections(), ending_on_signals(stop), on_hangup(look):
            run_loop(serve_beside(api, listening, beside, stop, releases))
    finally:
        try:
            requests.close()
        finally:
            if releases is not None:
                releases.close()
    decided = door.tally.decided
    words = "stopped: %s payments were decided"
    LOG.info(words, f"{decided:,}", extra={"event": "stopped", "decided": decided})


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
