"""What figures are measured on, and what a process takes of it."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from pathlib import Path

import msgspec

from fraud_detection.core import metrics

UNKNOWN = "unknown"


class Machine(msgspec.Struct, frozen=True):
    """What was measured on: date in UTC, load_average of the minute before, compiled: the hot modules."""

    cpu: str
    cores: int
    memory_gb: float
    system: str
    python: str
    compiled: bool
    commit: str
    date: str
    load_average: float

    def describe(self) -> str:
        """Return all of it in one line."""
        how = "hot modules compiled" if self.compiled else "plain Python"
        return (
            f"{self.cpu}, {self.cores} cores, {self.memory_gb:.0f} GB, {self.system}, Python {self.python}, "
            f"{how}, commit {self.commit}, {self.date}, load average before {self.load_average:.1f}"
        )


class Memory(msgspec.Struct, frozen=True):
    """What a process holds in memory, in MB: its own, and pages of files that are mapped."""

    own_mb: float
    files_mb: float

    @property
    def resident_mb(self) -> float:
        """Return both together, as `ps` shows them."""
        return self.own_mb + self.files_mb


class Meter:
    """Measures how much of the machine others took while something was measured here."""

    def __init__(self) -> None:
        """Begin now."""
        self._began, self._busy, self._own = time.perf_counter(), _busy_s(), _own_s()

    def elsewhere(self) -> float:
        """Return the share of all cores that went neither to this process nor to its ended children."""
        busy, own = _busy_s() - self._busy, _own_s() - self._own
        cores = os.cpu_count() or 1
        return max(busy - own, 0.0) / (cores * (time.perf_counter() - self._began))


def _busy_s() -> float:
    """Return how long all cores were at work since the start of the machine, in seconds."""
    stat = Path("/proc/stat")
    if not stat.exists():
        return 0.0
    user, nice, system, _idle, _wait, *interrupts = map(int, stat.read_text().split("\n", 1)[0].split()[1:8])
    return (user + nice + system + sum(interrupts)) / os.sysconf("SC_CLK_TCK")


def _own_s() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def machine() -> Machine:
    """Return this machine, and the commit of the folder in which the command runs."""
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return Machine(
        cpu=_cpu(),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        memory_gb=pages / 1e9,
        system=f"{platform.system()} {platform.machine()}",
        python=platform.python_version(),
        compiled=not str(metrics.__file__).endswith(".py"),
        commit=_commit(),
        date=time.strftime("%Y-%m-%d", time.gmtime()),
        load_average=os.getloadavg()[0],
    )


def memory_of(pid: int | str = "self") -> Memory:
    """Return what a process holds; zeros where the system does not say (Linux does)."""
    status = Path(f"/proc/{pid}/status")
    if not status.exists():
        return Memory(0.0, 0.0)
    lines = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
    own, mapped = (int(lines.get(name, "0 kB").split()[0]) * 1024 / 1e6 for name in ("RssAnon", "RssFile"))
    return Memory(own, mapped)


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or UNKNOWN


def _commit() -> str:
    command = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    try:
        completed = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - git
    except FileNotFoundError:
        return UNKNOWN
    return completed.stdout.strip() or UNKNOWN
