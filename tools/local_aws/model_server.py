"""The endpoint's container without a container: its entry point, fed with the archive that was deployed."""

from __future__ import annotations

import os
import sys
import time
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from types import TracebackType
from typing import Self

from fraud_detection.core.errors import ConfigError
from fraud_detection.core.score.archive import unpack
from tools.local_aws.processes import LOOPBACK, Child, free_port

COMMAND = [sys.executable, "-m", "fraud_detection.cli.container", "serve"]
TIMEOUT_S = 30.0
LOOK_S = 0.05
TAIL_LINES = 15


class ModelServer:
    """Serves a model archive for as long as a `with` block lasts, as SageMaker would start it.

    folder: stands for /opt/ml, and takes the log.
    """

    def __init__(self, archive: bytes, folder: Path) -> None:
        """Unpack the archive, as SageMaker does."""
        self.port = free_port()
        self.log = folder / "model-server.log"
        self._folder = folder
        self._child: Child | None = None
        self.put(archive)

    def put(self, archive: bytes) -> None:
        """Put another model in the old one's place; the next start serves it."""
        model = self._folder / "model"
        model.mkdir(parents=True, exist_ok=True)
        for name, content in unpack(archive, "model archive").items():
            (model / name).write_bytes(content)

    def __enter__(self) -> Self:
        """Start it, and return when it answers."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop it."""
        self.stop()

    def environment(self) -> dict[str, str]:
        """Return what leads a client of SageMaker's runtime here."""
        return {"AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME": f"http://{LOOPBACK}:{self.port}"}

    def start(self) -> None:
        """Start it on its port."""
        settings = {
            "FRAUD_ROOT": str(self._folder),
            "FRAUD_HOST": LOOPBACK,
            "SAGEMAKER_BIND_TO_PORT": str(self.port),
            "OMP_WAIT_POLICY": "PASSIVE",
        }
        inherited = {name: os.environ[name] for name in ("PATH", "PYTHONPATH", "HOME") if name in os.environ}
        with self.log.open("ab") as log:
            self._child = Child(COMMAND, inherited | settings, self._folder, log)
        until = time.monotonic() + TIMEOUT_S
        while not self.is_ready():
            if not self._child.running or time.monotonic() > until:
                self.stop()
                raise ConfigError(f"the model's server did not start; its log ends in:\n{self.tail()}")
            time.sleep(LOOK_S)

    def stop(self) -> None:
        """End it; a request in hand is answered first.  May be called again."""
        if self._child is not None:
            self._child.stop(grace_s=5.0)
            self._child = None

    def tail(self) -> str:
        """Return the last lines of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-TAIL_LINES:])

    def is_ready(self) -> bool:
        """Return whether it answers a ping."""
        connection = HTTPConnection(LOOPBACK, self.port, timeout=1.0)
        try:
            connection.request("GET", "/ping")
            return connection.getresponse().status == 200  # noqa: PLR2004 - HTTP's own number
        except (OSError, HTTPException):
            return False
        finally:
            connection.close()
