"""Equal events that cannot be decided are one row of the quarantine, with a count and two times."""

from __future__ import annotations

import asyncio
import hashlib
import json
import sqlite3
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from random import Random

import msgspec
import pytest

from fraud_detection.adapters.files.event_sources import Batch
from fraud_detection.adapters.http.messages import Request, Response
from fraud_detection.cli.main import main
from fraud_detection.core.events import Conflict, Quarantined
from fraud_detection.core.parse.drift import SchemaDrift
from fraud_detection.serving.http.api_keys import Access
from fraud_detection.serving.http.batcher import RequestBatcher
from fraud_detection.serving.http.prometheus import exposition
from fraud_detection.serving.http.request_identity import request_identities
from fraud_detection.serving.http.routes import Api
from fraud_detection.serving.workers.ownership import Ownership
from tests.conftest import SmallSimulation
from tests.functional.serving.test_conflicts import LARGE, SMALL, raw
from tests.states import made, open_service, opened

BAD = b'{"transaction_id":"b1","card_id":"c1","amount":"much"}'
GARBAGE = b"no JSON at all"
LARGE_LINES = [b'{"text":"' + b"x" * 300_000 + end for end in (b'"}', b'."}')]
"""They begin alike, for longer than what is kept of them."""
TRUNCATED_BYTES = 65_536


class Row(msgspec.Struct, frozen=True, array_like=True):
    """A row of the quarantine; times in ms."""

    event: bytes
    reason: str
    path: str
    count: int
    first_at: int
    last_at: int


def rows_of(*states: Path) -> list[Row]:
    results: list[Row] = []
    for state in states:
        opened(state).close()
        with closing(sqlite3.connect(state)) as db:
            query = "SELECT event, reason, path, count, first_at, last_at FROM quarantine ORDER BY seq"
            results += [msgspec.convert(row, Row) for row in db.execute(query)]
    return results


def counts_of(*states: Path) -> list[tuple[bytes, int]]:
    return [(row.event, row.count) for row in rows_of(*states)]


def now_ms() -> int:
    return int(1000 * time.time())


def statuses_of(
    simulation: SmallSimulation, state: Path, posts: Sequence[tuple[bytes, bytes | None]]
) -> list[int]:
    """Ask one process, each body with its key; return the statuses, and check that each arrival counts."""

    async def statuses() -> list[int]:
        requests = RequestBatcher(open_service(simulation.bundle, state)[1])
        api, replies = Api(requests, Access(None), b""), []
        for body, key in posts:
            future: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
            api.take(Request("POST", "/v1/decisions", body, b"", b"", key), future.set_result)
            replies.append((await future).status)
        assert f"fraud_quarantined_total {replies.count(422)}" in exposition(requests, {}).splitlines()
        requests.close()
        return replies

    return asyncio.run(statuses())


def test_the_same_key_is_one_event_and_requests_without_a_key_are_counted(
    small_simulation: SmallSimulation, tmp_path: Path
) -> None:
    state, began = tmp_path / "state.db", now_ms()
    keyed = [(BAD, b"k1")] * 10 + [(GARBAGE, b"k1")]
    assert statuses_of(small_simulation, state, keyed) == [422] * 11
    assert counts_of(state) == [(BAD, 1), (GARBAGE, 1)]
    first, between = rows_of(state)[0], now_ms()
    assert began <= first.first_at == first.last_at <= between
    # Another process, other offsets.
    time.sleep(0.002)
    assert (
        statuses_of(small_simulation, state, [(BAD, None)] * 9 + [(BAD, b"k1"), (BAD, b"k2")]) == [422] * 11
    )
    assert counts_of(state) == [(BAD, 11), (GARBAGE, 1)]
    last = rows_of(state)[0]
    assert (last.reason, last.path, last.first_at) == (first.reason, first.path, first.first_at)
    assert between <= last.last_at <= now_ms()


def test_who_deletes_rows_to_make_room_stops_nothing(
    small_simulation: SmallSimulation, tmp_path: Path
) -> None:
    state = tmp_path / "state.db"
    # The chain head must stay.
    assert statuses_of(small_simulation, state, [(BAD, b"k1"), (raw(SMALL), None)]) == [422, 200]
    with closing(sqlite3.connect(state)) as db, db:
        db.execute("DELETE FROM quarantine")
    assert statuses_of(small_simulation, state, [(BAD, b"k1"), (BAD, b"k2")]) == [422, 422]
    assert counts_of(state) == [(BAD, 2)]


def test_in_a_list_the_index_is_part_of_the_origin(small_simulation: SmallSimulation, tmp_path: Path) -> None:
    state = tmp_path / "state.db"
    service = open_service(small_simulation.bundle, state)[1]
    for _ in range(2):
        service.take(Batch([BAD] * 3, request_identities("till", b"k1", 3, many=True), 0), "test")
    service.close()
    assert counts_of(state) == [(BAD, 3)]


def test_a_conflict_is_merged_with_the_same_conflict_alone(
    small_simulation: SmallSimulation, tmp_path: Path
) -> None:
    state = tmp_path / "state.db"
    statuses = statuses_of(small_simulation, state, [(raw(SMALL), None), *[(raw(LARGE), None)] * 3])
    assert statuses == [200, 409, 409, 409]
    assert counts_of(state) == [(raw(LARGE), 3)]


def test_equal_bytes_that_are_refused_for_another_kind_of_reason_are_rows_of_their_own(
    tmp_path: Path,
) -> None:
    state_file = opened(tmp_path / "state.db")
    kinds = [
        Quarantined(GARBAGE, "not valid JSON", "$"),
        Quarantined(GARBAGE, "a required value is missing", "$.amount"),
        Quarantined(GARBAGE, "internal_error: somewhere", "$"),
        Conflict(GARBAGE, "conflict", "$", "t1"),
        Conflict(GARBAGE, "conflict", "$", "t2"),
    ]
    for _ in range(2):
        again = [msgspec.structs.replace(kind, reason=f"{kind.reason}, said otherwise") for kind in kinds]
        state_file.commit([*kinds, *again], 1, 0, SchemaDrift())
    state_file.close()
    stored_rows = [(row.reason, row.count) for row in rows_of(tmp_path / "state.db")]
    assert stored_rows == [(kind.reason, 4) for kind in kinds]


def test_of_large_events_the_whole_is_compared_and_not_where_they_stand(
    small_simulation: SmallSimulation, tmp_path: Path
) -> None:
    source, state = tmp_path / "events.jsonl", made(tmp_path / "state.db")
    one, other = LARGE_LINES
    source.write_bytes(b"\n".join([one, other, one, raw(SMALL), one, b""]))
    arguments = [
        "run",
        "--plain",
        f"--bundle={small_simulation.bundle}",
        f"--state={state}",
        f"--source={source}",
    ]
    assert main(arguments) == 0
    stored_rows = rows_of(state)
    assert [row.count for row in stored_rows] == [3, 1]
    assert [
        hashlib.sha256(line).hexdigest() in row.reason
        for line, row in zip(LARGE_LINES, stored_rows, strict=True)
    ]
    assert stored_rows[0].event == stored_rows[1].event == one[:TRUNCATED_BYTES]
    # Over HTTP the same bytes have no offset in a file.
    assert statuses_of(small_simulation, state, [(other, None), (one, b"k")]) == [422, 422]
    assert [row.count for row in rows_of(state)] == [4, 2]


def test_a_file_of_decisions_has_a_line_for_each_row(
    small_simulation: SmallSimulation, tmp_path: Path
) -> None:
    source, state, out = tmp_path / "events.jsonl", made(tmp_path / "state.db"), tmp_path / "out.jsonl"
    arguments = [
        "run",
        "--plain",
        f"--bundle={small_simulation.bundle}",
        f"--state={state}",
        f"--source={source}",
    ]
    arguments.append(f"--out={out}")
    source.write_bytes(b"\n".join([BAD, GARBAGE, BAD, raw(SMALL), BAD, GARBAGE, b""]))
    assert main(arguments) == 0
    lines = out.read_bytes()
    assert [json.loads(line)["type"] for line in lines.splitlines()] == ["quarantined"] * 2 + ["decision"]
    # What is written again from the tables is the same.
    out.unlink()
    with closing(sqlite3.connect(state)) as db, db:
        db.execute("UPDATE outputs SET seq = 0, bytes = 0")
    with source.open("ab") as more:
        more.write(BAD + b"\n")
    assert main(arguments) == 0
    assert out.read_bytes() == lines
    assert counts_of(state) == [(BAD, 4), (GARBAGE, 2)]


def test_explain_and_audit_know_how_often_it_came(
    small_simulation: SmallSimulation, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = tmp_path / "state.db"
    service = open_service(small_simulation.bundle, state)[1]
    for settles in (True, False, False):
        service.take(Batch([BAD, BAD], None, 0), "test")
        if settles:
            service.state_file.flush()
    # Of a process at work: what is in the journal alone counts too.
    assert main(["explain", "b1", f"--state={state}", "--plain"]) == 0
    assert "; came 6 times, 20" in capsys.readouterr().out
    service.close()
    assert main(["audit", "verify", f"--state={state}", "--plain"]) == 0
    assert "1 quarantined event" in capsys.readouterr().out


def test_equal_events_without_card_or_id_have_one_owner(small_simulation: SmallSimulation) -> None:
    ownership = Ownership(small_simulation.project.schema, 4)
    for event in (GARBAGE, b'{"amount":1}', b'{"type":"label"}', BAD):
        identities = [request_identities("", None, 1, many=False)[0] for _ in range(30)]
        assert len({ownership.route(event, identity).owner for identity in identities}) == 1
    assert {ownership.route(b"[%d]" % number).owner for number in range(50)} == set(range(4))


@pytest.mark.parametrize("seed", [1, 2])
def test_in_any_cutting_with_kills_the_counts_are_those_of_the_origins(
    small_simulation: SmallSimulation, tmp_path: Path, seed: int
) -> None:
    chance, state = Random(seed), tmp_path / "state.db"
    fine = [raw(SMALL | {"transaction_id": f"t{n}"}) for n in range(20)]
    conflict = raw(LARGE | {"transaction_id": "t0"})
    pool = [BAD, GARBAGE, GARBAGE + b" ", b"[1]", *LARGE_LINES, conflict, *fine]
    service = open_service(small_simulation.bundle, state)[1]
    service.take(Batch([fine[0]], None, 0), "test")
    identities_of_event, times = dict[bytes, set[str | None]](), dict[bytes, list[int]]()
    for _ in range(40):
        events = [chance.choice(pool) for _ in range(chance.choice([1, 1, 2, 9, 90]))]
        keys = [chance.choice([None, b"a", b"b", b"c"]) for _ in events]
        identities = [request_identities("till", key, 1, many=False)[0] for key in keys]
        for event, identity in zip(events, identities, strict=True):
            if event not in fine and identity not in identities_of_event.setdefault(event, set()):
                identities_of_event[event].add(identity)
                times.setdefault(event, []).append(now_ms())
        service.take(Batch(events, identities, 0), "test")
        if chance.random() < 0.5:
            service.run_deferred_work()
        if chance.random() < 0.2:
            service.state_file.close()  # as if it were killed
            service = open_service(small_simulation.bundle, state)[1]
    service.close()
    rows = rows_of(state)
    assert [row.count for row in rows] == [len(found) for found in identities_of_event.values()]
    assert [row.event for row in rows] == [
        event[:TRUNCATED_BYTES] if event in LARGE_LINES else event for event in identities_of_event
    ]
    for row, moments in zip(rows, times.values(), strict=True):
        assert row.first_at == pytest.approx(moments[0], abs=50)
        assert row.last_at == pytest.approx(moments[-1], abs=50)
