from __future__ import annotations

import math
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fraud_detection.adapters.files.tables import read_columns, write_columns
from fraud_detection.core.errors import ConfigError
from fraud_detection.core.events import Transaction
from fraud_detection.core.features.replay import HistoricalPayment
from fraud_detection.core.project_schema import FieldSource, Project
from fraud_detection.evaluation.time_split import UNKNOWN
from fraud_detection.history.load import History
from fraud_detection.training.stages import store_table
from fraud_detection.training.tables.build import feature_table
from fraud_detection.training.tables.dataset import METADATA_KEY, Correction, read_dataset
from fraud_detection.training.tables.historical_rows import DECLARED, HistoricalTable, current_labels
from tests.unit.core.features.sample_payments import DAY, PROJECT, START

WITH_NUMBER: Project = msgspec.structs.replace(
    PROJECT, schema=msgspec.structs.replace(PROJECT.schema, numbers={"age": FieldSource(field="age")})
)
LAST = 40
texts = st.none() | st.sampled_from(["a", "b", "ä", ""])


def history_of(rows: list[tuple[int | None, str | None, str | None, float, str | None]]) -> History:
    """Return a history of the drawn payments, one a day, and then of some that make it long enough."""
    filled = [*rows, *[(100, "c", "m", 1.0, "web")] * (LAST - len(rows))]
    return History(
        payments=[
            HistoricalPayment(
                Transaction(f"t{day}", START + day * DAY, cents, (card, merchant), (age,), (channel,)),
                fraud=day % 3 == 0,
                known_at=START + (day + 7) * DAY,
            )
            for day, (cents, card, merchant, age, channel) in enumerate(filled)
        ]
    )


rows = st.lists(
    st.tuples(
        st.none() | st.integers(-(10**15), 10**15),
        texts,
        texts,
        st.floats(-1e30, 1e30) | st.just(math.nan),
        texts,
    ),
    max_size=8,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=10)
@given(rows)
def test_payments_and_features_come_back_as_they_were_served(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[tuple[int | None, str | None, str | None, float, str | None]],
) -> None:
    path = tmp_path_factory.mktemp("t") / "f.parquet"
    history = history_of(rows)
    dataset, _ = feature_table(WITH_NUMBER, history, lambda *_: None, exact=True)
    store_table(path, WITH_NUMBER, dataset, history, [])
    table = HistoricalTable(path, WITH_NUMBER.schema)
    (again,) = table.batches(0, LAST, START + 90 * DAY)
    for payment, other in zip(again.payments, history.payments, strict=True):
        # NaN is like nothing, not even itself.
        assert repr(payment) == repr(other.payment)
    assert again.features.tobytes() == np.ascontiguousarray(dataset.features, np.float64).tobytes()
    # What training reads is what it always read.
    trained = read_dataset(path)
    assert trained.features.dtype == np.float32
    assert np.array_equal(trained.features, dataset.features.astype(np.float32), equal_nan=True)


def test_any_stretch_of_rows_can_be_read(tmp_path: Path) -> None:
    history = history_of([])
    dataset, _ = feature_table(WITH_NUMBER, history, lambda *_: None, exact=True)
    store_table(tmp_path / "f.parquet", WITH_NUMBER, dataset, history, [])
    table = HistoricalTable(tmp_path / "f.parquet", WITH_NUMBER.schema)
    for start, stop in ((0, 1), (3, 17), (39, 40), (0, 40)):
        payments = [payment for part in table.batches(start, stop, 0) for payment in part.payments]
        assert [one.transaction_id for one in payments] == [f"t{n}" for n in range(start, stop)]


def test_a_table_that_keeps_no_declared_fields_is_refused_with_what_to_do(tmp_path: Path) -> None:
    history = history_of([])
    dataset, _ = feature_table(WITH_NUMBER, history, lambda *_: None)
    store_table(tmp_path / "f.parquet", WITH_NUMBER, dataset, history, [])
    columns, metadata = read_columns(tmp_path / "f.parquet")
    assert METADATA_KEY in metadata
    bare = {name: values for name, values in columns.items() if not name.startswith(DECLARED)}
    write_columns(tmp_path / "old.parquet", bare, metadata)
    with pytest.raises(ConfigError, match=r"does not store what its payments declared.*`fraud features`"):
        HistoricalTable(tmp_path / "old.parquet", WITH_NUMBER.schema)
    assert len(read_dataset(tmp_path / "old.parquet")) == LAST


news = st.lists(st.tuples(st.integers(1, 20), st.booleans()), max_size=4)


@given(st.lists(news, min_size=1, max_size=6), st.integers(0, 21))
def test_the_current_label_is_the_last_one_known_by_then(
    labels: list[list[tuple[int, bool]]], as_of: int
) -> None:
    """Naive walk through the news of each payment, each with another verdict than the one before."""
    label, known_at, corrections, expected = [], [], [], []
    for one in labels:
        chain = [(day, (n + one[0][1]) % 2) for n, (day, _) in enumerate(sorted(one))] if one else []
        label.append(chain[0][1] if chain else UNKNOWN)
        known_at.append(chain[0][0] if chain else 7)
        corrections.append(Correction.write([Correction(int(fraud), day) for day, fraud in chain[1:]]))
        heard = [(int(fraud), day) for day, fraud in chain if day <= as_of]
        expected.append(heard[-1] if heard else (UNKNOWN, 0))
    verdict, since = current_labels(
        np.array(label, np.int8), np.array(known_at, np.int64), np.array(corrections, object), as_of
    )
    assert list(zip(verdict.tolist(), since.tolist(), strict=True)) == expected
