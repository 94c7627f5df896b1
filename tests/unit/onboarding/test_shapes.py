"""Files of all shapes work, or are refused with a sentence that says what to change."""

from __future__ import annotations

import datetime as dt
import json
import random
import time
from pathlib import Path

import numpy as np
import pytest

from fraud_detection.adapters.files.tables import open_table, write_columns
from fraud_detection.core.errors import ConfigError
from fraud_detection.onboarding import Overrides, propose
from tests.unit.onboarding.files import ROWS, Columns, checked, finding, infer, payments, times, write_csv


def test_an_ordinary_file_is_understood_whole(tmp_path: Path) -> None:
    schema = infer(tmp_path, payments()).project.schema

    assert schema.transaction_id.field == "transaction_id"
    assert schema.event_time.field == "event_time"
    assert schema.amount is not None
    assert schema.amount.field == "amount"
    assert {name: entity.field for name, entity in schema.entities.items()} == {
        "card": "card_id",
        "merchant": "merchant_id",
    }
    assert list(schema.categories) == ["channel"]
    assert schema.label is not None
    assert schema.label.field == "is_fraud"
    assert schema.ignored == ()


def test_the_card_orders_the_stream_wherever_its_column_stands(tmp_path: Path) -> None:
    columns = dict(reversed(payments().items()))

    assert next(iter(infer(tmp_path, columns).project.schema.entities)) == "card"


def test_two_columns_are_enough(tmp_path: Path) -> None:
    columns: Columns = {"when": times(), "amount": [n % 7 for n in range(ROWS)]}

    proposal = infer(tmp_path, columns)

    assert proposal.project.schema.event_time.field == "when"
    assert proposal.project.schema.amount is not None
    assert proposal.project.schema.label is None
    assert "--label" in finding(proposal, "schema.label")


@pytest.mark.parametrize("columns_of_each", [(75, 23), pytest.param((300, 98), marks=pytest.mark.long)])
def test_400_columns_take_seconds(tmp_path: Path, columns_of_each: tuple[int, int]) -> None:
    numbers, texts = columns_of_each
    rows, rng = 50_000, np.random.default_rng(1)
    columns: dict[str, np.ndarray | list[object]] = {
        "tx_time": 1_700_000_000 + np.arange(rows) * 60,
        "label": (rng.random(rows) < 0.02).astype(np.int8),
    }
    columns |= {f"v{n}": rng.random(rows) for n in range(numbers)}
    columns |= {f"code_{n}": [f"{value}" for value in rng.integers(0, 50, rows)] for n in range(texts)}
    write_columns(tmp_path / "wide.parquet", columns)

    started = time.process_time()
    proposal = propose(open_table(tmp_path / "wide.parquet"))
    seconds = time.process_time() - started

    checked(proposal, tmp_path, list(columns))
    assert len(proposal.project.schema.numbers) + len(proposal.project.schema.categories) == numbers + texts
    assert seconds < 15 * (numbers + texts) / 398  # a third of that on a machine of its own


def test_a_byte_order_mark_is_no_part_of_a_name(tmp_path: Path) -> None:
    path = write_csv(tmp_path, payments())
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())

    assert propose(open_table(path)).project.schema.transaction_id.field == "transaction_id"


def test_with_only_dates_no_window_is_shorter_than_a_day(tmp_path: Path) -> None:
    columns = payments() | {"event_time": [text[:10] for text in times()]}

    features = infer(tmp_path, columns).project.features

    windows = [window for entity in features.entities.values() for window in (*entity.windows, *entity.risk)]
    assert windows
    assert min(window.ms for window in windows) == 86_400_000
    assert features.calendar == ("weekday",)


def test_with_minutes_a_card_has_short_windows(tmp_path: Path) -> None:
    columns = payments() | {"event_time": times(seconds=1_800)}

    entities = infer(tmp_path, columns).project.features.entities

    assert str(entities["card"].windows[0]) == "5m"
    assert str(entities["merchant"].windows[0]) == "1h"


def test_times_with_the_name_of_their_zone_are_read(tmp_path: Path) -> None:
    columns = payments()
    columns["event_time"] = [f"{text[:10]} {text[11:19]} UTC" for text in times()]

    proposal = infer(tmp_path, columns)

    assert "ISO dates and times, to the second" in finding(proposal, "schema.event_time")
    assert not finding(proposal, "rows")


def test_milliseconds_with_a_fraction_are_read_to_the_last_row(tmp_path: Path) -> None:
    columns = payments()
    columns["event_time"] = [f"{1_768_082_000_000 + 10_007 * n}.0" for n in range(ROWS)]

    proposal = infer(tmp_path, columns)

    assert "milliseconds since 1970" in finding(proposal, "schema.event_time")
    assert not finding(proposal, "rows")


@pytest.mark.parametrize("scale", [1, 1_000, 1_000_000, 1_000_000_000])
def test_counts_since_1970_are_read_in_any_unit(tmp_path: Path, scale: int) -> None:
    seconds = [round(dt.datetime.fromisoformat(text).timestamp()) for text in times()]
    columns = payments() | {"event_time": [second * scale for second in seconds]}

    proposal = infer(tmp_path, columns)

    assert proposal.project.schema.event_time.field == "event_time"
    assert proposal.project.schema.event_time.format == "auto"
    assert not finding(proposal, "rows")


def test_a_full_time_is_preferred_to_a_date_and_the_other_is_called_the_same(tmp_path: Path) -> None:
    columns = {"trans_date": [text[:10] for text in times()]} | payments()

    proposal = infer(tmp_path, columns)

    assert proposal.project.schema.event_time.field == "event_time"
    assert "says the same" in proposal.ignored["trans_date"]


def test_without_an_id_rows_are_numbered(tmp_path: Path) -> None:
    columns = payments()
    del columns["transaction_id"]

    proposal = infer(tmp_path, columns)

    assert proposal.project.schema.transaction_id.field is None
    assert "known by its offset" in finding(proposal, "schema.transaction_id")


def test_a_column_without_a_name_that_counts_the_rows_is_ignored(tmp_path: Path) -> None:
    path = write_csv(tmp_path, {"": [*range(ROWS)]} | payments())

    proposal = checked(propose(open_table(path)), tmp_path, ["column_1", *payments()])

    assert proposal.project.schema.transaction_id.field == "transaction_id"
    assert "counts the rows" in proposal.ignored["column_1"]


@pytest.mark.parametrize(
    ("fraud", "legitimate"),
    [("1", "0"), ("1.0", "0.0"), ("true", "false"), ("Yes", "No"), ("FRAUD", "genuine")],
)
def test_a_label_may_be_written_in_many_ways(tmp_path: Path, fraud: str, legitimate: str) -> None:
    columns = payments()
    columns["is_fraud"] = [fraud if value else legitimate for value in columns["is_fraud"]]

    label = infer(tmp_path, columns).project.schema.label

    assert label is not None
    assert fraud.lower() in label.positive
    assert legitimate.lower() in label.negative


def test_an_empty_label_is_neither_fraud_nor_legitimate(tmp_path: Path) -> None:
    columns = payments()
    columns["is_fraud"] = ["" if n % 2 else value for n, value in enumerate(columns["is_fraud"])]

    proposal = infer(tmp_path, columns)

    assert proposal.project.schema.label is not None
    assert "" not in (*proposal.project.schema.label.positive, *proposal.project.schema.label.negative)
    assert "50% of rows are unlabelled" in finding(proposal, "schema.label")


def test_true_and_false_of_parquet_are_a_label(tmp_path: Path) -> None:
    columns = payments() | {"is_fraud": [value == 1 for value in payments()["is_fraud"]]}
    write_columns(tmp_path / "p.parquet", columns)

    label = checked(propose(open_table(tmp_path / "p.parquet")), tmp_path, list(columns)).project.schema.label

    assert label is not None
    assert "true" in label.positive


def test_a_few_strings_among_numbers_count_as_missing(tmp_path: Path) -> None:
    columns = payments() | {
        "age": ["n/a" if n % 50 == 0 else "?!" if n % 20 == 0 else n % 60 for n in range(ROWS)]
    }

    proposal = infer(tmp_path, columns)

    assert proposal.project.schema.numbers["age"].field == "age"
    assert "no numbers" in finding(proposal, "schema.numbers")


def test_a_column_half_of_text_and_half_of_numbers_is_left_out_with_advice(tmp_path: Path) -> None:
    mixed = [f"x{n}" if n % 3 == 0 else n for n in range(ROWS)]

    proposal = infer(tmp_path, payments() | {"mixed": mixed})

    assert "--number mixed" in proposal.ignored["mixed"]


@pytest.mark.parametrize("name", ["age_days", "account_age_days", "age in months"])
def test_an_age_in_days_is_no_trait_of_a_person(tmp_path: Path, name: str) -> None:
    columns = payments() | {name: [n % 70 for n in range(ROWS)]}

    assert "traits of people" not in finding(infer(tmp_path, columns), "schema")


def test_an_age_is_a_trait_of_a_person(tmp_path: Path) -> None:
    columns = payments() | {"customer_age": [n % 70 for n in range(ROWS)]}

    assert "customer_age: traits of people" in finding(infer(tmp_path, columns), "schema")


def test_columns_without_values_or_with_one_are_left_out(tmp_path: Path) -> None:
    proposal = infer(tmp_path, payments() | {"nothing": [""] * ROWS, "country": ["FR"] * ROWS})

    assert "never has a value" in proposal.ignored["nothing"]
    assert "always the same" in proposal.ignored["country"]


def test_one_row_is_enough_to_propose_something(tmp_path: Path) -> None:
    assert infer(tmp_path, payments(1)).project.schema.event_time.field == "event_time"


def test_nested_values_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    rows = [{"when": when, "amount": 3.5, "basket": ["a", "b"]} for when in times()]
    path.write_text("\n".join(json.dumps(row) for row in rows))

    proposal = checked(propose(open_table(path)), tmp_path, ["when", "amount", "basket"])

    assert "lists or objects" in proposal.ignored["basket"]


def test_ids_that_never_come_back_have_no_memory(tmp_path: Path) -> None:
    columns = payments() | {"card_id": [f"c{n}" for n in range(ROWS)]}

    project = infer(tmp_path, columns).project

    assert set(project.schema.entities) == {"card", "merchant"}
    assert set(project.features.entities) == {"merchant"}
    assert next(iter(project.schema.entities)) == "merchant"


def test_without_entities_the_attributes_remain(tmp_path: Path) -> None:
    columns = payments()
    del columns["card_id"], columns["merchant_id"]

    project = infer(tmp_path, columns).project

    assert project.schema.entities == {}
    assert project.features.entities == {}
    assert project.schema.categories


def test_a_short_file_gets_a_short_delay_that_is_reported_as_unsure(tmp_path: Path) -> None:
    proposal = infer(tmp_path, payments() | {"event_time": times(seconds=900)})

    assert proposal.project.schema.label is not None
    assert proposal.project.schema.label.delay.ms <= 12 * 3_600_000
    assert "--label-delay" in finding(proposal, "schema.label.delay")


def test_a_sample_of_a_long_file_still_sees_that_ids_come_back(tmp_path: Path) -> None:
    rows = 300_000  # six times as many as are sampled
    cards = [f"c{n}" for n in range(rows // 3)] * 3
    random.Random(1).shuffle(cards)
    columns: dict[str, np.ndarray | list[str]] = {
        "when": 1_700_000_000 + np.arange(rows) * 100,
        "amount": np.arange(rows) % 97,
        "card_id": cards,
    }
    write_columns(tmp_path / "long.parquet", columns)

    proposal = propose(open_table(tmp_path / "long.parquet"))

    assert "shares its id with 2.0 others" in finding(proposal, "schema.entities.card")


def test_a_file_whose_rows_cannot_be_read_is_refused(tmp_path: Path) -> None:
    columns = payments() | {"paid": ["" if n % 3 else f"{n}" for n in range(ROWS)]}

    with pytest.raises(ConfigError, match="rows cannot be read, the first because"):
        infer(tmp_path, columns, Overrides(amount="paid"))
