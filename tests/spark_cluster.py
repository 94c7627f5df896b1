"""A standalone cluster of Spark on this machine: a master, and workers with one core each."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.conftest import SPARK

WAIT_S = 120
EXECUTOR = b"CoarseGrainedExecutorBackend"


class Cluster:
    """Processes of a master and its workers; each worker has a folder of its own."""

    def __init__(self, url: str, workers: list[tuple[subprocess.Popen[bytes], Path]]) -> None:
        self.url, self._workers = url, workers

    def executor_of(self, worker: int) -> int | None:
        """Return the process id of the executor that a worker has started."""
        [*found] = filter(_is_executor, _children(self._workers[worker][0].pid))
        return found[0] if found else None

    def files_of(self, worker: int, pattern: str) -> list[Path]:
        """Return files that a worker's executors have written."""
        return list(self._workers[worker][1].rglob(pattern))


@contextmanager
def cluster(folder: Path, workers: int = 2) -> Iterator[Cluster]:
    """Start a cluster, and stop all that it started."""
    port = _free_port()
    url = f"spark://127.0.0.1:{port}"
    with ExitStack() as stack:
        name = "org.apache.spark.deploy.master.Master"
        _started(stack, folder / "master", name, "--host", "127.0.0.1", "--port", port, "--webui-port", 0)
        _until(lambda: _listens(port), "the master does not listen")
        made = []
        for number in range(workers):
            own = folder / f"worker-{number}"
            options = ("--host", "127.0.0.1", "--webui-port", 0, "--cores", 1, "--memory", "1g")
            name = "org.apache.spark.deploy.worker.Worker"
            made.append((_started(stack, own, name, *options, "--work-dir", own, url), own))
        for _, own in made:
            log = own / "log"
            _until(lambda log=log: "registered with master" in log.read_text(), f"{log}: not registered")  # type: ignore[misc]
        yield Cluster(url, made)


def _started(stack: ExitStack, folder: Path, name: str, *arguments: object) -> subprocess.Popen[bytes]:
    folder.mkdir(parents=True)
    [package] = (SPARK / "lib").glob("python*/site-packages/pyspark")
    environment = os.environ | {
        "SPARK_HOME": str(package),
        "SPARK_LOCAL_DIRS": str(folder),
        "SPARK_DAEMON_MEMORY": "256m",
        "PYSPARK_PYTHON": str(SPARK / "bin/python"),
    }
    log = stack.enter_context((folder / "log").open("wb"))
    process = subprocess.Popen(  # noqa: S603 - our own command
        [package / "bin/spark-class", name, *map(str, arguments)],
        env=environment,
        stdout=log,
        stderr=log,
        start_new_session=True,
    )
    stack.callback(_stop, process)
    return process


def _stop(process: subprocess.Popen[bytes]) -> None:
    for pid in _children(process.pid):
        _signal(pid, signal.SIGKILL)
    _signal(process.pid, signal.SIGKILL)
    process.wait(WAIT_S)


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def _children(pid: int) -> list[int]:
    """Return the processes that a process has started and that are still there."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = re.search(r"\) \w (\d+)", path.read_text())
        except (FileNotFoundError, ProcessLookupError):
            continue
        if parent is not None and int(parent[1]) == pid:
            found.append(int(path.parent.name))
    return found


def _is_executor(pid: int) -> bool:
    try:
        return EXECUTOR in Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return False


def _listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def _free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])


def _until(done: Callable[[], bool], otherwise: str) -> None:
    until = time.monotonic() + WAIT_S
    while not done():
        if time.monotonic() > until:
            raise TimeoutError(otherwise)
        time.sleep(0.1)
