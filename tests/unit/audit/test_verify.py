"""Whatever is changed, removed or added in a state file is found, and nothing else is complained of."""

from __future__ import annotations

import datetime as dt
import os
import random
import shutil
import sqlite3
from array import array
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fraud_detection.adapters.sqlite.commit_marker import marker_path
from fraud_detection.audit.verify import Anchor, Verified, append_anchors, read_anchors, verify
from fraud_detection.core.errors import ConfigError
from fraud_detection.core.events import (
    Action,
    ControlGroupAssignment,
    Decision,
    Label,
    Quarantined,
    Transaction,
    Verdict,
)
from fraud_detection.core.hash_chain import ROWS, START, chain_hash
from fraud_detection.core.outcomes import AppliedLabel, Decided, Outcome, RedundantLabel
from fraud_detection.core.parse.drift import SchemaDrift
from fraud_detection.demo.demo import demo_project
from fraud_detection.engine.engine import Configuration
from tests.states import opened

CONFIGURATION = Configuration.of("a bundle", demo_project())
COLUMNS = {
    "decisions": (
        "seq transaction_id event_time action score reasons policy bundle entities event features config_id "
        "counterfactual_action sampling_rate caller notes chain"
    ),
    "labels": (
        "seq transaction_id fraud known_at source supersedes_known_at happened_at redundant caller chain "
        "applied_at"
    ),
    "quarantine": "seq reason path event chain",
}
EVERY = [(table, column) for table, columns in COLUMNS.items() for column in columns.split()]
NOON = dt.datetime(2026, 12, 1, 12, tzinfo=dt.UTC)


def quiet(*_: object) -> None:
    """Show no progress."""


def decided(number: int) -> Decided:
    one = f"t{number}"
    score = None if number % 5 == 0 else number / 100
    assignment = ControlGroupAssignment(Action.DECLINE, 0.25) if number % 7 == 0 else None
    reasons = (Verdict(Action.REVIEW, "score", f"wörds of {number}"),)
    decision = Decision(
        one, Action.REVIEW, score, reasons, "policy", "a bundle", CONFIGURATION.config_id, assignment, "till"
    )
    raw = msgspec.json.encode({"id": one, "amount": number})
    payment = Transaction(one, 1_000 * number, number, (f"c{number % 3}", None))
    return Decided(raw, payment, array("d", [number, float("nan")]), decision)


def outcomes(chance: random.Random, first: int) -> list[Outcome]:
    decided_outcomes: list[Outcome] = []
    for number in range(first, first + 10):
        decided_outcomes.append(decided(number))
        label = Label(
            f"t{chance.randrange(first, number + 1)}", fraud=True, known_at=9, happened_at=7, caller="office"
        )
        decided_outcomes += chance.sample(
            [
                AppliedLabel(label, ("c1", None), 5),
                RedundantLabel(label),
                Quarantined(b"{%d" % number, "bad", "$"),
            ],
            2,
        )
    return decided_outcomes


def fill(state: Path, seed: int = 0) -> None:
    """Keep six batches, with numbers left out between them as duplicates leave them."""
    chance, state_file = random.Random(seed), opened(state)
    state_file.store_configuration(CONFIGURATION.config_id, CONFIGURATION.content)
    for batch in range(6):
        state_file.commit(outcomes(chance, 10 * batch + 1), 1, 0, SchemaDrift())
        state_file.seq += batch
    # A label that comes before its payment is applied with it.
    state_file.commit(
        [AppliedLabel(Label("t99", fraud=True, known_at=1, caller="office"), None)], 1, 0, SchemaDrift()
    )
    state_file.commit([decided(99)], 1, 0, SchemaDrift())
    state_file.flush()
    state_file.close()


@pytest.fixture(scope="module")
def intact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    state = tmp_path_factory.mktemp("audit") / "state.db"
    fill(state)
    return state


def changed(intact: Path, how: Callable[[sqlite3.Connection], object]) -> Path:
    """Return a copy of which somebody has changed something."""
    copy = intact.with_name("changed.db")
    shutil.copyfile(intact, copy)
    with closing(sqlite3.connect(copy)) as db, db:
        db.execute("PRAGMA journal_mode = DELETE")
        how(db)
    return copy


def checked(state: Path, anchors: list[Anchor] | None = None) -> Verified:
    renamed = [msgspec.structs.replace(anchor, state=state.name) for anchor in anchors or []]
    return verify(state, renamed, quiet)


def anchor_of(verified: Verified) -> Anchor:
    return Anchor("2026-12-01T12:00:00Z", verified.state, verified.last, verified.chain_head)


def test_what_nobody_has_changed_is_whole(intact: Path) -> None:
    verified = checked(intact)
    with closing(sqlite3.connect(intact)) as db:
        counts = [db.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in COLUMNS]  # noqa: S608
        last = db.execute("SELECT max(seq) FROM decisions").fetchone()[0]
    assert (verified.faults, verified.is_intact, verified.configurations) == ([], True, 1)
    assert list(verified.rows.values()) == counts
    assert min(counts) > 5
    assert verified.last == last


def other(value: object, draw: Callable[..., Any]) -> tuple[object, str]:
    """Return a value that differs by as little as can be, and how it is put into a row."""
    if value is None:
        return draw(st.sampled_from([0, 1.5, "x", b"x"])), "?"
    if isinstance(value, int):
        return value + draw(st.sampled_from([-100_000, 1, 100_000])), "?"
    if isinstance(value, float):
        return draw(st.floats(0, 1).filter(lambda one: one != value)), "?"
    assert isinstance(value, str | bytes)
    content = bytearray(value.encode() if isinstance(value, str) else value)
    offset = draw(st.integers(0, len(content) - 1))
    content[offset] ^= draw(st.integers(1, 255))
    # It may be no UTF-8 any more, as what is changed on the disk may be.
    return bytes(content), "CAST(? AS TEXT)" if isinstance(value, str) else "?"


@pytest.mark.parametrize(("table", "column"), EVERY, ids=[".".join(one) for one in EVERY])
@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_any_change_of_any_value_is_found(intact: Path, table: str, column: str, data: st.DataObject) -> None:
    def change(db: sqlite3.Connection) -> None:
        rows = db.execute(f"SELECT seq, {column} FROM {table}").fetchall()  # noqa: S608
        seq, value = data.draw(st.sampled_from(rows))
        new, offset = other(value, data.draw)
        db.execute(f"UPDATE OR REPLACE {table} SET {column} = {offset} WHERE seq = ?", (new, seq))  # noqa: S608

    verified = checked(changed(intact, change))
    assert not verified.is_intact
    assert verified.faults


@pytest.mark.parametrize("table", COLUMNS)
@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_any_row_that_is_removed_or_put_elsewhere_is_found(
    intact: Path, table: str, data: st.DataObject
) -> None:
    def change(db: sqlite3.Connection) -> None:
        seqs = [seq for (seq,) in db.execute(f"SELECT seq FROM {table}")]  # noqa: S608
        one, two = data.draw(st.lists(st.sampled_from(seqs), min_size=2, max_size=2, unique=True))
        if data.draw(st.booleans()):
            db.execute(f"DELETE FROM {table} WHERE seq = ?", (one,))  # noqa: S608
            return
        for before, after in ((one, -1), (two, one), (-1, two)):
            db.execute(f"UPDATE {table} SET seq = ? WHERE seq = ?", (after, before))  # noqa: S608

    verified = checked(changed(intact, change))
    assert not verified.is_intact
    assert verified.faults


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(number=st.integers(0, 200), data=st.data())
def test_a_row_that_was_never_kept_is_found_wherever_it_is_put(
    intact: Path, number: int, data: st.DataObject
) -> None:
    def change(db: sqlite3.Connection) -> None:
        taken = {row[0] for row in db.execute(ROWS)}
        seq = number if number not in taken else max(taken) + 1
        carried = data.draw(st.sampled_from([row[-1] for row in db.execute(ROWS)]))
        db.execute(
            "INSERT INTO quarantine VALUES (?, 'r', '$', x'00', '', x'00', 1, 0, 0, ?)", (seq, carried)
        )

    assert not checked(changed(intact, change)).is_intact


def test_the_first_broken_row_is_named_and_the_rest_is_counted(intact: Path) -> None:
    verified = checked(
        changed(intact, lambda db: db.execute("UPDATE decisions SET score = 0.5 WHERE seq > 50"))
    )
    rows = [fault for fault in verified.faults if fault.kind == "decision"]
    assert rows[0].number is not None
    assert rows[0].number > 50
    assert rows[0].about is not None
    assert rows[0].about.startswith("t")
    assert verified.tampered > 5
    assert verified.fault_count == verified.tampered


def remade(db: sqlite3.Connection) -> bytes:
    """Recompute every hash, as somebody would who has changed something and knows how."""
    before, tables = START, ("decisions", "labels", "quarantine")
    for row in db.execute(ROWS).fetchall():
        content = (row[2:-1], (row[0], *row[2:10]), (row[0], *row[2:6]))[row[1]]
        before = chain_hash(before, content)
        db.execute(f"UPDATE {tables[row[1]]} SET chain = ? WHERE seq = ?", (before, row[0]))  # noqa: S608
    checkpoint = msgspec.msgpack.decode(
        db.execute("SELECT value FROM meta WHERE key = 'checkpoint'").fetchone()[0]
    )
    checkpoint[-1] = before
    db.execute("UPDATE meta SET value = ? WHERE key = 'checkpoint'", (msgspec.msgpack.encode(checkpoint),))
    return before


def test_who_makes_the_whole_chain_anew_is_found_by_an_anchor(intact: Path) -> None:
    def change(db: sqlite3.Connection) -> None:
        db.execute("UPDATE decisions SET action = 0 WHERE seq = (SELECT min(seq) FROM decisions)")
        remade(db)

    anchor = anchor_of(checked(intact))
    copy = changed(intact, change)
    assert checked(copy).is_intact
    verified = checked(copy, [anchor])
    assert [fault.number for fault in verified.faults] == [anchor.number]
    assert "was recomputed" in verified.faults[0].message


def cut(db: sqlite3.Connection) -> None:
    for table in COLUMNS:
        db.execute(f"DELETE FROM {table} WHERE seq > 60")  # noqa: S608


def test_an_end_that_is_cut_off_is_found_without_an_anchor_and_where_the_file_agrees_by_an_anchor(
    intact: Path,
) -> None:
    assert "rows are gone" in checked(changed(intact, cut)).faults[0].message

    def change(db: sqlite3.Connection) -> None:
        cut(db)
        remade(db)

    anchor = anchor_of(checked(intact))
    copy = changed(intact, change)
    assert checked(copy).is_intact
    verified = checked(copy, [anchor])
    assert f"row {anchor.number}, anchored at {anchor.time}, is gone" in verified.faults[0].message


def test_a_configuration_that_is_changed_or_gone_is_found(intact: Path) -> None:
    other_content = b"{}"
    verified = checked(
        changed(intact, lambda db: db.execute("UPDATE configurations SET content = ?", (other_content,)))
    )
    assert "was changed" in verified.faults[0].message
    verified = checked(changed(intact, lambda db: db.execute("DELETE FROM configurations")))
    assert "is not in the file" in verified.faults[0].message
    assert verified.fault_count == 1


def test_anchors_go_on_holding_while_the_file_grows(tmp_path: Path) -> None:
    state, anchors = tmp_path / "state.db", tmp_path / "anchors.jsonl"
    fill(state)
    state_file = opened(state)
    state_file.commit([AppliedLabel(Label("t500", fraud=True, known_at=1), None)], 1, 0, SchemaDrift())
    append_anchors(anchors, [verify(state, [], quiet)], NOON)
    for number in range(500, 520):
        # The first of them is the payment for which the label waited: that is no change of what was kept.
        state_file.commit([decided(number)], 1, 0, SchemaDrift())
        verified = verify(state, read_anchors(anchors), quiet)
        assert (verified.faults, verified.anchors_found) == ([], number - 499)
        assert verified.last == state_file.seq
        append_anchors(anchors, [verified], NOON)
    state_file.close()
    assert len({anchor.chain_head for anchor in read_anchors(anchors)}) == 21


def test_what_is_in_the_journal_alone_is_checked_too(tmp_path: Path) -> None:
    state = tmp_path / "state.db"
    fill(state)
    state_file = opened(state)
    state_file.commit([decided(200), Quarantined(b"{200", "bad", "$")], 1, 0, SchemaDrift())
    with closing(sqlite3.connect(state)) as db:
        latest = "SELECT slot, content FROM journal ORDER BY number DESC LIMIT 1"
        ((slot, content),) = db.execute(latest).fetchall()
        assert checked(state).is_intact
        assert checked(state).last == state_file.seq
        for offset in (content.index(b"t200"), content.index("wörds".encode()), content.index(b"bad")):
            altered = bytearray(content)
            altered[offset] ^= 1
            with db:
                db.execute("UPDATE journal SET content = ? WHERE slot = ?", (bytes(altered), slot))
            assert not checked(state).is_intact
        with db:
            db.execute("DELETE FROM journal")
        # The commit marker says that there was more; without it only an anchor does.
        (fault,) = checked(state).faults
        assert "answered events are gone" in fault.message
        marker_path(state).unlink()
        assert checked(state).is_intact
        assert not checked(state, [Anchor("now", "", state_file.seq, "00")]).is_intact
    state_file.close()


def test_a_line_that_is_no_anchor_is_refused_with_its_number(tmp_path: Path) -> None:
    anchors = tmp_path / "anchors.jsonl"
    anchors.write_bytes(b'{"time": "x", "state": "s", "number": 1, "chain_head": "00"}\n{"time": 1}\n')
    with pytest.raises(ConfigError, match="line 2 is no anchor"):
        read_anchors(anchors)
    with pytest.raises(ConfigError, match="no such file of anchors"):
        read_anchors(tmp_path / "none")


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is closed to root")
def test_a_copy_that_nobody_may_write_to_is_checked_as_it_lies_there(intact: Path, tmp_path: Path) -> None:
    shutil.copyfile(intact, tmp_path / "state.db")
    (tmp_path / "state.db").chmod(0o444)
    tmp_path.chmod(0o555)
    try:
        assert checked(tmp_path / "state.db").is_intact
    finally:
        tmp_path.chmod(0o755)
