"""The thread that checkpoints SQLite's log tells a failure that lasts, once."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from fraud_detection.adapters.sqlite import checkpointer
from fraud_detection.adapters.sqlite.checkpointer import WalCheckpointer
from tests.busy_clock import BusyClock


def write(db: sqlite3.Connection) -> None:
    db.execute("INSERT INTO t VALUES (zeroblob(100000))")
    db.commit()


@pytest.fixture
def wal_checkpointer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WalCheckpointer:
    monkeypatch.setattr(checkpointer, "CHECKPOINT_FROM_BYTES", 0)
    monkeypatch.setattr(checkpointer, "WARN_AFTER_S", 0.0)
    (tmp_path / "s.db").touch()
    return WalCheckpointer(tmp_path / "s.db", lambda: None)


def test_a_reader_that_blocks_the_checkpoint_is_logged_once_for_each_stretch(
    wal_checkpointer: WalCheckpointer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with sqlite3.connect(tmp_path / "s.db") as writer, sqlite3.connect(tmp_path / "s.db") as reader:
        writer.execute("PRAGMA journal_mode = WAL")
        writer.execute("CREATE TABLE t (x)")
        write(writer)
        with caplog.at_level(logging.WARNING):
            wal_checkpointer.look()
            assert not caplog.records
            reader.execute("BEGIN").execute("SELECT count(*) FROM t").fetchone()
            write(writer)
            wal_checkpointer.look()
            wal_checkpointer.look()
            (record,) = caplog.records
            assert record.getMessage() == (
                f"{tmp_path / 's.db-wal'} grows: no checkpoint succeeded for 0 s "
                "(another process is reading or writing it); nothing is lost so far"
            )
            with BusyClock() as clock:
                wal_checkpointer.look()
                # The writer would have to wait as long.
                assert clock.seconds() < 0.5
            reader.rollback()
            wal_checkpointer.look()
            assert len(caplog.records) == 1
    writer.close()
    reader.close()


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """Open a file with one row that is in its log alone."""
    with closing(sqlite3.connect(tmp_path / "s.db")) as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA wal_autocheckpoint = 0")
        db.execute("CREATE TABLE t (x)")
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        write(db)
        yield db


def test_the_log_of_a_file_that_was_moved_is_whole_when_it_comes_back(
    wal_checkpointer: WalCheckpointer, writer: sqlite3.Connection, tmp_path: Path
) -> None:
    log = (tmp_path / "s.db-wal").read_bytes()
    (tmp_path / "s.db").rename(tmp_path / "moved.db")
    wal_checkpointer.look()
    assert not (tmp_path / "s.db").exists()
    assert (tmp_path / "s.db-wal").read_bytes() == log
    (tmp_path / "moved.db").rename(tmp_path / "s.db")
    wal_checkpointer.look()
    assert writer.execute("SELECT count(*) FROM t").fetchone() == (1,)
    merged = f"file:{tmp_path / 's.db'}?immutable=1"
    with closing(sqlite3.connect(merged, uri=True)) as alone:
        assert alone.execute("SELECT count(*) FROM t").fetchone() == (1,)


@pytest.mark.usefixtures("writer")
def test_a_log_is_never_merged_into_another_file_that_has_the_name(
    wal_checkpointer: WalCheckpointer, tmp_path: Path
) -> None:
    (tmp_path / "s.db").rename(tmp_path / "moved.db")
    older = (tmp_path / "moved.db").read_bytes()
    (tmp_path / "s.db").write_bytes(older)
    log = (tmp_path / "s.db-wal").read_bytes()
    wal_checkpointer.look()
    assert (tmp_path / "s.db").read_bytes() == older
    assert (tmp_path / "s.db-wal").read_bytes() == log


def test_what_was_copied_is_flushed_until_little_is_left_for_the_writer_to_wait_for(
    writer: sqlite3.Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpointer, "CHECKPOINT_FROM_BYTES", 0)
    # What the writer commits before the checkpoint, and during each flush of it: rows of 25 pages.
    before, *meanwhile = [10, 10, 6, 1]
    flushes = list[int]()

    def flush() -> None:
        flushes.append(1)
        for _ in range(dict(enumerate(meanwhile, start=1)).get(len(flushes), 0)):
            write(writer)

    for _ in range(before):
        write(writer)
    WalCheckpointer(tmp_path / "s.db", flush).look()
    assert len(flushes) == 4
    assert writer.execute("SELECT count(*) FROM t").fetchone() == (1 + before + sum(meanwhile),)
