"""Ends every process that carries a run id: `python sweeper.py RUN_ID`, when its standard input ends.

A server's children leave their parent's group (BentoML's do), and outlive a parent that is killed.  They
keep the variables that they were started with, and by these they are found.  Standard input is a pipe of
whoever started the server: it ends when that process ends, however it does.  Only the standard library is
imported: it waits beside every measurement.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

VARIABLE = "FRAUD_COMPARISON"
ROUNDS = 200
LOOK_S = 0.02


def processes_of(run_id: str) -> set[int]:
    """Return the processes that were started with the run id."""
    wanted, pids = f"{VARIABLE}={run_id}".encode(), set()
    for folder in Path("/proc").iterdir():
        # What ends meanwhile, or belongs to somebody else, cannot be read and is none of ours.
        with suppress(OSError):
            if folder.name.isdigit() and wanted in (folder / "environ").read_bytes().split(b"\0"):
                pids.add(int(folder.name))
    return pids


def sweep(run_id: str) -> set[int]:
    """Kill what carries the run id, and what that starts meanwhile; return what could not be ended."""
    left = processes_of(run_id)
    for _ in range(ROUNDS):
        for process in left:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        if not left:
            break
        time.sleep(LOOK_S)
        left = processes_of(run_id)
    return left


def main() -> int:
    """Wait for the end of standard input, and sweep; return how many processes are left, 255 for more."""
    sys.stdin.buffer.read()
    return min(len(sweep(sys.argv[1])), 255)


if __name__ == "__main__":
    sys.exit(main())
