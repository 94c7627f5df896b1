"""What a load is sent to: an address, and the requests that are made there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec


class Target(msgspec.Struct, frozen=True):
    """A server that answers, and what it is asked: one body a request, over and over.

    name: as tables and charts show it.  once: a body that was sent before is answered without the work.
    certificate: a file of the one that is trusted over TLS; without one the connections are plain.
    """

    name: str
    host: str
    port: int
    path: str
    content_type: str
    bodies: Sequence[bytes]
    once: bool = False
    certificate: str = ""


class Server(Protocol):
    """Something that can be started, measured and stopped, such as `fraud serve` or a comparison server."""

    name: str

    def start(self) -> Target:
        """Start it and wait until it answers; raise ConfigError with its last output when it does not."""

    def stop(self) -> None:
        """End it with every process that it started.  May be called again."""
