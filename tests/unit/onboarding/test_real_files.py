"""What is proposed for public data sets that this project did not make."""

from __future__ import annotations

from pathlib import Path

import pytest

from fraud_detection.adapters.files.tables import open_table
from fraud_detection.onboarding import Proposal, propose
from tests.root import ROOT
from tests.unit.onboarding.files import checked, finding

DATA = ROOT.parent / "shared" / "data"

pytestmark = pytest.mark.shared


def proposed(name: str, folder: Path) -> Proposal:
    path = DATA / name
    if not path.exists():
        pytest.skip(f"needs ../shared/data/{name}")
    table = open_table(path)
    return checked(propose(table), folder, table.names)


def test_handbook(tmp_path: Path) -> None:
    project = proposed("handbook.parquet", tmp_path).project

    assert project.schema.transaction_id.field == "TRANSACTION_ID"
    assert project.schema.event_time.field == "TX_DATETIME"
    assert list(project.schema.entities) == ["customer", "terminal"]
    assert project.schema.ignored == ()
    assert [str(window) for window in project.features.entities["terminal"].risk] == ["1d", "7d", "30d"]


def test_sparkov(tmp_path: Path) -> None:
    proposal = proposed("sparkov.parquet", tmp_path)
    schema = proposal.project.schema

    assert (schema.transaction_id.field, schema.event_time.field) == ("trans_num", "unix_time")
    assert {name: entity.field for name, entity in schema.entities.items()} == {
        "card": "cc_num",
        "merchant": "merchant",
    }
    assert schema.place is not None
    assert schema.place.latitude == "merch_lat"
    assert "category" in schema.categories
    assert {"first", "last", "street", "dob", "zip", "lat", "long"} <= set(proposal.ignored)


def test_paysim(tmp_path: Path) -> None:
    proposal = proposed("real/paysim.csv", tmp_path)
    schema = proposal.project.schema

    assert (schema.event_time.field, schema.event_time.format, schema.event_time.unit) == (
        "step",
        "number",
        "h",
    )
    assert {entity.field for entity in schema.entities.values()} == {"nameOrig", "nameDest"}
    assert set(proposal.ignored) == {"newbalanceOrig", "newbalanceDest", "isFlaggedFraud"}
    assert all("probably a leak" in reason for reason in proposal.ignored.values())
    assert set(proposal.project.features.entities) == {"destination"}


def test_vehicle_claims(tmp_path: Path) -> None:
    proposal = proposed("real/vehicle-claims.csv", tmp_path)
    schema = proposal.project.schema

    assert schema.event_time.date_parts is not None
    assert schema.event_time.date_parts.month == "Month"
    assert schema.event_time.date_parts.week_of_month == "WeekOfMonth"
    assert schema.entities == {}
    assert schema.amount is None
    assert set(proposal.ignored) == {"PolicyNumber"}


def test_aws_transactions(tmp_path: Path) -> None:
    proposal = proposed("real/aws-transactions.csv", tmp_path)
    schema = proposal.project.schema

    assert schema.event_time.field == "EVENT_TIMESTAMP"
    assert {name: entity.field for name, entity in schema.entities.items()} == {
        "customer": "ENTITY_ID",
        "merchant": "merchant",
    }
    assert schema.label is not None
    assert schema.label.known_at is None
    assert "no later than the payment" in proposal.ignored["LABEL_TIMESTAMP"]
    assert "50% of rows are unlabelled" in finding(proposal, "schema.label")
    assert {"customer_name", "billing_phone", "billing_street"} <= set(proposal.ignored)
    assert "one to one" in proposal.ignored["ip_address"]
