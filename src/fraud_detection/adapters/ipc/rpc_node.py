"""All RPC connections of one worker: it listens, and stays connected to each of its peers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from fraud_detection.adapters.host.background import Background
from fraud_detection.adapters.host.private_files import FILE_MODE
from fraud_detection.adapters.ipc.rpc import TIMEOUT_S, RequestHandler, RpcClient, RpcServerConnection

CONNECTED = "connected"


class RpcNode:
    """All RPC connections of one worker: `clients` by the number of the peer."""

    def __init__(
        self,
        own: int,
        workers: int,
        folder: Path,
        handler: RequestHandler,
        changed: Callable[[int], None],
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        """Name the workers; `changed` is called with a peer's number when it connects or disconnects."""
        self.own, self._folder, self._handler = own, folder, self._with_connected(handler)
        others = [worker for worker in range(workers) if worker != own]
        self.clients: Mapping[int, RpcClient] = {
            worker: RpcClient(own, worker, socket_of(folder, worker), changed, timeout_s) for worker in others
        }
        self._keepers: list[asyncio.Task[None]] = []
        self._connections: list[RpcServerConnection] = []
        self._server: asyncio.AbstractServer | None = None

    @property
    def connected(self) -> bool:
        """Return whether all peers are connected."""
        return all(client.connected for client in self.clients.values())

    async def all_connected(self) -> bool:
        """Return whether every worker is connected to every other one, as each of them says itself.

        A request that this worker forwards may need a call between two others, or one back to this worker.
        """
        if not self.connected:
            return False
        calls = [client.call(CONNECTED, None) for client in self.clients.values()]
        return all(reply is True for reply in await asyncio.gather(*calls, return_exceptions=True))

    def _with_connected(self, handler: RequestHandler) -> RequestHandler:
        async def handle(worker: int, what: str, body: Any) -> Any:  # noqa: ANN401 - each kind has its own
            return self.connected if what == CONNECTED else await handler(worker, what, body)

        return handle

    async def open(self, background: Background | None = None) -> None:
        """Listen, and connect to all peers as background work, which reconnects."""
        path = socket_of(self._folder, self.own)
        # A worker that was killed has left its own behind.
        path.unlink(missing_ok=True)
        loop = asyncio.get_running_loop()
        self._server = await loop.create_unix_server(self._accept, str(path))
        path.chmod(FILE_MODE)
        self._keepers = [
            (background or Background()).task(f"rpc-{worker}", client.stay_connected)
            for worker, client in self.clients.items()
        ]

    def notify(self, what: str, body: object) -> None:
        """Send a notification to all other workers."""
        for client in self.clients.values():
            client.notify(what, body)

    def _accept(self) -> RpcServerConnection:
        self._connections = [connection for connection in self._connections if not connection.over] + [
            RpcServerConnection(self._handler)
        ]
        return self._connections[-1]

    async def close(self) -> None:
        """Close all connections."""
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        for client in self.clients.values():
            client.close()
        for connection in self._connections:
            connection.close()
        if self._server is not None:
            self._server.close()


def socket_of(folder: Path, worker: int) -> Path:
    """Return where a worker listens for the others."""
    return folder / f"{worker}.sock"
