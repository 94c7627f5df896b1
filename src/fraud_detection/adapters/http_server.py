"""Run an ASGI application with uvicorn, in this process, until it is told to stop."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import uvicorn

Application = Callable[..., Awaitable[None]]


def serve(application: Any, port: int, host: str) -> None:  # noqa: ANN401 - ASGI
    """Answer on the port until SIGTERM or SIGINT; requests in hand are answered first."""
    uvicorn.run(application, host=host, port=port, log_level="warning", access_log=False, lifespan="off")
