"""Settings that the supervisor passes to a worker; a module without heavy imports."""

from __future__ import annotations

import msgspec

from fraud_detection.adapters.host.server_log import LogFormat

REFUSED = 2
"""Exit code of a worker that cannot start, and where a retry cannot help."""


class WorkerSettings(msgspec.Struct, frozen=True):
    """Settings of a worker: the options of `fraud serve`, and its number.

    folder: of the workers' sockets.  ids: descriptors of the shared memory with each worker's ids.  state:
    the name from which that of each state file is made.  profile_memory_mb: of each worker.
    """

    worker: int
    workers: int
    folder: str
    bundle: str
    state: str
    port: int
    max_queue: int
    max_connections: int
    profile_memory_mb: int
    host: str = "127.0.0.1"
    project: str | None = None
    keys: str | None = None
    certificate: str | None = None
    private_key: str | None = None
    synchronous: str = "normal"
    log_format: LogFormat = "text"
    registry: str | None = None
    ids: tuple[int, ...] = ()
