"""A function in a process of its own, run by AWS's own runtime client, as Lambda runs it.

The process sees the function's variables, those that Lambda sets, and nothing else of this machine's.
A function that takes too long is killed; after that, and after a crash, the next invocation starts cold.
"""

from __future__ import annotations

import signal
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from fraud_detection.core.errors import ConfigError
from tools.local_aws.invocation import Invocation
from tools.local_aws.processes import Child
from tools.local_aws.runtime_api import (
    Exited,
    Happening,
    InitFailed,
    Ready,
    Responded,
    RuntimeApi,
    Work,
)

INIT_S = 10.0
"""How long Lambda lets a function load; it does not count against the function's own time-out."""

MAX_RESPONSE_BYTES = 6_291_556
"""What an answer may have in bytes, like an event: 6 MB, as Lambda counts them."""


class FunctionSettings(msgspec.Struct, frozen=True):
    """What Lambda knows about a function.

    variables: its environment.  timeout_s, memory_mb: limits, of which only the first is kept.
    """

    name: str
    arn: str
    handler: str
    variables: dict[str, str]
    timeout_s: float = 3.0
    memory_mb: int = 128
    runtime: str = "python3.12"
    version: str = "$LATEST"
    log_format: str = "Text"

    def environment(self, package: Path, runtime_api: str) -> dict[str, str]:
        """Return every variable that its process sees."""
        return {
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "LANG": "en_US.UTF-8",
            "TZ": ":UTC",
            "PYTHONPATH": str(package),
            "LAMBDA_TASK_ROOT": str(package),
            "_HANDLER": self.handler,
            "AWS_EXECUTION_ENV": f"AWS_Lambda_{self.runtime}",
            "AWS_LAMBDA_FUNCTION_NAME": self.name,
            "AWS_LAMBDA_FUNCTION_VERSION": self.version,
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(self.memory_mb),
            "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
            "AWS_LAMBDA_LOG_FORMAT": self.log_format,
            "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{self.name}",
            "AWS_LAMBDA_LOG_STREAM_NAME": f"{time.strftime('%Y/%m/%d')}/[{self.version}]{uuid.uuid4().hex}",
            "AWS_LAMBDA_RUNTIME_API": runtime_api,
            **self.variables,
        }


class FunctionRuntime:
    """One execution environment: a process that takes one event after the other.

    tools: the environment that has the runtime client.  package: the unzipped function.
    endpoints: variables that lead its clients to local services, as `LocalServices.environment` gives.
    log: takes each line that the function prints, as it comes, from another thread.
    """

    def __init__(
        self,
        tools: Path,
        settings: FunctionSettings,
        package: Path,
        endpoints: Mapping[str, str],
        log: Callable[[bytes], object],
    ) -> None:
        """Check that there is a runtime client; the first invocation starts it."""
        self.settings = settings
        self.cold_starts = 0
        self.init_s = 0.0
        """How long the last cold start took."""
        self._python = tools.absolute() / "bin" / "python"
        self._package, self._endpoints, self._log = package.absolute(), dict(endpoints), log
        self._process: _Process | None = None
        if not self._python.exists():
            raise ConfigError(f"{self._python}: not found; run `make .venv-aws/.locked`, or `make aws-demo`")

    def invoke(self, event: bytes, timeout_s: float | None = None) -> Invocation:
        """Return what the function answered to an event of JSON, within `timeout_s` or its own limit."""
        request_id, began = str(uuid.uuid4()), time.perf_counter()
        process, cold = self._ready_process()
        limit_s = self.settings.timeout_s if timeout_s is None else timeout_s
        happened = process.begin(INIT_S)
        if cold:
            self.init_s = time.perf_counter() - began
            began = time.perf_counter()
        if isinstance(happened, Ready):
            deadline_ms = int(1000 * (time.time() + limit_s))
            process.api.give(Work(request_id, event, deadline_ms, self.settings.arn))
            happened = process.api.wait(limit_s)
        else:
            limit_s = INIT_S
        if not isinstance(happened, Responded):
            self.close()
        result = _result(request_id, happened, limit_s)
        return msgspec.structs.replace(result, cold=cold, seconds=time.perf_counter() - began)

    @property
    def pid(self) -> int:
        """Return the number of its process, 0 when there is none."""
        process = self._process
        return 0 if process is None else process.child.pid

    def kill(self) -> None:
        """Kill its process by kill -9, in the middle of whatever it does; may be called by any thread."""
        process = self._process
        if process is not None:
            process.child.kill()

    def close(self) -> None:
        """End its process; the next invocation starts another."""
        if self._process is not None:
            self._process.close()
            self._process = None

    def _ready_process(self) -> tuple[_Process, bool]:
        if self._process is not None and self._process.child.running:
            return self._process, False
        self.close()
        api = RuntimeApi()
        environment = self.settings.environment(self._package, api.address) | self._endpoints
        command = [str(self._python), "-m", "awslambdaric", self.settings.handler]
        self._process = _Process(api, Child(command, environment, self._package, subprocess.PIPE), self._log)
        self.cold_starts += 1
        return self._process, True


class _Process:
    """A child, its API, and the threads that read what it prints and wait for its end."""

    def __init__(self, api: RuntimeApi, child: Child, log: Callable[[bytes], object]) -> None:
        self.api, self.child, self._log = api, child, log
        self._begun = False
        self._threads = [threading.Thread(target=each, daemon=True) for each in (self._read, self._await)]
        for thread in self._threads:
            thread.start()

    def begin(self, timeout_s: float) -> Happening | None:
        """Return Ready once it has loaded the function, or what happened in place of that."""
        if self._begun:
            return Ready()
        happened = self.api.wait(timeout_s)
        self._begun = isinstance(happened, Ready)
        return happened

    def close(self) -> None:
        self.child.stop()
        self.api.close()
        for thread in self._threads:
            thread.join()

    def _read(self) -> None:
        printed = self.child.process.stdout
        if printed is not None:
            with printed:
                for line in printed:
                    self._log(line.rstrip(b"\n"))

    def _await(self) -> None:
        self.api.post(Exited(self.child.process.wait()))


def _result(request_id: str, happened: Happening | None, limit_s: float) -> Invocation:
    """Say in Lambda's words what happened."""
    match happened:
        case Responded(payload=payload, is_error=False) if len(payload) > MAX_RESPONSE_BYTES:
            return Invocation.failed(
                request_id,
                "Function.ResponseSizeTooLarge",
                f"Response payload size exceeded {MAX_RESPONSE_BYTES} bytes",
            )
        case Responded(payload=payload, is_error=False):
            return Invocation(request_id, payload)
        case Responded(payload=payload) | InitFailed(payload=payload):
            return Invocation.raised(request_id, payload)
        case Exited(code=code):
            how = f"signal: {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"
            return Invocation.failed(request_id, "Runtime.ExitError", f"Runtime exited with error: {how}")
    return Invocation.failed(request_id, "Sandbox.Timedout", f"Task timed out after {limit_s:.2f} seconds")
