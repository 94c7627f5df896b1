"""Payments are counted once, by ids that differ, and money is a number or refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fraud_detection.adapters.files.tables import open_table, write_columns
from fraud_detection.core.errors import ConfigError
from fraud_detection.onboarding import Overrides, propose
from tests.unit.onboarding.files import ROWS, finding, infer, payments, without


def test_ids_of_which_some_repeat_are_reported_with_the_flag_that_counts_them_once(tmp_path: Path) -> None:
    columns = {name: [*values, *values[:20]] for name, values in payments().items()}

    proposal = infer(tmp_path, columns)

    assert proposal.project.schema.transaction_id.field is None
    finding_ = finding(proposal, "schema.transaction_id")
    assert "4.76% of the rows repeat one (such as 't00000')" in finding_
    assert "--id transaction_id (unsure)" in finding_

    schema = infer(tmp_path, columns, Overrides(id="transaction_id")).project.schema
    assert schema.transaction_id.field == "transaction_id"


@pytest.mark.parametrize("written", ["t{}", "{}.0"])
def test_an_id_that_some_rows_lack_is_the_id_and_no_number_to_learn_from(
    tmp_path: Path, written: str
) -> None:
    ids = [None if n % 30 == 0 else written.format(n) for n in range(ROWS)]
    columns = without("transaction_id")
    columns["txn"] = [*ids]

    proposal = infer(tmp_path, columns)

    schema = proposal.project.schema
    assert schema.transaction_id.field == "txn"
    assert "txn" not in schema.numbers
    share = sum(one is None for one in ids) / ROWS
    assert f"{share:.2%} of the rows have none" in finding(proposal, "schema.transaction_id")


def test_a_column_that_counts_the_rows_is_left_out_though_some_lack_it(tmp_path: Path) -> None:
    columns = payments()
    columns["nr"] = [None if n % 30 == 0 else n for n in range(ROWS)]

    schema = infer(tmp_path, columns).project.schema

    assert "nr" in schema.ignored
    assert "nr" not in schema.numbers


def test_a_thin_sample_does_not_hide_that_ids_repeat(tmp_path: Path) -> None:
    rows = 300_000
    columns: dict[str, np.ndarray | list[str]] = {
        "when": 1_700_000_000 + np.arange(rows) * 100,
        "amount": np.arange(rows) % 97,
        "payment_id": [f"p{n // 2}" for n in range(rows)],
    }
    write_columns(tmp_path / "long.parquet", columns)

    with pytest.raises(ConfigError, match=r"--id payment_id: only (49|50|51).* would be dropped as copies"):
        propose(open_table(tmp_path / "long.parquet"), Overrides(id="payment_id"))


@pytest.mark.parametrize("written", ["${:.2f}", "{:.2f} EUR", "USD {:.2f}", "{:.2f}€", "{:,.2f}", "({:.2f})"])
@pytest.mark.parametrize("share", [1, 10])
def test_amounts_written_for_people_are_refused_alike_however_few(
    tmp_path: Path, written: str, share: int
) -> None:
    columns = payments()
    columns["amount"] = [
        written.format(1000 * float(str(amount))) if n % share == 0 else amount
        for n, amount in enumerate(columns["amount"])
    ]

    with pytest.raises(ConfigError, match=r"the amount `amount`: expected numbers, got .* without currency"):
        infer(tmp_path, columns)


def test_amounts_with_a_decimal_comma_are_refused_with_what_to_change(tmp_path: Path) -> None:
    columns = payments()
    columns["amount"] = [f"{amount}".replace(".", ",") for amount in columns["amount"]]

    with pytest.raises(ConfigError, match="decimal point"):
        infer(tmp_path, columns)


def test_thousands_are_refused_though_small_amounts_have_none(tmp_path: Path) -> None:
    columns = payments()
    columns["amount"] = [f"{10 * float(str(amount)):,.2f}" for amount in columns["amount"]]

    with pytest.raises(ConfigError, match=r"got '\d,\d{3}\.\d\d'.* separators"):
        infer(tmp_path, columns)


def test_markers_of_missing_values_among_amounts_are_no_money(tmp_path: Path) -> None:
    columns = payments()
    columns["amount"][3] = "N/A"

    assert infer(tmp_path, columns).project.schema.amount is not None


def test_amounts_below_zero_as_on_a_bank_statement_are_refused(tmp_path: Path) -> None:
    columns = payments()
    columns["amount"] = [-float(str(amount)) for amount in columns["amount"]]

    with pytest.raises(ConfigError, match=r"100% of the amounts in `amount` are below zero.*turn the signs"):
        infer(tmp_path, columns)

    assert infer(tmp_path, columns, Overrides(ignore=("amount",))).project.schema.amount is None


def test_without_an_amount_the_costs_are_said_to_be_those_of_nobody(tmp_path: Path) -> None:
    columns = payments()
    assert not finding(infer(tmp_path, columns), "costs")
    del columns["amount"]

    proposal = infer(tmp_path, columns)

    assert "every missed fraud costs 20" in finding(proposal, "costs")
    assert "every missed fraud costs 20" in proposal.yaml_text


def test_refunds_lift_the_lower_bound(tmp_path: Path) -> None:
    columns = payments()
    columns["amount"][3] = -12.5

    amount = infer(tmp_path, columns).project.schema.amount

    assert amount is not None
    assert amount.minimum is not None
    assert amount.minimum < -12.5


def test_amounts_keep_the_digits_that_they_need(tmp_path: Path) -> None:
    columns = payments() | {"amount": [f"0.00{n:03}" for n in range(ROWS)]}

    amount = infer(tmp_path, columns).project.schema.amount

    assert amount is not None
    assert amount.decimals == 5
