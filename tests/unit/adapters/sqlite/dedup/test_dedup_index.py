"""Whether an id came before: by the filter in memory where that is certain, else by the tables."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

from fraud_detection.adapters.files.event_sources import Batch
from fraud_detection.adapters.sqlite.dedup.dedup_index import SqliteDedupIndex
from fraud_detection.core.ports import FirstDelivery
from tests.conftest import SmallSimulation
from tests.states import open_service


def test_ids_are_found_while_they_are_learned_and_new_ones_need_no_look_into_the_file_after_that(
    small_simulation: SmallSimulation, tmp_path: Path
) -> None:
    service = open_service(small_simulation.bundle, tmp_path / "state.db")[1]
    service.take(Batch(small_simulation.events(120), None, 0), "test")
    service.close()
    with contextlib.closing(sqlite3.connect(tmp_path / "state.db", isolation_level=None)) as db:
        db.execute(
            "INSERT INTO history VALUES ('of-history', x'90', NULL, NULL, x''), ('~', x'90', NULL, NULL, x'')"
        )
        of_stream = [row[0] for row in db.execute("SELECT transaction_id FROM decisions")]
        known, new = [*of_stream, "of-history", "~"], [f"new-{number}" for number in range(200)]
        statements: list[str] = []
        db.set_trace_callback(statements.append)
        dedup_index = SqliteDedupIndex(db, lambda: None)
        steps = 0
        while True:
            assert dedup_index.batch_state([*known, *new], []).already_processed == dict.fromkeys(known, 0)
            statements.clear()
            dedup_index.enter_from_tables(17)
            if not statements:
                break
            steps += 1
        assert steps == 1 + len(known) // 17
        assert len(of_stream) > 100
        for transaction_id in new:
            dedup_index.batch_state([transaction_id], [])
        assert len(statements) <= len(new) // 20


def test_what_is_decided_but_not_in_the_tables_yet_is_known(tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "state.db")) as db:
        db.execute("CREATE TABLE decisions (transaction_id TEXT, event BLOB)")
        db.execute("CREATE TABLE history (transaction_id TEXT, content BLOB)")
        rows = [("early", b"1"), ("late", b"2")]

        def flush() -> None:
            db.executemany("INSERT INTO decisions VALUES (?, ?)", rows)

        dedup_index = SqliteDedupIndex(db, flush)
        dedup_index.enter(["early"])
        dedup_index.enter_from_tables(10)
        dedup_index.enter(["late"])
        known = dedup_index.batch_state(["late", "new", "early"], [])
        assert known.already_processed == {"early": 0, "late": 0}
        assert known.first == {"early": FirstDelivery(b"1"), "late": FirstDelivery(b"2")}
