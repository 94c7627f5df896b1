"""`fraud serve` without workers: one process behind HTTP."""

from __future__ import annotations

import logging
from importlib.metadata import version
from pathlib import Path

import msgspec

from fraud_detection.adapters.host.gc_tuning import few_collections
from fraud_detection.adapters.host.stopping import Stop, ending_on_signals
from fraud_detection.adapters.http.server import listen, run_loop
from fraud_detection.cli.options import DecidedBy
from fraud_detection.cli.serve.opening import opened
from fraud_detection.serving.embedded.service import BYTES_A_MB
from fraud_detection.serving.http.api_keys import Access, Key
from fraud_detection.serving.http.batcher import WAIT_S, RequestBatcher
from fraud_detection.serving.http.key_follower import KeysFollower, log_no_keys, on_hangup
from fraud_detection.serving.http.openapi import openapi
from fraud_detection.serving.http.routes import Api
from fraud_detection.serving.http.stream_input import Listening, StreamInput, serve_with_stream
from fraud_detection.serving.workers.ownership import check_worker_count
from fraud_detection.serving.workers.settings import WorkerSettings

LOG = logging.getLogger(__name__)


def serve_alone(
    settings: WorkerSettings,
    by: DecidedBy,
    keys: dict[str, Key] | None,
    source: str | None,
    *,
    accept_loss: bool,
) -> None:
    """Serve until stopped; keys: None where no key is required."""
    state = Path(settings.state)
    check_worker_count(state, settings.workers)
    engine, service, releases = opened(
        by, state, synchronous=settings.synchronous, accept_loss=accept_loss, wait_s=WAIT_S
    )
    service.limit_profile_memory(settings.profile_memory_mb * BYTES_A_MB)
    requests = RequestBatcher(service, settings.max_queue)
    try:
        own_version = version("fraud-detection-system")
        description = msgspec.json.encode(openapi(engine.project, own_version, with_keys=keys is not None))
        access = Access(keys)
        api = Api(requests, access, description)
        stream_input = None if source is None else StreamInput(requests, source)
        listening = _listening(settings)
        scheme = "http" if settings.certificate is None else "https"
        address = f"{scheme}://{settings.host}:{settings.port}"
        stop = Stop()
        look = log_no_keys
        if settings.keys is not None:
            follower = KeysFollower(Path(settings.keys), access, service.state_file.background)
            follower.start()
            look = follower.look_now
        bundle = engine.bundle.name
        extra = {"event": "started", "bundle": bundle, "address": address}
        LOG.info("bundle %s serves at %s", bundle, address, extra=extra)
        with few_collections(), ending_on_signals(stop), on_hangup(look):
            run_loop(serve_with_stream(api, listening, stream_input, stop, releases))
    finally:
        try:
            requests.close()
        finally:
            if releases is not None:
                releases.close()
    decided = service.tally.decided
    message = "stopped: payments decided: %s"
    LOG.info(message, f"{decided:,}", extra={"event": "stopped", "decided": decided})


def _listening(settings: WorkerSettings) -> Listening:
    return Listening(
        listen(settings.host, settings.port, shared=False),
        None if settings.certificate is None else Path(settings.certificate),
        None if settings.private_key is None else Path(settings.private_key),
        settings.max_connections,
    )
