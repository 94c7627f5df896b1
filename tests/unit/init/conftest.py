"""Small files of payments in many shapes."""

from __future__ import annotations

import csv
import datetime as dt
import random
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import pytest

from fraud_detection.adapters.tables import open_table
from fraud_detection.config import load_project
from fraud_detection.init import Overrides, Proposal, propose
from fraud_detection.init.board import Ask

Columns = Mapping[str, Iterable[object]]
Write = Callable[[Columns], Path]
Guess = Callable[..., Proposal]

ROWS = 400


def days(count: int = ROWS, *, seconds: int = 20_011) -> list[str]:
    """Return rising times, a few a day, over some months."""
    start = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    return [(start + dt.timedelta(seconds=seconds * n)).isoformat() for n in range(count)]


def payments(count: int = ROWS) -> dict[str, list[object]]:
    """Return the columns of an ordinary file: ten cards, six merchants, a fraud in every tenth row."""
    dice = random.Random(1)
    return {
        "transaction_id": [f"t{n:05}" for n in range(count)],
        "event_time": [*days(count)],
        "amount": [round(dice.uniform(1, 500), 2) for _ in range(count)],
        "card_id": [f"c{dice.randrange(40)}" for _ in range(count)],
        "merchant_id": [f"m{dice.randrange(25)}" for _ in range(count)],
        "channel": [dice.choice(["web", "shop", "phone"]) for _ in range(count)],
        "is_fraud": [int(dice.random() < 0.1) for _ in range(count)],
    }


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Return a function that writes columns as CSV."""

    def write(columns: Columns) -> Path:
        path = tmp_path / "payments.csv"
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(columns)
            writer.writerows(zip(*columns.values(), strict=True))
        return path

    return write


@pytest.fixture
def guess(write: Write, tmp_path: Path) -> Guess:
    """Return a function that writes columns, proposes a project, and sees that its text says the same."""

    def guess(columns: Columns, ask: Ask | None = None, **flags: object) -> Proposal:
        proposal = propose(open_table(write(columns)), Overrides(**flags), ask)  # type: ignore[arg-type]
        params = tmp_path / "params.yaml"
        params.write_text(proposal.yaml_text, encoding="utf-8")
        assert load_project(params) == proposal.project
        assert_every_column_has_a_place(proposal, columns)
        return proposal

    return guess


def assert_every_column_has_a_place(proposal: Proposal, columns: Columns) -> None:
    """See that no column is left without a word."""
    for name in columns:
        assert f": {name}\n" in proposal.yaml_text or f"- {name} " in proposal.yaml_text, name
