"""One decision record: the same bytes of the same payment, whichever way of serving writes it."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fraud_detection.cli.main import main
from fraud_detection.core.decision_record import SCHEMA_VERSION, Record, encode, json_schema
from fraud_detection.core.decision_settings import ControlGroupSettings, RuleSettings
from fraud_detection.core.decoding import to_plain
from fraud_detection.core.score.archive import read_bundle
from fraud_detection.engine.engine import make_engine
from fraud_detection.serving.aws_lambda.batch import ShardEvent as Arrived
from tests.conftest import SmallSimulation
from tests.functional.aws_lambda.test_handler import Cloud
from tests.functional.http.test_service import Served, served
from tests.root import ROOT
from tests.states import made

SCHEMA = ROOT / "docs" / "decision-record.schema.json"
KEY = "a key of the tests"
MANY = 24


def apart(events: list[bytes]) -> list[bytes]:
    """Return payments that share no entity, so that it does not matter who has seen which before."""
    chosen = []
    for number, event in enumerate(events[:MANY]):
        fields = json.loads(event)
        ids = {name: f"{name}-{number}" for name in fields if name.endswith("_id")}
        chosen.append(json.dumps(fields | ids).encode())
    misspelt = json.loads(chosen[0])
    misspelt["merchnt_id"] = misspelt.pop("merchant_id")
    many = json.loads(chosen[1]) | {f"{number:03} {'x' * 200}": number for number in range(1_000)}
    return [json.dumps(misspelt).encode(), json.dumps(many).encode(), *chosen[2:]]


def without_delivery(line: bytes | str) -> bytes:
    """Return the line as the project's own encoder writes it, less what only one way of serving knows."""
    return encode(msgspec.structs.replace(msgspec.json.decode(line, type=Record), delivery=None))


class Services:
    """The same payments sent to every way of serving, each with a new state."""

    def __init__(self, simulation: SmallSimulation, folder: Path, events: list[bytes]) -> None:
        rules = (
            RuleSettings(name="middling", when="amount >= 20", action="review", message="not small"),
            RuleSettings(name="large", when="amount >= 60", action="decline"),
        )
        control = ControlGroupSettings(sampling_rate=0.5, max_amount=50)
        self.project = msgspec.structs.replace(simulation.project, rules=rules, control_group=control)
        self.simulation, self.folder, self.events = simulation, folder, events
        self.config = folder / "params.yaml"
        self.config.write_text(json.dumps(to_plain(self.project)))
        self.file = folder / "events.jsonl"
        self.file.write_bytes(b"\n".join(events) + b"\n")
        self.decision_engine = [f"--bundle={simulation.bundle}", f"--config={self.config}"]

    def score(self) -> list[bytes]:
        return self._main("score", str(self.file))

    def run_file(self) -> list[bytes]:
        return self._main("run", f"--source={self.file}", f"--state={made(self.folder / 'file.db')}")

    def pipe(self) -> list[bytes]:
        command = [sys.executable, "-m", "fraud_detection.cli", "run", *self.decision_engine, "--plain"]
        command += ["--source=-", "--out=-", f"--state={made(self.folder / 'pipe.db')}"]
        done = subprocess.run(command, input=self.file.read_bytes(), capture_output=True, check=True)  # noqa: S603 - ours
        return done.stdout.splitlines()

    def http(self, *more: str) -> list[bytes]:
        with served(
            self.simulation, self.folder / f"http{len(more)}.db", f"--config={self.config}", *more
        ) as server:
            alone = [self._sent(server, event) for event in self.events[: MANY // 2]]
            listed = self._sent(server, b"[" + b",".join(self.events[MANY // 2 :]) + b"]")
            first = json.loads(alone[0])["transaction_id"]
            server._connection.request("GET", f"/v1/decisions/{first}")
            assert server._connection.getresponse().read() == alone[0]
        return alone + [bytes(part) for part in msgspec.json.decode(listed, type=list[msgspec.Raw])]

    def stored(self) -> list[bytes]:
        """Write the file of decisions anew, from what the tables of the pipe have kept."""
        database, out = self.folder / "pipe.db", self.folder / "again.jsonl"
        with closing(sqlite3.connect(database)) as db, db:
            db.execute("INSERT OR REPLACE INTO outputs VALUES (?, 0, 0)", (str(out),))
        (self.folder / "nothing.jsonl").write_bytes(b"")
        source = f"--source={self.folder / 'nothing.jsonl'}"
        arguments = ["run", *self.decision_engine, source, f"--state={database}", f"--out={out}", "--plain"]
        assert main(arguments) == 0
        return out.read_bytes().splitlines()

    def handler(self) -> list[bytes]:
        cloud, lines = Cloud(self.simulation), list[bytes]()
        processor = cloud.processor()
        processor.engine = make_engine(read_bundle(self.simulation.bundle), processor.scorer, self.project)
        processor.write_line = lines.append
        records = [Arrived(str(number), event, 1.0) for number, event in enumerate(self.events, 1)]
        assert processor.handle("shardId-000000000000", records) == []
        logged = [line for line in lines if line.startswith(b'{"type":"decision"')]
        dedup_index: dict[str, Any] = cloud.decisions()
        assert {one[1] for one in dedup_index.values()} == {line.decode() for line in logged}
        return logged

    def _main(self, command: str, *arguments: str) -> list[bytes]:
        out = self.folder / f"{command}.jsonl"
        assert main([command, *arguments, *self.decision_engine, f"--out={out}", "--plain"]) == 0
        return out.read_bytes().splitlines()

    @staticmethod
    def _sent(server: Served, body: bytes) -> bytes:
        server._connection.request("POST", "/v1/decisions", body)
        response = server._connection.getresponse()
        assert response.status == 200
        return response.read()


def test_the_same_payment_has_the_same_record_at_every_way_of_serving(
    small_simulation: SmallSimulation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FRAUD_CONTROL_GROUP_KEY", KEY)
    stream_events = small_simulation.events(
        600, labels="none", late_share=0, duplicate_share=0, malformed_share=0
    )
    services = Services(small_simulation, tmp_path, apart(stream_events))
    assert len(services.events) == MANY
    records = {
        "run": services.run_file(),
        "score": services.score(),
        "pipe": services.pipe(),
        "http": services.http(),
        "workers": services.http("--workers=2"),
        "handler": services.handler(),
        "stored": services.stored(),
    }
    wanted = records["run"]
    record = [json.loads(one) for one in wanted]
    assert {item["action"] for item in record} == {"approve", "review", "decline"}
    assert any("control_group" in item for item in record)
    assert record[0]["notes"] == [
        "unknown field `merchnt_id` (did you mean `merchant_id`?)",
        "no merchant: `merchant_id` is missing",
    ]
    assert record[1]["notes"][5] == "more fields are unknown"
    assert max(len(note) for note in record[1]["notes"]) < 100
    assert [number for number, item in enumerate(record) if "notes" in item] == [0, 1]
    assert {item["schema_version"] for item in record} == {SCHEMA_VERSION}
    for name, lines in records.items():
        # Only the file that was numbered and the stream know more, and that is in `delivery` alone.
        bare = lines if name not in {"score", "handler"} else [without_delivery(line) for line in lines]
        assert bare == wanted, name


def test_the_described_schema_is_that_of_the_types() -> None:
    wanted = json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"
    assert SCHEMA.read_text() == wanted, (
        "renew it: python -c 'import json; from fraud_detection.core.decision_record import json_schema; "
        f"print(json.dumps(json_schema(), indent=2, ensure_ascii=False))' > docs/{SCHEMA.name}"
    )
