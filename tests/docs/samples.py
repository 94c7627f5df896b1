"""Small files with the columns of which the pages speak, under the names that their commands use."""

from __future__ import annotations

import csv
import datetime as dt
import json
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import yaml

from fraud_detection.adapters.files.parquet_tables import write_columns
from tests.docs.blocks import BLOCKS

START = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
HISTORY_ROWS = 3_000
DEAR = 200
Row = dict[str, str]


def payments(rows: int, first: int = 0) -> Iterator[Row]:
    """Make payments as docs/your-own-data.md tells of them: what it says of a column is true of these."""
    for number in range(first, first + rows):
        chance = random.Random(number)
        fraud = chance.random() < 0.05
        amount = abs(chance.gauss(180, 30) if fraud else chance.gauss(60, 30))
        card = chance.randrange(200)
        yield {
            "payment_id": f"p{number:06}",
            "paid_at": (START + dt.timedelta(minutes=15 * number)).isoformat(timespec="seconds"),
            "card_id": f"card-{card:04}",
            "shop_id": f"shop-{chance.randrange(40):03}",
            "amount": f"{amount:.2f}",
            "channel": chance.choice(["online", "in_store"]),
            "holder_name": f"{chance.choice(['Ann', 'Bob', 'Eve'])} {card}",
            "balance_after": f"{0 if fraud else chance.uniform(10, 5_000):.2f}",
            "fraud": "yes" if fraud else "no",
        }


def write_csv(path: Path, rows: Iterator[Row], without: tuple[str, ...] = ()) -> None:
    selected = [{key: value for key, value in row.items() if key not in without} for row in rows]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, selected[0])
        writer.writeheader()
        writer.writerows(selected)


def write_own_data(folder: Path) -> None:
    """Write the files of README's quick start, and of the pages that go through it slowly."""
    write_csv(folder / "payments.csv", payments(HISTORY_ROWS))
    for name in ("new.csv", "new-payments.csv"):
        write_csv(folder / name, payments(200, HISTORY_ROWS), ("fraud", "balance_after"))
    events = (
        {key: value for key, value in row.items() if key not in {"fraud", "balance_after"}}
        for row in payments(200, HISTORY_ROWS + 200)
    )
    (folder / "events").write_text("".join(f"{json.dumps(event)}\n" for event in events))
    dear = next(row for row in payments(200, HISTORY_ROWS) if float(row["amount"]) > DEAR)
    payment = {key: value for key, value in dear.items() if key not in {"fraud", "balance_after"}}
    (folder / "payment.json").write_text(json.dumps(payment))
    known_at = (START + dt.timedelta(days=60)).isoformat()
    decided = payments(200, HISTORY_ROWS + 200)
    labels = (
        {"payment_id": line["payment_id"], "fraud": line["fraud"], "label_known_at": known_at}
        for line in decided
    )
    write_csv(folder / "labels.csv", labels)


LABELS = "transaction_id,is_fraud,label_known_at,source\n"
HANDBOOK = ("TRANSACTION_ID", "TX_DATETIME", "CUSTOMER_ID", "TERMINAL_ID", "TX_AMOUNT", "TX_FRAUD")


def write_page_files(folder: Path, run: Callable[..., str]) -> None:
    """Make the small sample files of the pages: history, features, a bundle, what was decided, the registry.

    run: runs lines in the folder, as a person would.
    """
    own = folder / "src" / "fraud_detection" / "simulated.yaml"
    project = yaml.safe_load(own.read_text(encoding="utf-8"))
    project["model"] = {"rounds": 20, "max_depth": 3, "threads": 1}
    (folder / "params.yaml").write_text(yaml.safe_dump(project, sort_keys=False), encoding="utf-8")
    _write_changes(folder)
    _write_handbook(folder / "handbook.parquet")
    simulation = "--cards 200 --plain"
    run(
        f"fraud generate history {simulation} --out data/history.parquet",
        f"fraud generate history {simulation} --out payments.csv",
        "fraud train --refit --no-tracking --plain",
        "fraud train --features build/features.parquet --bundle build/demo/bundle --no-tracking --plain",
        f"fraud generate stream {simulation} --events 400 --rate 5000 --to stream.jsonl",
    )
    for name in ("history.parquet", "data/until-now.parquet"):
        shutil.copy(folder / "data/history.parquet", folder / name)
    for name in ("month.parquet", "build/demo/features.parquet"):
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copy(folder / "build/features.parquet", folder / name)
    shutil.copy(folder / "build/bundle.tar.gz", folder / "bundle.tar.gz")
    shutil.copytree(folder / "build/bundle", folder / "ml/model")
    _write_events(folder)
    run(
        'fraud release start --bundle build/bundle --config params.yaml --reason "first model" --plain',
        'fraud release shadow gift-cards.yaml --reason "a wave of gift cards" --plain --no-tracking',
        "fraud state create --registry build/registry --history data/history.parquet --plain",
        "fraud run --registry build/registry --source stream.jsonl --plain",
        "fraud audit verify --state build/state.db --anchor anchors.jsonl --plain",
    )
    shutil.copy(folder / "build/bundle.tar.gz", folder / "build/registry/bundles/NAME.tar.gz")


def _write_changes(folder: Path) -> None:
    change = next(
        block.text for block in BLOCKS if block.page == "docs/backtest.md" and block.language == "yaml"
    )
    for name in ("change.yaml", "gift-cards.yaml"):
        (folder / name).write_text(change, encoding="utf-8")


def _write_events(folder: Path) -> None:
    """Let one payment have the id that the pages call ID."""
    lines = (folder / "stream.jsonl").read_bytes().splitlines()
    first = next(event for line in lines if line.startswith(b"{") and "amount" in (event := json.loads(line)))
    named = first | {"transaction_id": "ID"}
    (folder / "payment.json").write_text(json.dumps(first))
    (folder / "stream.jsonl").write_bytes(b"\n".join([json.dumps(named).encode(), *lines, b""]))
    known_at = (START + dt.timedelta(days=120)).isoformat()
    (folder / "labels.csv").write_text(f"{LABELS}ID,1,{known_at},chargeback\n")


def _write_handbook(path: Path) -> None:
    """Write payments of the months and with the columns of the handbook."""
    chance, begin = random.Random(2), dt.datetime(2018, 4, 1, tzinfo=dt.UTC)
    rows: list[tuple[object, ...]] = []
    for number in range(6_000):
        fraud = int(chance.random() < 0.05)
        amount = abs(chance.gauss(220 if fraud else 60, 30))
        when = begin + dt.timedelta(minutes=40 * number)
        rows.append((number, when, chance.randrange(100), chance.randrange(50), amount, fraud))
    columns = {name: list(column) for name, column in zip(HANDBOOK, zip(*rows, strict=True), strict=True)}
    write_columns(path, columns)
