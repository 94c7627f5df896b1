"""Measure what a commit waits for a checkpoint of SQLite's log: by the commit itself, or by a thread.

    python -m benchmarks.bench_checkpoint [--commits N] [--rate N] [--directory DIR]

One row of 1,300 bytes a commit, with an index in no order, at a fixed rate.  `commit` is SQLite's own way
(`wal_autocheckpoint` 1000, its default); `thread` is the one of this package.  The two take turns.  A commit
that finds the file taken tries again as that of a state file does.
"""

from __future__ import annotations

import argparse
import os
import sqlite3
import tempfile
import time
from functools import partial
from pathlib import Path

from benchmarks.suite.machine import machine
from fraud_detection.adapters.host.background import Background
from fraud_detection.adapters.sqlite.checkpointer import WalCheckpointer
from fraud_detection.adapters.sqlite.connection import LOOK_EVERY_S

ROUNDS = 2
ROW_BYTES = 1_300
LONG_S = 0.005
BY_SQLITE = 1_000
"""Pages of the log from which on SQLite checkpoints it in a commit, if nobody says otherwise."""


def measure(path: Path, commits: int, rate: float, *, checkpointed: bool) -> tuple[list[float], int]:
    """Return how long each commit took in s, sorted, and the bytes of the log at the end."""
    # Opened before SQLite's own and closed after it, which would lose its locks.
    file = os.open(path, os.O_RDWR | os.O_CREAT)
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = NORMAL")
    db.execute("PRAGMA cache_size = -65536")
    db.execute(f"PRAGMA wal_autocheckpoint = {0 if checkpointed else BY_SQLITE:d}")
    db.execute("CREATE TABLE rows (seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, content BLOB NOT NULL)")
    db.execute("PRAGMA busy_timeout = 0")
    checkpointer = None
    if checkpointed:
        checkpointer = WalCheckpointer(path, partial(os.fsync, file)).start(Background())
    durations, due = [], time.perf_counter()
    for _ in range(commits):
        row = (os.urandom(8).hex(), os.urandom(ROW_BYTES))
        due += 1 / rate
        time.sleep(max(due - time.perf_counter(), 0))
        began = time.perf_counter()
        insert(db, row)
        durations.append(time.perf_counter() - began)
    log = path.with_name(path.name + "-wal").stat().st_size
    if checkpointer is not None:
        checkpointer.stop()
    db.close()
    os.close(file)
    return sorted(durations), log


def insert(db: sqlite3.Connection, row: tuple[str, bytes]) -> None:
    """Commit a row, as soon as nobody holds the file."""
    while True:
        try:
            db.execute("INSERT INTO rows (id, content) VALUES (?, ?)", row)
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY:
                raise
            time.sleep(LOOK_EVERY_S)
        else:
            return


def main() -> None:
    """Measure and print."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--commits", type=int, default=60_000, metavar="N", help="a round (60000)")
    arguments.add_argument("--rate", type=float, default=4_000, metavar="N", help="commits a second (4000)")
    arguments.add_argument("--directory", type=Path, metavar="DIR", help="where the files are (temporary)")
    options = arguments.parse_args()
    print(machine().describe())
    with tempfile.TemporaryDirectory(dir=options.directory) as folder:
        for number in range(ROUNDS):
            for checkpointed in (False, True):
                path = Path(folder) / f"{number}-{checkpointed}.db"
                durations, log = measure(path, options.commits, options.rate, checkpointed=checkpointed)
                p50, p99, p999 = (
                    1e6 * durations[int(share * len(durations))] for share in (0.5, 0.99, 0.999)
                )
                print(
                    f"{'thread' if checkpointed else 'commit'} p50 {p50:.0f} us, p99 {p99:.0f}, p99.9 "
                    f"{p999:,.0f}, "
                    f"longest {1e3 * durations[-1]:.1f} ms; "
                    f"{sum(duration > LONG_S for duration in durations)} over "
                    f"{1e3 * LONG_S:.0f} ms; log {log / 1e6:.0f} MB"
                )


if __name__ == "__main__":
    main()
