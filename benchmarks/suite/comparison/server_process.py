"""A comparison server: one server of another kind, started, checked, measured and stopped."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Sequence
from contextlib import ExitStack
from http.client import HTTPConnection, HTTPException
from importlib.metadata import distributions
from pathlib import Path

import msgspec

from benchmarks.load_generator.target import Target
from benchmarks.suite.comparison import sweeper
from benchmarks.suite.comparison.kind import HOST, Kind, Model, RunContext
from fraud_detection.core.errors import ConfigError, RetryError
from tools.local_aws.processes import Child

JSON = "application/json"
OK = 200
CHECKED = 20
TOLERANCE = 1e-5
TIMEOUT_S = 90.0
GRACE_S = 10.0
LOOK_S = 0.05
TAIL_LINES = 20
SETTINGS = {
    # One row is scored quickest by one thread, and the others are left to the server.
    "OMP_NUM_THREADS": "1",
    "BENTOML_DO_NOT_TRACK": "True",
    "DO_NOT_TRACK": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "LANG": "C.UTF-8",
}


class Work(msgspec.Struct, frozen=True):
    """What every comparison server is given: the model, rows of features, and the scores that it must find.

    scores: the model's own probabilities, before any calibration.
    """

    model: Model
    rows: Sequence[Sequence[float]]
    scores: Sequence[float]


class ComparisonServer:
    """A server of its own environment, in one folder, with all its processes.

    environment: made by `make comparison-servers`.  folder: is emptied first.
    """

    def __init__(
        self, kind: Kind, work: Work, environment: Path, folder: Path, timeout_s: float = TIMEOUT_S
    ) -> None:
        """Look for its environment; raise ConfigError when that is not whole.  Starts nothing."""
        self.kind, self.work = kind, work
        self.name = kind.title
        self.run_id = uuid.uuid4().hex
        self.environment, self.folder = environment.absolute(), folder.absolute()
        self._timeout_s = timeout_s
        self._child: Child | None = None
        self._sweeper: subprocess.Popen[bytes] | None = None
        if not (self.environment / ".locked").exists():
            raise ConfigError(
                f"{self.environment}: the environment of {self.name} is not there; "
                "run `make comparison-servers`"
            )

    @property
    def log(self) -> Path:
        """Return the file that takes what it says."""
        return self.folder / "server.log"

    def versions(self) -> dict[str, str]:
        """Return the versions of what it is made of, by package."""
        path = [str(path) for path in self.environment.glob("lib/python*/site-packages")]
        versions = {distribution.name: distribution.version for distribution in distributions(path=path)}
        return {package: versions[package] for package in self.kind.packages}

    def start(self) -> Target:
        """Start it anew, wait until it answers, and compare its scores; return where rows are sent.

        Raises ConfigError with its last output when it does not come up, or its scores are not ours.
        """
        self.stop()
        try:
            context = self._run_context()
            *before, serve = self.kind.prepare(context, self.work.model)
            self._start_sweeper()
            for command in before:
                self._run(command)
            self._child = self._begin(serve)
            self._wait(context.ports[0])
            target = self._target(context.ports[0])
            self._compare(target)
        except BaseException:
            self.stop()
            raise
        return target

    def stop(self) -> None:
        """End it with every process that it started.  May be called again."""
        if self._child is not None:
            self._child.stop(GRACE_S)
            self._child = None
        if self._sweeper is not None:
            self._sweeper.communicate()
            left = self._sweeper.returncode
            self._sweeper = None
            if left:
                raise RetryError(
                    f"{self.name}: {left} of its processes cannot be ended; look for {self.run_id}"
                )

    def tail(self) -> str:
        """Return its last output."""
        output = self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""
        return "\n".join(output.splitlines()[-TAIL_LINES:])

    def _run_context(self) -> RunContext:
        if self.folder.exists():
            shutil.rmtree(self.folder)
        for name in ("home", "tmp"):
            (self.folder / name).mkdir(parents=True)
        return RunContext(self.environment, self.folder, _free_ports())

    def _start_sweeper(self) -> None:
        self._sweeper = subprocess.Popen(  # noqa: S603 - our own module
            [sys.executable, "-I", sweeper.__file__, self.run_id],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )

    def _begin(self, command: Sequence[str]) -> Child:
        variables = {
            "PATH": f"{self.environment / 'bin'}:/usr/local/bin:/usr/bin:/bin",
            "HOME": str(self.folder / "home"),
            "TMPDIR": str(self.folder / "tmp"),
            sweeper.VARIABLE: self.run_id,
        }
        with self.log.open("ab") as log:
            return Child(command, SETTINGS | variables, self.folder, log)

    def _run(self, command: Sequence[str]) -> None:
        """Run a command that prepares it, to its end."""
        self._child, text = self._begin(command), " ".join(command)
        try:
            code = self._child.process.wait(self._timeout_s)
        except subprocess.TimeoutExpired:
            raise self._failure(f"`{text}` did not end within {self._timeout_s:g} s") from None
        if code:
            raise self._failure(f"`{text}` ended with {code}")
        self._child.stop()

    def _wait(self, port: int) -> None:
        until = time.monotonic() + self._timeout_s
        while not _is_ready(port, self.kind.ready):
            if self._child is None or not self._child.running:
                raise self._failure("it ended before it answered")
            if time.monotonic() > until:
                raise self._failure(f"it did not answer at {self.kind.ready} within {self._timeout_s:g} s")
            time.sleep(LOOK_S)

    def _target(self, port: int) -> Target:
        columns = self.work.model.columns
        bodies = [self.kind.body(columns, row) for row in self.work.rows]
        return Target(self.name, HOST, port, self.kind.path, JSON, bodies)

    def _compare(self, target: Target) -> None:
        """Raise ConfigError unless it finds our scores: another model would be no comparison."""
        connection = HTTPConnection(target.host, target.port, timeout=self._timeout_s)
        try:
            for row in evenly(self.work.scores, CHECKED):
                ours, theirs = self.work.scores[row], self._score_over_http(connection, target, row)
                # Written so that NaN fails too.
                if not abs(theirs - ours) <= TOLERANCE:
                    raise self._failure(
                        f"it scores row {row} {theirs}, here it is {ours}: not the same model"
                    )
        finally:
            connection.close()

    def _score_over_http(self, connection: HTTPConnection, target: Target, row: int) -> float:
        try:
            connection.request("POST", target.path, target.bodies[row], {"content-type": target.content_type})
            response = connection.getresponse()
            body = response.read()
            if response.status != OK:
                raise self._failure(f"it answers row {row} with {response.status}: {body[:300]!r}")
            return self.kind.score(body)
        except (OSError, HTTPException, msgspec.DecodeError) as error:
            raise self._failure(f"its answer to row {row} cannot be read: {error}") from None

    def _failure(self, message: str) -> ConfigError:
        return ConfigError(
            f"{self.name}: {message}; nothing was measured. {self.log} ends in:\n{self.tail()}"
        )


def evenly(scores: Sequence[float], count: int) -> list[int]:
    """Return the indices of `count` scores from the lowest to the highest, evenly by rank.

    >>> evenly([0.3, 0.1, 0.2, 0.9], 2)
    [1, 3]
    """
    ranked = sorted(range(len(scores)), key=scores.__getitem__)
    if len(ranked) <= count:
        return ranked
    return [ranked[round(rank * (len(ranked) - 1) / (count - 1))] for rank in range(count)]


def _is_ready(port: int, path: str) -> bool:
    connection = HTTPConnection(HOST, port, timeout=2.0)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == OK
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


def _free_ports() -> tuple[int, int, int]:
    """Return three ports of the loopback address that nobody listens on; held together, they differ."""
    with ExitStack() as held:
        listeners = [held.enter_context(socket.socket()) for _ in range(3)]
        for listener in listeners:
            listener.bind((HOST, 0))
        first, second, third = (int(listener.getsockname()[1]) for listener in listeners)
        return first, second, third
