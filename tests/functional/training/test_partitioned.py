"""A table made in partitions equals the one that one process makes, to the bit, whatever the history."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fraud_detection.core.decoding import decode
from fraud_detection.core.errors import RetryError
from fraud_detection.core.project_schema import Project
from fraud_detection.training.stages import make_features
from fraud_detection.training.tables import partitioned_job
from fraud_detection.training.tables.dataset import COLUMNS
from fraud_detection.training.tables.engines import EngineSettings
from fraud_detection.training.tables.partitioned_job import HistoryFiles
from fraud_detection.training.tables.replayed import replayed_table
from fraud_detection.training.tables.report import FeaturesReport
from tests.conftest import SmallSimulation
from tests.partitioned_tables import in_partitions, made, silent
from tests.unit.core.features.sample_payments import HOUR, START

MESSY = decode(
    {
        "project": "test",
        "schema": {
            "transaction_id": {"field": "id"},
            "event_time": {"field": "time"},
            "amount": {"field": "amount"},
            "entities": {"card": {"field": "card"}, "merchant": {"field": "merchant"}},
            "categories": {"channel": {"field": "channel"}},
            "place": {"latitude": "lat", "longitude": "lon"},
            "label": {"field": "fraud", "delay": "2h", "known_at": "known"},
        },
        "features": {
            "max_distinct_ids": 3,
            "entities": {
                "card": {
                    "windows": ["1h", "30d"],
                    "statistics": ["count", "sum", "min", "zscore"],
                    "distinct": {"merchant": ["1d"]},
                    "first_seen": ["merchant"],
                    "speed": True,
                    "risk": ["1h", "30d"],
                },
                "merchant": {"windows": ["1d"], "statistics": ["count"], "risk": ["30d"]},
            },
        },
        "split": {"burn_in": "1h"},
    },
    Project,
    "test",
)
Rows = list[dict[str, object]]


@st.composite
def histories(draw: st.DrawFn) -> tuple[Rows, Rows]:
    """Draw rows of a history and of a file of labels: late, equal, corrected, refused and of no payment."""
    hours = st.integers(0, 60) | st.integers(0, 30 * 24)
    payments = st.fixed_dictionaries(
        {
            "id": st.integers(0, 30).map(str),
            "time": hours.map(lambda hour: START + hour * HOUR),
            "amount": st.sampled_from([0, 1.25, 99, 1e9, None, "much"]),
            "card": st.sampled_from(["a", "b", None]),
            "merchant": st.sampled_from(["m", "n", "o", "p", None]),
            "channel": st.sampled_from(["web", "shop", None]),
            "lat": st.sampled_from([1.5, 48.0, None]),
            "lon": st.sampled_from([9.0, -120.0]),
            "fraud": st.sampled_from([0, 1, None]),
            # Some were known before their payment was made.
            "known": hours.map(lambda hour: START + (hour - 5) * HOUR),
        }
    )
    labels = st.fixed_dictionaries(
        {
            "type": st.just("label"),
            "id": st.integers(0, 35).map(str),
            "fraud": st.sampled_from([0, 1, 7]),
            "known": hours.map(lambda hour: START + hour * HOUR),
        }
    )
    rows = draw(st.lists(payments | labels, min_size=1, max_size=60))
    return rows, draw(st.lists(labels, max_size=8))


def write(path: Path, rows: Rows) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@settings(deadline=None, max_examples=60)
@given(histories(), st.none() | st.integers(0, 30 * 24), st.integers(0, 9), st.integers(1, 4))
def test_partitions_make_the_table_that_one_process_makes(
    history: tuple[Rows, Rows], as_of_hour: int | None, seed: int, part_rows: int
) -> None:
    as_of = None if as_of_hour is None else START + as_of_hour * HOUR
    with TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        patch.setattr(partitioned_job, "PART_ROWS", part_rows)
        folder = Path(name)
        rows = write(folder / "rows.jsonl", history[0])
        labels = [write(folder / "labels.jsonl", history[1])] if history[1] else []

        def alone(out: Path) -> FeaturesReport:
            return make_features(MESSY, rows, out, silent, labels, as_of, for_training=False)

        def partitioned(out: Path) -> FeaturesReport:
            return in_partitions(MESSY, HistoryFiles(rows, tuple(labels)), out, as_of, seed)

        expected = made(alone, folder / "alone.parquet")
        assert made(partitioned, folder / "partitioned.parquet") == expected


def test_a_pool_of_processes_makes_the_table_of_one_process(
    small_simulation: SmallSimulation, tmp_path: Path
) -> None:
    def several(out: Path) -> FeaturesReport:
        return make_features(
            small_simulation.project, small_simulation.history, out, silent, engine=EngineSettings(jobs=2)
        )

    def alone(out: Path) -> FeaturesReport:
        return make_features(small_simulation.project, small_simulation.history, out, silent)

    assert made(several, tmp_path / "several.parquet") == made(alone, tmp_path / "alone.parquet")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["alone.parquet", "several.parquet"]


def test_a_pool_makes_the_table_that_prequential_training_reads(
    small_simulation: SmallSimulation, tmp_path: Path
) -> None:
    until, read = START + 20 * 24 * HOUR, []
    for jobs in (1, 2):
        engine = EngineSettings(jobs=jobs)
        project, history = small_simulation.project, small_simulation.history
        with replayed_table(project, history, until, silent, engine, tmp_path) as table:
            rows = range(len(table))
            payments, features = list(table.payments(rows)), list(table.feature_parts(rows))
            columns = {name: np.concatenate([getattr(part, name) for part in payments]) for name in COLUMNS}
            read.append((columns | {"features": np.concatenate(features)}, table.info))
    for column in (*COLUMNS, "features"):
        assert _bits(read[0][0][column]) == _bits(read[1][0][column]), column
    assert read[0][1] == msgspec.structs.replace(read[1][1], source=read[0][1].source)
    assert read[0][1].boundaries.train_until == until
    assert not list(tmp_path.iterdir())


def test_a_process_of_the_pool_that_is_killed_leaves_no_table_and_nothing_behind(
    small_simulation: SmallSimulation, tmp_path: Path
) -> None:
    def kill_one(stage: str, _share: float) -> None:
        if stage.startswith("replaying"):
            os.kill(multiprocessing.active_children()[0].pid or 0, signal.SIGKILL)

    with pytest.raises(RetryError, match="a process of the pool was killed"):
        make_features(
            small_simulation.project,
            small_simulation.history,
            tmp_path / "features.parquet",
            kill_one,
            engine=EngineSettings(jobs=2),
        )
    assert not list(tmp_path.iterdir())


def _bits(column: np.ndarray) -> object:
    return list(column) if column.dtype == object else column.tobytes()
