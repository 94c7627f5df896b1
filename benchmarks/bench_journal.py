"""Measure what a commit of one row costs: in slots that are used again, or in rows deleted each time.

    python -m benchmarks.bench_journal [--commits N] [--bytes N] [--directory DIR]

Python's own client of SQLite, WAL without checkpoints; every eight rows are moved into another table, as the
journal of a state file is.  The two take turns.  Prints microseconds a commit, and bytes of the log a row.
"""

from __future__ import annotations

import argparse
import os
import sqlite3
import tempfile
import time
from pathlib import Path

import msgspec

from benchmarks.suite.engine import Micros, micros
from benchmarks.suite.machine import machine
from fraud_detection.core.metrics import LatencyHistogram

GROUP = 8
ROUNDS = 4
VARYING = 64


class JournalFigures(msgspec.Struct, frozen=True):
    """The rows of one way: what a commit of one took, what the moving of eight took, log bytes a row."""

    one: Micros
    flushed: Micros
    log_bytes: float


def measure(path: Path, commits: int, size: int, *, slots: bool) -> JournalFigures:
    """Commit so many rows of about so many bytes, one at a time."""
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = NORMAL")
    db.execute("PRAGMA wal_autocheckpoint = 0")
    db.execute("CREATE TABLE journal (slot INTEGER PRIMARY KEY, number INTEGER, content BLOB)")
    db.execute("CREATE TABLE moved (number INTEGER PRIMARY KEY, content BLOB)")
    commit_times, flushed = LatencyHistogram(), LatencyHistogram()
    for number in range(commits):
        content = os.urandom(size + number % VARYING)
        slot = 1 + number % GROUP if slots else None
        began = time.perf_counter()
        db.execute("INSERT OR REPLACE INTO journal VALUES (?, ?, ?)", (slot, number, content))
        commit_times.add(time.perf_counter() - began)
        if number % GROUP == GROUP - 1:
            began = time.perf_counter()
            _move(db, number, content, slots=slots)
            flushed.add(time.perf_counter() - began)
    log = path.with_name(path.name + "-wal").stat().st_size
    db.close()
    return JournalFigures(micros(commit_times), micros(flushed), log / commits)


def _move(db: sqlite3.Connection, number: int, content: bytes, *, slots: bool) -> None:
    db.execute("BEGIN IMMEDIATE")
    db.executemany("INSERT INTO moved VALUES (NULL, ?)", [(content,)] * GROUP)
    if slots:
        db.execute("INSERT OR REPLACE INTO journal VALUES (0, ?, x'')", (number,))
    else:
        db.execute("DELETE FROM journal")
    db.execute("COMMIT")


def main() -> None:
    """Measure and print."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--commits", type=int, default=8_000, metavar="N", help="rows a round (8000)")
    arguments.add_argument("--bytes", type=int, default=1_300, metavar="N", help="of a row (1300)")
    arguments.add_argument("--directory", type=Path, metavar="DIR", help="where the files are (temporary)")
    options = arguments.parse_args()
    print(machine().describe())
    with tempfile.TemporaryDirectory(dir=options.directory) as folder:
        for number in range(ROUNDS):
            for slots in (False, True):
                figures = measure(
                    Path(folder) / f"{number}-{slots}.db", options.commits, options.bytes, slots=slots
                )
                print(
                    f"{'slots' if slots else 'deleted':8} a commit p50 {figures.one.p50_us:.1f} p99 "
                    f"{figures.one.p99_us:.0f} us; moving eight p50 {figures.flushed.p50_us:.0f} us; "
                    f"log {figures.log_bytes:,.0f} bytes a row"
                )


if __name__ == "__main__":
    main()
