"""How much memory a process may still take: what the machine has, or its container if that is less."""

from __future__ import annotations

import os
from pathlib import Path

_MEMINFO = Path("/proc/meminfo")
_CONTAINER = (
    # Of control groups, version 2 and version 1: the limit, the use, and what of the use is file cache.
    ("memory.max", "memory.current", "memory.stat", "inactive_file"),
    (
        "memory/memory.limit_in_bytes",
        "memory/memory.usage_in_bytes",
        "memory/memory.stat",
        "total_inactive_file",
    ),
)
_KIB = 1024


def available_memory(meminfo: Path = _MEMINFO, groups: Path = Path("/sys/fs/cgroup")) -> int:
    """Return the bytes that are free, or would be if file caches were dropped."""
    left = [_of_machine(meminfo)]
    for limit_name, used_name, statistics, cached_name in _CONTAINER:
        limit, used = _number(groups / limit_name), _number(groups / used_name)
        if limit is not None and used is not None:
            cached = _values(groups / statistics).get(cached_name, 0)
            left.append(max(limit - used + cached, 0))
    return min(left)


def _of_machine(meminfo: Path) -> int:
    available = _values(meminfo).get("MemAvailable:")
    if available is not None:
        return available * _KIB
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _values(path: Path) -> dict[str, int]:
    """Return the numbers of a file of lines that are a name, a number, and perhaps a unit."""
    if not path.is_file():
        return {}
    lines = (line.split() for line in path.read_text().splitlines())
    return {words[0]: int(words[1]) for words in lines if len(words) > 1}


def _number(path: Path) -> int | None:
    """Return the number that a file of the kernel holds; None where there is no file, or no limit."""
    if not path.is_file():
        return None
    text = path.read_text().strip()
    return int(text) if text.isdigit() else None
