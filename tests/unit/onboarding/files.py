"""Small files of payments in many shapes, and the project inferred for each."""

from __future__ import annotations

import csv
import datetime as dt
import random
from collections.abc import Mapping, Sequence
from pathlib import Path

from fraud_detection.adapters.files.tables import open_table
from fraud_detection.onboarding import Overrides, Proposal, Question, propose
from fraud_detection.onboarding.column_assignment import Ask
from fraud_detection.project.loader import load_project

Columns = Mapping[str, Sequence[object]]

ROWS = 400


def times(count: int = ROWS, *, seconds: int = 20_011) -> list[str]:
    """Return rising times, a few a day, over some months."""
    start = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    return [(start + dt.timedelta(seconds=seconds * n)).isoformat() for n in range(count)]


def payments(count: int = ROWS) -> dict[str, list[object]]:
    """Return the columns of an ordinary file: 40 cards, 25 merchants, a fraud in about every tenth row."""
    dice = random.Random(1)
    return {
        "transaction_id": [f"t{n:05}" for n in range(count)],
        "event_time": [*times(count)],
        "amount": [round(dice.uniform(1, 500), 2) for _ in range(count)],
        "card_id": [f"c{dice.randrange(40)}" for _ in range(count)],
        "merchant_id": [f"m{dice.randrange(25)}" for _ in range(count)],
        "channel": [dice.choice(["web", "shop", "phone"]) for _ in range(count)],
        "is_fraud": [int(dice.random() < 0.1) for _ in range(count)],
    }


def without(*names: str) -> dict[str, list[object]]:
    """Return the columns of an ordinary file but these."""
    return {name: values for name, values in payments().items() if name not in names}


def answering(answers: Mapping[str, str], questions: list[Question]) -> Ask:
    """Return somebody who answers by flag, and records what was asked."""

    def ask(question: Question) -> str:
        questions.append(question)
        return answers.get(question.flag, "")

    return ask


def write_csv(folder: Path, columns: Columns) -> Path:
    """Write columns as CSV."""
    path = folder / "payments.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
    return path


def infer(folder: Path, columns: Columns, flags: Overrides | None = None, ask: Ask | None = None) -> Proposal:
    """Write columns, and propose a project that passes every check."""
    return checked(propose(open_table(write_csv(folder, columns)), flags, ask), folder, list(columns))


def checked(proposal: Proposal, folder: Path, names: Sequence[str]) -> Proposal:
    """See that the text says what the project says, and that no column is left without a word."""
    params = folder / "params.yaml"
    params.write_text(proposal.yaml_text, encoding="utf-8")
    assert load_project(params) == proposal.project
    mentioned = mentions(proposal.project.schema)
    assert not [name for name in names if name not in mentioned]
    return proposal


def mentions(value: object) -> set[str]:
    """Return every text in a tree of settings."""
    if isinstance(value, str):
        return {value}
    if isinstance(value, Mapping):
        return {text for part in value.values() for text in mentions(part)}
    if isinstance(value, (list, tuple)):
        return {text for part in value for text in mentions(part)}
    fields = getattr(value, "__struct_fields__", ())
    return {text for name in fields for text in mentions(getattr(value, name))}


def finding(proposal: Proposal, where: str) -> str:
    """Return all that was said of one path of the project file."""
    return "; ".join(str(finding) for finding in proposal.findings if finding.where == where)
