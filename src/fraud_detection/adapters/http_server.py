"""Run an ASGI application with uvicorn, in this process, until it is told to stop."""

from __future__ import annotations

import encodings.idna  # noqa: F401 - the loop wants it when it listens, perhaps as a user who may not read it
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import uvicorn

IDLE_S = 75
"""Longer than the minute after which common load balancers close a line: they must be the first to do so."""

Application = Callable[..., Awaitable[None]]


def serve(
    application: Any,  # noqa: ANN401 - ASGI
    port: int,
    host: str,
    *,
    certificate: Path | None = None,
    private_key: Path | None = None,
    grace_s: int = 10,
) -> None:
    """Answer on the port until SIGTERM or SIGINT; requests in hand are answered first, within `grace_s`."""
    uvicorn.run(
        application,
        host=host,
        port=port,
        log_level="warning",
        access_log=False,
        lifespan="off",
        server_header=False,
        timeout_graceful_shutdown=grace_s,
        timeout_keep_alive=IDLE_S,
        ssl_certfile=certificate,
        ssl_keyfile=private_key,
    )
