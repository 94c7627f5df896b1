"""Reading a file of historical payments: label rows, fields without a value, rows that cannot be read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fraud_detection.core.decoding import decode
from fraud_detection.core.errors import ConfigError
from fraud_detection.core.project_schema import Project
from fraud_detection.history.load import History, check_not_empty, read_history
from fraud_detection.training.tables.cache import check_same_features
from tests.conftest import SmallSimulation

PROJECT = decode(
    {
        "project": "test",
        "schema": {
            "transaction_id": {"field": "id"},
            "event_time": {"field": "time"},
            "entities": {"card": {"field": "card"}},
            "numbers": {"age": {"field": "age"}},
            "label": {"field": "fraud", "delay": "7d"},
        },
    },
    Project,
    "test",
)


def read(path: Path, rows: list[dict[str, object]]) -> History:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return read_history(PROJECT, path, lambda *_: None)


def test_label_lines_are_joined_to_their_payments(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [
        {"type": "label", "id": "b", "fraud": 1, "label_known_at": "2026-01-09"},
        {"id": "b", "time": "2026-01-02", "card": "c", "age": 4},
        {"id": "a", "time": "2026-01-01", "card": "c", "age": 4, "fraud": 0},
        {"type": "label", "id": "a", "fraud": 1, "label_known_at": "2026-02-01"},
        {"type": "label", "id": "z", "fraud": 1, "label_known_at": "2026-02-01"},
        {"type": "label", "id": "a", "fraud": 1},
    ]
    history = read(tmp_path / "h.jsonl", rows)
    assert [historical.payment.transaction_id for historical in history.payments] == ["a", "b"]
    assert [[label.fraud for label in historical.labels()] for historical in history.payments] == [
        [False, True],
        [True],
    ]
    assert (history.unmatched_labels, [path for path, _ in history.refused]) == (1, ["$.label_known_at"])


def test_a_field_that_no_row_fills_in_is_refused_for_training(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [{"id": n, "time": "2026-01-02", "card": "c", "aeg": 4} for n in range(3)]
    history = read(tmp_path / "h.jsonl", rows)
    with pytest.raises(
        ConfigError, match=r"no row has a readable value for `age` \(at `\$\.schema\.numbers\.age`"
    ):
        check_not_empty(tmp_path / "h.jsonl", history.empty)
    history = read(tmp_path / "h.jsonl", [*rows, {"id": "x", "time": "2026-01-02", "age": 1, "card": "c"}])
    check_not_empty(tmp_path, history.empty)


def test_a_table_of_other_features_is_refused_before_anything_is_learned(
    small_simulation: SmallSimulation,
) -> None:
    check_same_features(small_simulation.project, small_simulation.features)
    with pytest.raises(ConfigError, match="made of other features"):
        check_same_features(PROJECT, small_simulation.features)
