"""What a command takes: wall time, CPU time, memory of all its processes together, and files it hands on."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import msgspec

from fraud_detection.core.errors import ConfigError

LOOK_EVERY_S = 0.5
KB_A_MB = 1000


class Usage(msgspec.Struct, frozen=True):
    """What a command took.

    cpu_s: of all its processes.  peak_mb: proportional set size of all processes at one moment: pages that
    several of them share count once.  scratch_mb: the most that files of the scratch folders held.
    """

    wall_s: float
    cpu_s: float
    peak_mb: float
    scratch_mb: float


def run_measured(
    command: Sequence[str], scratch: Path, pattern: str, output: BinaryIO | None = None
) -> Usage:
    """Run a command; raise ConfigError where it fails.

    scratch, pattern: where it keeps files for a while, as a folder and a glob pattern in it.  output: where
    the command writes; the same as this process where none is given.
    """
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=output)  # noqa: S603 - a command of this project
    sampler = _Sampler(process.pid, scratch, pattern)
    sampler.start()
    _, status, used = os.wait4(process.pid, 0)
    wall_s = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    sampler.stop()
    if process.returncode:
        raise ConfigError(f"{' '.join(command)}: ended with {process.returncode}; what it said is above")
    return Usage(wall_s, used.ru_utime + used.ru_stime, sampler.peak_mb, sampler.scratch_mb)


class _Sampler(threading.Thread):
    """Looks at a process and its descendants again and again."""

    def __init__(self, pid: int, scratch: Path, pattern: str) -> None:
        super().__init__(daemon=True)
        self._pid, self._scratch, self._pattern = pid, scratch, pattern
        self._stopped = threading.Event()
        self.peak_mb = self.scratch_mb = 0.0

    def run(self) -> None:
        while not self._stopped.wait(LOOK_EVERY_S):
            self.peak_mb = max(self.peak_mb, sum(map(_pss_kb, _tree(self._pid))) / KB_A_MB)
            self.scratch_mb = max(self.scratch_mb, _bytes_in(self._scratch, self._pattern) / 1e6)

    def stop(self) -> None:
        self._stopped.set()
        self.join()


def _tree(pid: int) -> list[int]:
    """Return a process and its descendants that are there now."""
    pids = [pid]
    for parent in pids:
        for task in Path(f"/proc/{parent}/task").glob("*/children"):
            pids += _numbers(task)
    return pids


def _numbers(path: Path) -> list[int]:
    try:
        return [int(number) for number in path.read_text().split()]
    except OSError:
        return []  # it has ended


def _pss_kb(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0  # it has ended
    return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)


def _bytes_in(folder: Path, pattern: str) -> int:
    total = 0
    for path in folder.glob(pattern):
        try:
            total += path.stat().st_size
        except OSError:
            continue  # it was removed meanwhile
    return total
