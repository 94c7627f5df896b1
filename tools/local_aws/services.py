"""Local services that speak AWS's protocols, for as long as a `with` block lasts.

They listen on the loopback address alone, keep everything in one folder, and hold state in memory:
what is stopped is forgotten.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from types import TracebackType
from typing import Self

from fraud_detection.core.errors import ConfigError, RetryError
from tools.local_aws.processes import LOOPBACK, Child, free_port

REGION = "eu-central-1"
HEALTH = "/_ministack/health"
LOOK_S = 0.02
STARTS = 3
"""Another program may take a free port before the services do; then another port is tried."""

NOWHERE = f"http://{LOOPBACK}:9"
TAIL_LINES = 15


class LocalServices:
    """Kinesis, S3, DynamoDB, SQS, CloudFormation, Lambda's control calls and more, on one port.

    tools: the environment that has the services (`make .venv-aws/.locked` makes it).
    folder: where they store files and their log.
    options: more variables for them, such as `AUTH`.
    """

    def __init__(
        self,
        tools: Path,
        folder: Path,
        *,
        timeout_s: float = 20.0,
        options: Mapping[str, str] | None = None,
    ) -> None:
        """Look for the services; raise ConfigError when they are not installed.  Starts nothing."""
        self.tools = tools.absolute()
        self.folder = folder.absolute()
        self.port = 0
        self._command = self.tools / "bin" / "ministack"
        self._timeout_s = timeout_s
        self._options = dict(options or {})
        self._child: Child | None = None
        if not self._command.exists():
            raise ConfigError(f"{self._command}: not found; run `make .venv-aws/.locked`, or `make aws-demo`")

    def __enter__(self) -> Self:
        """Start them, and return when they answer."""
        for _ in range(STARTS):
            self._start()
            try:
                if self._is_ready():
                    return self
            except BaseException:
                self.stop()
                raise
            self.stop()
        raise RetryError(
            f"the local services ended at once, {STARTS} times; their log ends in:\n{self.tail()}"
        )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop them."""
        self.stop()

    @property
    def pid(self) -> int:
        """Return the number of their process, 0 when they do not run."""
        return self._child.pid if self._child else 0

    @property
    def log(self) -> Path:
        """Return the file that they write to."""
        return self.folder / "services.log"

    def environment(self) -> dict[str, str]:
        """Return what leads an AWS client here, and nowhere else: no profile, no metadata, no way out."""
        return {
            "AWS_ENDPOINT_URL": f"http://{LOOPBACK}:{self.port}",
            "AWS_ACCESS_KEY_ID": "local",
            "AWS_SECRET_ACCESS_KEY": "local",
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": str(self.folder / "no-config"),
            "AWS_SHARED_CREDENTIALS_FILE": str(self.folder / "no-credentials"),
            # A client that goes elsewhere is sent to a port where nobody listens.
            "HTTP_PROXY": NOWHERE,
            "HTTPS_PROXY": NOWHERE,
            "NO_PROXY": f"{LOOPBACK},localhost",
        }

    def stop(self) -> None:
        """End them, by force after five seconds.  May be called again."""
        if self._child is not None:
            self._child.stop(grace_s=5.0)
            self._child = None

    def tail(self) -> str:
        """Return the last lines of their log."""
        text = self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""
        return "\n".join(text.splitlines()[-TAIL_LINES:])

    def _start(self) -> None:
        self.port = free_port()
        for name in ("state", "tmp", "home", "objects"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        with self.log.open("wb") as log:
            self._child = Child([str(self._command)], self._settings(), self.folder, log)

    def _settings(self) -> dict[str, str]:
        return {
            "PATH": f"{self.tools / 'bin'}:/usr/local/bin:/usr/bin:/bin",
            "HOME": str(self.folder / "home"),
            "TMPDIR": str(self.folder / "tmp"),
            "STATE_DIR": str(self.folder / "state"),
            "S3_DATA_DIR": str(self.folder / "objects"),
            "BIND_HOST": LOOPBACK,
            "GATEWAY_PORT": str(self.port),
            "MINISTACK_HOST": LOOPBACK,
            "MINISTACK_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
            "LOG_LEVEL": "WARNING",
            **self._options,
        }

    def _is_ready(self) -> bool:
        """Wait until they are healthy; return False when they end, raise RetryError after the timeout."""
        child, until = self._child, time.monotonic() + self._timeout_s
        while child is not None and child.running:
            if self._healthy():
                return True
            if time.monotonic() > until:
                raise RetryError(
                    f"the local services did not answer within {self._timeout_s:g} s; "
                    f"their log ends in:\n{self.tail()}"
                )
            time.sleep(LOOK_S)
        return False

    def _healthy(self) -> bool:
        connection = HTTPConnection(LOOPBACK, self.port, timeout=1.0)
        try:
            connection.request("GET", HEALTH)
            return connection.getresponse().status == 200  # noqa: PLR2004 - HTTP's own number
        except (OSError, HTTPException):
            return False
        finally:
            connection.close()
