"""Small files with the columns of which the pages speak, under the names that their commands use."""

from __future__ import annotations

import csv
import datetime as dt
import json
import random
from collections.abc import Iterator
from pathlib import Path

START = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
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
    kept = [{key: value for key, value in row.items() if key not in without} for row in rows]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, kept[0])
        writer.writeheader()
        writer.writerows(kept)


def write_own_data(folder: Path) -> None:
    """Write the files of README's quick start, and of the page that goes through it slowly."""
    write_csv(folder / "payments.csv", payments(6_000))
    for name in ("new.csv", "new-payments.csv"):
        write_csv(folder / name, payments(200, 6_000), ("fraud", "balance_after"))
    events = (
        {key: value for key, value in row.items() if key not in {"fraud", "balance_after"}}
        for row in payments(200, 6_200)
    )
    (folder / "events").write_text("".join(f"{json.dumps(event)}\n" for event in events))
