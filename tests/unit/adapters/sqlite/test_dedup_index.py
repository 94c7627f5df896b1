"""What is taken in already, told from memory where that is certain and from the tables where it is not."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

from fraud_detection.adapters.files.event_sources import Batch
from fraud_detection.adapters.sqlite.dedup_index import SqliteLedger
from fraud_detection.core.ports import First
from tests.conftest import SmallWorld
from tests.states import open_service


def test_ids_are_found_while_they_are_learned_and_new_ones_need_no_look_into_the_file_after_that(
    small_world: SmallWorld, tmp_path: Path
) -> None:
    service = open_service(small_world.bundle, tmp_path / "state.db")[1]
    service.take(Batch(small_world.live(120), None, 0), "test")
    service.close()
    with contextlib.closing(sqlite3.connect(tmp_path / "state.db", isolation_level=None)) as db:
        db.execute(
            "INSERT INTO history VALUES ('of-history', x'90', NULL, NULL, x''), ('~', x'90', NULL, NULL, x'')"
        )
        of_stream = [row[0] for row in db.execute("SELECT transaction_id FROM decisions")]
        known, new = [*of_stream, "of-history", "~"], [f"new-{number}" for number in range(200)]
        asked: list[str] = []
        db.set_trace_callback(asked.append)
        ledger = SqliteLedger(db, lambda: None)
        steps = 0
        while True:
            assert ledger.look_up([*known, *new], []).taken_in == dict.fromkeys(known, 0)
            asked.clear()
            ledger.enter_from_tables(17)
            if not asked:
                break
            steps += 1
        assert steps == 1 + len(known) // 17
        assert len(of_stream) > 100
        for one in new:
            ledger.look_up([one], [])
        assert len(asked) <= len(new) // 20


def test_what_is_decided_but_not_in_the_tables_yet_is_known(tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "state.db")) as db:
        db.execute("CREATE TABLE decisions (transaction_id TEXT, event BLOB)")
        db.execute("CREATE TABLE history (transaction_id TEXT, content BLOB)")
        rows = [("early", b"1"), ("late", b"2")]

        def settle() -> None:
            db.executemany("INSERT INTO decisions VALUES (?, ?)", rows)

        ledger = SqliteLedger(db, settle)
        ledger.enter(["early"])
        ledger.enter_from_tables(10)
        ledger.enter(["late"])
        known = ledger.look_up(["late", "new", "early"], [])
        assert known.taken_in == {"early": 0, "late": 0}
        assert known.first == {"early": First(b"1"), "late": First(b"2")}
