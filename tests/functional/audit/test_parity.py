"""The log of a service, replayed in partitions: each value that was served is compared, to the bit."""

from __future__ import annotations

import json
import sqlite3
import struct
from pathlib import Path

import pytest

from fraud_detection.audit.parity import ParityReport, check_parity
from fraud_detection.audit.partitioned_parity import Compared, compare_log
from fraud_detection.cli.look_back.parity import CATEGORY_ENCODING
from fraud_detection.core.project_schema import Project
from fraud_detection.demo.demo import beyond_the_clock, demo_project
from fraud_detection.simulator.stream import simulated_events
from fraud_detection.training.tables.engines import EngineSettings
from tests.in_memory_dataflow import InMemoryDataflow
from tests.partitioned_tables import silent

EVENTS = 2_500


def _fields(event: bytes) -> dict[str, object]:
    try:
        fields = json.loads(event)
    except ValueError:  # some are broken on purpose
        return {}
    return fields if isinstance(fields, dict) else {}


@pytest.fixture(scope="module")
def project() -> Project:
    return beyond_the_clock(demo_project())


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "parity.db"


def checked(project: Project, state: Path, engine: EngineSettings) -> ParityReport:
    events = labelled(EVENTS)
    return check_parity(project, CATEGORY_ENCODING, events, len(events), state, silent, engine=engine)


def labelled(payments: int) -> list[bytes]:
    """Return events, with labels of every third payment soon after it, some of which are taken back."""
    events = list(simulated_events(7, payments))
    fields = [_fields(event) for event in events]
    for at in range(len(events) - 60, 0, -3):
        if {"transaction_id", "event_time", "card_id"} <= fields[at].keys():
            label = {"type": "label", "transaction_id": fields[at]["transaction_id"]}
            known = fields[at + 1].get("event_time", fields[at]["event_time"])
            for later, verdict in ((50, 0), (2, 1)) if at % 2 else ((2, 1),):
                said = label | {"is_fraud": verdict, "label_known_at": known}
                events.insert(at + later, json.dumps(said).encode())
    return events


def test_a_pool_compares_what_one_process_compares(project: Project, tmp_path: Path) -> None:
    reports = [checked(project, tmp_path / f"{jobs}.db", EngineSettings(jobs=jobs)) for jobs in (1, 2)]
    assert reports[0] == reports[1]
    assert reports[0].labels > EVENTS / 10
    assert reports[0].rows_compared == reports[0].transactions > EVENTS / 2


def test_one_bit_that_was_served_otherwise_is_counted(project: Project, state: Path) -> None:
    report = checked(project, state, EngineSettings(jobs=1))
    with sqlite3.connect(state) as db:
        [[seq, features]] = db.execute("SELECT seq, features FROM decisions ORDER BY seq LIMIT 1 OFFSET 900")
        changed = struct.pack("d", -1) + features[8:]
        db.execute("UPDATE decisions SET features = ? WHERE seq = ?", (changed, seq))
    db.close()
    compared = compare_log(InMemoryDataflow(), project, CATEGORY_ENCODING, state)
    assert compared == Compared(report.rows_compared, report.values_compared, 1)


def test_a_label_that_is_missing_in_the_log_makes_values_differ(project: Project, state: Path) -> None:
    checked(project, state, EngineSettings(jobs=1))
    with sqlite3.connect(state) as db:
        db.execute("DELETE FROM labels")
    db.close()
    assert compare_log(InMemoryDataflow(), project, CATEGORY_ENCODING, state).different > 0
