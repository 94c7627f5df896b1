"""What a worker and the process that starts it agree on; neither's own libraries are needed for that."""

from __future__ import annotations

import msgspec

from fraud_detection.adapters.host.server_log import LogFormat

REFUSED = 2
"""The code with which a worker ends that could not start, whatever is tried again."""


class WorkerSettings(msgspec.Struct, frozen=True):
    """What a worker needs to know: the options of `fraud serve`, and which of how many it is.

    folder: where the workers meet.  ids: descriptors of the memory where each worker shows its ids.  state:
    the name from which that of each state file is made.
    """

    worker: int
    workers: int
    folder: str
    bundle: str
    state: str
    port: int
    max_queue: int
    max_connections: int
    host: str = "127.0.0.1"
    project: str | None = None
    keys: str | None = None
    certificate: str | None = None
    private_key: str | None = None
    synchronous: str = "normal"
    log_format: LogFormat = "text"
    registry: str | None = None
    ids: tuple[int, ...] = ()
