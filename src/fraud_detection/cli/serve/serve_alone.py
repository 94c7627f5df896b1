"""`fraud serve` without workers: one process that answers over HTTP."""

from __future__ import annotations

import logging
from argparse import Namespace
from importlib.metadata import version

import msgspec

from fraud_detection.adapters.host.gc_tuning import few_collections
from fraud_detection.adapters.host.stopping import Stop, ending_on_signals
from fraud_detection.adapters.http.server import listen, run_loop
from fraud_detection.cli.serve.serving import opened
from fraud_detection.serving.http.api_keys import Access, Key
from fraud_detection.serving.http.batcher import WAIT_S, RequestBatcher
from fraud_detection.serving.http.key_follower import KeysFollower, on_hangup, say_no_keys
from fraud_detection.serving.http.openapi import openapi
from fraud_detection.serving.http.routes import Api
from fraud_detection.serving.http.stream_input import Listening, SideSource, serve_beside
from fraud_detection.serving.workers.ownership import refuse_other_workers

LOG = logging.getLogger(__name__)


def serve_alone(arguments: Namespace, keys: dict[str, Key] | None) -> None:
    """Answer until asked to stop; keys: who may ask, None where everybody may."""
    refuse_other_workers(arguments.state, arguments.workers)
    engine, service, releases = opened(arguments, wait_s=WAIT_S)
    requests = RequestBatcher(service, arguments.most_waiting)
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
            follower = KeysFollower(arguments.keys, access, service.state_file.background)
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
    decided = service.tally.decided
    words = "stopped: %s payments were decided"
    LOG.info(words, f"{decided:,}", extra={"event": "stopped", "decided": decided})
