"""The ways of serving as real processes, with SIGTERM and kill -9 between the parts and within them."""

from __future__ import annotations

import fcntl
import json
import signal
import subprocess
import sys
import termios
import time
from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import IO

from fraud_detection.adapters.sqlite.replication_log import ReplicationLog
from fraud_detection.adapters.sqlite.state_file import StateFile
from fraud_detection.core.decoding import to_plain
from fraud_detection.serving.workers.ownership import Ownership, worker_path
from tests.functional.http.test_service import Served
from tests.functional.workers.test_workers import HttpClient, alive, children, until
from tests.states import made
from tests.ways_of_serving import (
    EVERYTHING,
    Before,
    Case,
    Part,
    Result,
    WayOfServing,
    by_process,
    listed,
    plain,
    read_response,
    requests_of,
    turns_of,
)

ONCE = EVERYTHING - {"duplicate"}
"""What a file of decisions holds after a kill: of duplicates the state keeps no trace."""


def command_arguments(case: Case, folder: Path) -> list[str]:
    config = folder / "params.yaml"
    config.write_text(json.dumps(to_plain(case.project)))
    return [f"--bundle={case.bundle}", f"--config={config}"]


class RunWay:
    """`fraud run` over a file that grows, or a pipe; a kill comes at any moment of a process over a file."""

    kinds = ONCE

    def __init__(self, *, pipe: bool) -> None:
        self.pipe = pipe
        self.name = "process, pipe" if pipe else "process, file"

    def decide(self, case: Case, cuts: Sequence[Part], folder: Path) -> Result:
        path, out, chance = folder / "events.jsonl", folder / "out.jsonl", Random(len(cuts))
        path.touch()
        source = "-" if self.pipe else str(path)
        command = [sys.executable, "-m", "fraud_detection.cli", "run", *command_arguments(case, folder)]
        command += [f"--source={source}", f"--state={made(folder / 's.db')}", f"--out={out}", "--plain"]
        processes = by_process(cuts)
        for number, parts in enumerate(processes):
            last = processes[number + 1][0].before if number + 1 < len(processes) else "closed"
            events = [event + b"\n" for event in case.events[parts[0].start : parts[-1].stop]]
            if self.pipe:
                self._through_pipe(command, events, out, last)
            else:
                with path.open("ab") as file:
                    file.writelines(events)
                if last == "killed":
                    self._killed(command, chance.uniform(0.3, 1.2))
                # Whatever was left of it, the next one takes it up.
                subprocess.run(command, check=True, capture_output=True)  # noqa: S603 - ours
        lines = [plain(case, line) for line in out.read_bytes().splitlines()]
        return Result(in_order(lines))

    @staticmethod
    def _killed(command: Sequence[str], after_s: float) -> None:
        with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:  # noqa: S603 - ours
            time.sleep(after_s)
            process.kill()

    @staticmethod
    def _through_pipe(command: Sequence[str], events: Sequence[bytes], out: Path, last: Before) -> None:
        with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:  # noqa: S603 - ours
            assert process.stdin is not None
            process.stdin.write(b"".join(events))
            process.stdin.flush()
            if last == "killed":
                # What was answered is kept; nobody could tell what of the rest was read.
                until(lambda: unread(process.stdin) == 0 and is_quiet(out))
                process.kill()
            else:
                process.stdin.close()
                assert process.wait(60) == 0


def unread(pipe: IO[bytes] | None) -> int:
    """Return how many bytes of a pipe nobody has read yet."""
    assert pipe is not None
    found = array("i", [0])
    fcntl.ioctl(pipe, termios.FIONREAD, found)
    return found[0]


def is_quiet(out: Path) -> bool:
    """Return whether a file is there and does not grow for a second: of duplicates it gets no line."""
    before = out.stat().st_size if out.exists() else 0
    time.sleep(1)
    return before > 0 and out.stat().st_size == before


def in_order(lines: Sequence[tuple[str, str]]) -> dict[int, tuple[str, str]]:
    """Return what was told by its index among all that was told once."""
    return dict(enumerate(line for line in lines if line[0] in ONCE))


class ServeWay:
    """`fraud serve`: one process and lists, or workers, each event at its owner; killed with all it has."""

    kinds = EVERYTHING

    def __init__(self, workers: int = 1) -> None:
        self.workers = workers
        self.name = "process, http" if workers == 1 else f"process, {workers} workers"

    def decide(self, case: Case, cuts: Sequence[Part], folder: Path) -> Result:
        result = Result()
        arguments = [word for word in command_arguments(case, folder) if word.startswith("--config")]
        if self.workers > 1:
            arguments.append(f"--workers={self.workers}")
        processes = by_process(cuts)
        for number, parts in enumerate(processes):
            last = processes[number + 1][0].before if number + 1 < len(processes) else "closed"
            with serving(case, folder / "s.db", arguments, last) as server:
                for indices in self._requests(case, parts):
                    self._request(server, case, indices, result)
                    while self.workers > 1 and not self._replicated(folder / "s.db"):
                        assert server.process.poll() is None
        return result

    def _requests(self, case: Case, parts: Sequence[Part]) -> Iterator[range]:
        ownership = Ownership(case.project.schema, self.workers)
        for part in parts:
            if self.workers == 1:
                yield from requests_of(case, part, alone=False)
                continue
            for _, indices in turns_of(case, ownership, part):
                yield from requests_of(case, Part(indices[0], indices[-1] + 1), alone=False)

    def _request(self, server: Served, case: Case, positions: range, result: Result) -> None:
        body = case.events[positions[0]] if len(positions) == 1 else listed(case, positions)
        # Whoever is asked: the next line may lead to another worker.
        client = HttpClient(server.port)
        client._connection.request("POST", "/v1/decisions", body, {"Idempotency-Key": f"k{positions[0]}"})
        with client._connection.getresponse() as response:
            read_response(case, positions, response.read(), result)
        client.close()

    def _replicated(self, state: Path) -> bool:
        state_files = [
            StateFile(worker_path(state, worker, self.workers), reading=True)
            for worker in range(self.workers)
        ]
        try:
            return all(
                not any(
                    True
                    for _ in state_files[other_worker].since(
                        ReplicationLog(state_files[own].database).reached(other_worker)
                    )
                )
                for own in range(self.workers)
                for other_worker in range(self.workers)
                if own != other_worker
            )
        finally:
            for state_file in state_files:
                state_file.close()


@contextmanager
def serving(case: Case, state: Path, arguments: Sequence[str], last: Before) -> Iterator[Served]:
    server = Served(case.simulation, state, *arguments)
    try:
        server.wait()
        yield server
    finally:
        workers = children(server.process.pid)
        server.stop(signal.SIGKILL if last == "killed" else signal.SIGTERM)
        until(lambda: not any(alive(worker) for worker in workers))


PROCESSES: list[WayOfServing] = [RunWay(pipe=False), RunWay(pipe=True), ServeWay(), ServeWay(2)]
