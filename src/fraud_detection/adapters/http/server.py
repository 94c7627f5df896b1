"""Run an application with uvicorn, in this process, until it is asked to stop."""

from __future__ import annotations

import asyncio
import encodings.idna  # noqa: F401 - the loop wants it when it listens, perhaps as a user who may not read it
import resource
import socket
import ssl
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any

import uvicorn

from fraud_detection.adapters.http.connection_limit import (
    MAX_CLOSING,
    MAX_CONNECTIONS,
    Bound,
    LimitedConnection,
)
from fraud_detection.adapters.http.messages import Application
from fraud_detection.adapters.http.tls_listener import MIN_HANDSHAKES, TlsListener
from fraud_detection.core.errors import ConfigError

IDLE_S = 75
"""Longer than the minute after which common load balancers close a connection: they must be first."""

GRACE_S = 10
"""How long requests in flight may still take when the server stops."""

BACKLOG = 2048
MAX_PORT = 65_535

OTHER_FILES = 256 + MIN_HANDSHAKES + MAX_CLOSING
"""File descriptors besides client connections: state files, other workers, libraries, and connections
for which there is no free slot."""


def prepare(
    application: Any,  # noqa: ANN401 - ASGI
    port: int,
    host: str,
) -> Callable[[], None]:
    """Import what serving needs, open the port, and return a coroutine that serves until SIGTERM or SIGINT.

    Between the two the process may become a user who may read none of it.  Requests in hand are answered
    before the end, within `GRACE_S`.
    """
    config = uvicorn.Config(application, host=host, port=port, **_settings())
    config.load()
    config.get_loop_factory()  # imports the loop
    listening = listen(host, port, shared=False)
    return partial(uvicorn.Server(config).run, [listening])


async def serve_on(
    listening: socket.socket,
    application: Application,
    should_stop: Callable[[], object],
    *,
    certificate: Path | None = None,
    private_key: Path | None = None,
    max_connections: int = MAX_CONNECTIONS,
) -> None:
    """Do the same on a socket, in the loop that runs already, for an application that takes requests.

    should_stop: returns whether a stop was requested before the server could hear of it.
    max_connections: one more is answered 503 and closed.
    """
    protocol_class: Any = partial(LimitedConnection, application, Bound(max_connections))
    config = uvicorn.Config(_nothing, http=protocol_class, **_settings())
    tls = _tls(certificate, private_key) if certificate is not None and private_key is not None else None
    await _Server(config, should_stop, listening, tls, max_connections).serve([])


def run_loop(main: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine on the loop that the server would take."""
    with asyncio.Runner(loop_factory=uvicorn.Config(_nothing).get_loop_factory()) as runner:
        runner.run(main)


def make_room(max_connections: int) -> None:
    """Let this process, and those that it starts, open so many connections.

    Raises ConfigError where the system does not allow it.
    """
    needed = max_connections + OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if resource.RLIM_INFINITY not in {soft, hard} and hard < needed:
        raise ConfigError(
            f"--max-connections {max_connections}: {needed:,} files would be open, and this user may have "
            f"{hard:,}; raise that (`ulimit -Hn`), or take {max(hard - OTHER_FILES, 1):,} connections at most"
        )
    if soft != resource.RLIM_INFINITY and soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


def reserve(host: str, port: int) -> socket.socket:
    """Return a socket that reserves a port for our processes, and accepts no connection itself.

    Port 0 is any that is free.  Raises ConfigError when somebody listens there.
    """
    try:
        # Without the option to share it, so that another program's port is not shared by accident.
        with _bound(host, port, shared=False) as alone:
            port = alone.getsockname()[1]
        return _bound(host, port, shared=True)
    except OSError as error:
        raise _cannot_listen(host, port, error) from None


def listen(host: str, port: int, *, shared: bool) -> socket.socket:
    """Return a socket that takes the connections to a port, or its share of those to one that was reserved.

    Raises ConfigError when somebody else listens there.
    """
    try:
        listening = _bound(host, port, shared=shared)
    except OSError as error:
        raise _cannot_listen(host, port, error) from None
    listening.listen(BACKLOG)
    listening.setblocking(False)  # noqa: FBT003 - the name of the method says it
    return listening


class _Server(uvicorn.Server):
    """A server that also stops when a callable says so."""

    def __init__(
        self,
        config: uvicorn.Config,
        should_stop: Callable[[], object],
        listening: socket.socket,
        tls: ssl.SSLContext | None,
        max_connections: int,
    ) -> None:
        super().__init__(config)
        self._max_connections = max_connections
        self._should_stop, self._listening, self._tls = should_stop, listening, tls

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen; over TLS by a listener of our own, which bounds the handshakes."""
        await super().startup(sockets)
        loop = asyncio.get_running_loop()
        protocol_class: Any = self.config.http_protocol_class
        connections = self.server_state.connections

        def new_protocol() -> asyncio.Protocol:
            made: asyncio.Protocol = protocol_class(
                config=self.config, server_state=self.server_state, app_state={}, _loop=loop
            )
            return made

        def free_slots() -> int:
            return max(self._max_connections - len(connections), MIN_HANDSHAKES)

        server: Any
        if self._tls is None:
            server = await loop.create_server(new_protocol, sock=self._listening, backlog=BACKLOG)
        else:
            server = TlsListener(self._listening, self._tls, new_protocol, free_slots)
        self.servers.append(server)

    async def on_tick(self, counter: int) -> bool:
        """Return whether to stop; called ten times a second."""
        return bool(self._should_stop()) or await super().on_tick(counter)


async def _nothing(_scope: object, _receive: object, _send: object) -> None:
    """Stand in for the ASGI application that uvicorn wants; it is never called."""


def _cannot_listen(host: str, port: int, error: OSError) -> ConfigError:
    return ConfigError(f"--host {host} --port {port}: nothing can listen there: {error.strerror}")


def _bound(host: str, port: int, *, shared: bool) -> socket.socket:
    if not 0 <= port <= MAX_PORT:
        # The C library would take the port modulo 65,536, and listen where nobody looks.
        raise ConfigError(f"--port {port}: a port is a number from 0 (any that is free) to {MAX_PORT}")
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    bound = socket.socket(family, kind, protocol)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        bound.bind(address)
    except OSError:
        bound.close()
        raise
    return bound


def _tls(certificate: Path, private_key: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(certificate, private_key)
    except OSError as error:
        raise ConfigError(
            f"--certificate {certificate} --private-key {private_key}: cannot be used: {error}"
        ) from None
    return context


def _settings() -> dict[str, Any]:
    return {
        "log_level": "warning",
        "access_log": False,
        "lifespan": "off",
        "server_header": False,
        "timeout_graceful_shutdown": GRACE_S,
        "timeout_keep_alive": IDLE_S,
    }
