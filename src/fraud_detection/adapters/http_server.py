"""Run an application with uvicorn, in this process, until it is told to stop."""

from __future__ import annotations

import encodings.idna  # noqa: F401 - the loop wants it when it listens, perhaps as a user who may not read it
from functools import partial
from pathlib import Path
from typing import Any

import uvicorn

from fraud_detection.adapters.http_line import Application, HttpLine

IDLE_S = 75
"""Longer than the minute after which common load balancers close a line: they must be the first to do so."""

GRACE_S = 10
"""How long requests in hand may still take when the server has been told to stop."""


def serve(
    application: Any,  # noqa: ANN401 - ASGI
    port: int,
    host: str,
) -> None:
    """Answer on the port until SIGTERM or SIGINT; requests in hand are answered first, within `GRACE_S`."""
    uvicorn.run(application, host=host, port=port, **_settings(None, None))


def serve_requests(
    application: Application,
    port: int,
    host: str,
    *,
    certificate: Path | None = None,
    private_key: Path | None = None,
) -> None:
    """Do the same for an application that takes requests instead of ASGI's messages."""
    lines: Any = partial(HttpLine, application)
    uvicorn.run(_nothing, host=host, port=port, http=lines, **_settings(certificate, private_key))


async def _nothing(_scope: object, _receive: object, _send: object) -> None:
    """Stand where uvicorn wants an ASGI application; nobody asks it."""


def _settings(certificate: Path | None, private_key: Path | None) -> dict[str, Any]:
    return {
        "log_level": "warning",
        "access_log": False,
        "lifespan": "off",
        "server_header": False,
        "timeout_graceful_shutdown": GRACE_S,
        "timeout_keep_alive": IDLE_S,
        "ssl_certfile": certificate,
        "ssl_keyfile": private_key,
    }
