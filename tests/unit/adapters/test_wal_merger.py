"""The thread that merges SQLite's log tells a failure that lasts, once."""

from __future__ import annotations

import logging
import sqlite3
from pathlib import Path

import pytest

from fraud_detection.adapters import wal_merger
from fraud_detection.adapters.wal_merger import WalMerger
from tests.busy_clock import BusyClock


def write(db: sqlite3.Connection) -> None:
    db.execute("INSERT INTO t VALUES (zeroblob(100000))")
    db.commit()


@pytest.fixture
def merger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WalMerger:
    monkeypatch.setattr(wal_merger, "MERGE_FROM_BYTES", 0)
    monkeypatch.setattr(wal_merger, "TELL_AFTER_S", 0.0)
    return WalMerger(tmp_path / "s.db")


def test_a_reader_that_holds_the_log_up_is_told_once_for_each_stretch(
    merger: WalMerger, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with sqlite3.connect(tmp_path / "s.db") as writer, sqlite3.connect(tmp_path / "s.db") as reader:
        writer.execute("PRAGMA journal_mode = WAL")
        writer.execute("CREATE TABLE t (x)")
        write(writer)
        with caplog.at_level(logging.WARNING):
            merger.look()
            assert not caplog.records
            reader.execute("BEGIN").execute("SELECT count(*) FROM t").fetchone()
            write(writer)
            merger.look()
            merger.look()
            (record,) = caplog.records
            assert record.getMessage() == (
                f"{tmp_path / 's.db-wal'} grows: it could not be merged into its file for 0 s "
                "(another process is reading or writing it); nothing is lost so far"
            )
            with BusyClock() as clock:
                merger.look()
                # The writer would have to wait as long.
                assert clock.seconds() < 0.5
            reader.rollback()
            merger.look()
            assert len(caplog.records) == 1
    writer.close()
    reader.close()
