"""An id that comes again with other content: never the earlier answer, and never a second decision."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any

import pytest

from fraud_detection.adapters.files.event_sources import Batch
from fraud_detection.adapters.files.tables import open_table
from fraud_detection.adapters.http.messages import Request, Response
from fraud_detection.cli.main import main
from fraud_detection.core.events import Conflict
from fraud_detection.core.features.replay import HistoricalPayment
from fraud_detection.core.outcomes import Decided, Duplicate
from fraud_detection.core.parse import Parser
from fraud_detection.history.load import read_history
from fraud_detection.serving.aws_lambda.batch import ShardEvent
from fraud_detection.serving.http.api_keys import Access
from fraud_detection.serving.http.batcher import RequestBatcher
from fraud_detection.serving.http.prometheus import exposition
from fraud_detection.serving.http.routes import Api
from tests.conftest import SmallSimulation
from tests.functional.aws_lambda.test_handler import FIRST, Cloud
from tests.states import open_service, opened

SMALL: dict[str, Any] = {
    "transaction_id": "A1",
    "event_time": "2026-03-02T10:00:00Z",
    "amount": 1.0,
    "card_id": "c1",
    "merchant_id": "m1",
}
LARGE = SMALL | {"amount": 9500.0, "card_id": "c2", "merchant_id": "m9"}
DIFFERENT = "conflict: transaction_id already decided with other content: amount, card_id, merchant_id differ"
COPY = SMALL | {"amount": "1.00", "sent_at": 1, "nobody_reads": [1]}
"""The same declared content: written otherwise, sent again, with a field that nobody reads."""


def raw(event: dict[str, Any]) -> bytes:
    return json.dumps(event).encode()


def responses_to(simulation: SmallSimulation, folder: Path, *bodies: bytes) -> tuple[list[Any], str]:
    """Return status and body of each request to one process, and its metrics."""

    async def request() -> tuple[list[Any], str]:
        requests = RequestBatcher(open_service(simulation.bundle, folder / "state.db")[1])
        api, replies = Api(requests, Access(None), b""), list[Any]()
        for body in bodies:
            future: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
            api.take(Request("POST", "/v1/decisions", body, b"", b""), future.set_result)
            response = await future
            replies.append((response.status, json.loads(response.body)))
        text = exposition(requests, {})
        requests.close()
        return replies, text

    return asyncio.run(request())


def quarantined(state: Path) -> list[tuple[str, str, bytes]]:
    opened(state).close()
    with closing(sqlite3.connect(state)) as db:
        return db.execute("SELECT reason, path, event FROM quarantine ORDER BY seq").fetchall()


def test_over_http_the_same_decision_is_returned_and_other_content_is_refused(
    small_simulation: SmallSimulation, tmp_path: Path
) -> None:
    listed = b"[" + b",".join(raw(event) for event in (SMALL, LARGE, SMALL | {"transaction_id": "A2"})) + b"]"
    responses, metrics = responses_to(small_simulation, tmp_path, raw(SMALL), raw(COPY), raw(LARGE), listed)
    (_, first), (status, again), refused, (_, (in_list, other, fresh)) = responses
    assert (status, again) == (200, first | {"duplicate": True})
    body = {"type": "conflict", "schema_version": 2, "transaction_id": "A1", "reason": DIFFERENT}
    body["path"] = "$.transaction_id"
    assert (refused[0], refused[1]["title"], refused[1]["record"]) == (409, "Conflict", body)
    assert (in_list, other, fresh["transaction_id"]) == (again, body, "A2")
    assert "fraud_conflicts_total 2" in metrics.splitlines()
    assert "fraud_duplicates_total 2" in metrics.splitlines()
    assert quarantined(tmp_path / "state.db")[0] == (DIFFERENT, "$.transaction_id", raw(LARGE))


@pytest.mark.parametrize("where", ["in one batch", "in the journal", "in the tables", "after a restart"])
def test_wherever_the_first_one_is_kept_it_is_compared(
    small_simulation: SmallSimulation, tmp_path: Path, where: str
) -> None:
    state = tmp_path / "state.db"
    service = open_service(small_simulation.bundle, state)[1]
    parts = [[SMALL, COPY, LARGE]] if where == "in one batch" else [[SMALL], [COPY, LARGE]]
    outcomes = []
    for number, part in enumerate(parts):
        outcomes += service.take(Batch([raw(event) for event in part], None, number + 1), "test")
        if where == "in the tables":
            service.state_file.flush()
        if where == "after a restart":
            service.close()
            service = open_service(small_simulation.bundle, state)[1]
    first, copy, conflict = outcomes
    assert isinstance(first, Decided)
    assert isinstance(copy, Duplicate)
    assert conflict == Conflict(raw(LARGE), DIFFERENT, "$.transaction_id", "A1")
    (values,) = {
        event.values.tobytes()
        for event in service.take(Batch([raw(LARGE | {"transaction_id": "A2"})], None, 9), "test")
        if isinstance(event, Decided)
    }
    untouched = open_service(small_simulation.bundle, tmp_path / "other.db")[1]
    (alone,) = untouched.take(Batch([raw(LARGE | {"transaction_id": "A2"})], None, 1), "test")
    # No profile has taken the conflicting payment in.
    assert isinstance(alone, Decided)
    assert alone.values.tobytes() == values


def test_the_first_of_each_id_stands_in_any_cutting(
    small_simulation: SmallSimulation, tmp_path: Path
) -> None:
    chance = Random(5)
    payments = [
        SMALL | {"transaction_id": f"t{chance.randrange(12)}", "amount": float(chance.randrange(1, 4))}
        for _ in range(120)
    ]
    first: dict[str, float] = {}
    wanted: list[type] = []
    for payment in payments:
        known = first.setdefault(payment["transaction_id"], payment["amount"])
        seen = payment["transaction_id"] in {earlier["transaction_id"] for earlier in payments[: len(wanted)]}
        wanted.append(Duplicate if seen and known == payment["amount"] else Conflict if seen else Decided)
    for turn in range(3):
        state = tmp_path / f"{turn}.db"
        service, done, replies = open_service(small_simulation.bundle, state)[1], 0, []
        while done < len(payments):
            part = payments[done : done + chance.randint(1, 30)]
            done += len(part)
            replies += [
                type(one) for one in service.take(Batch([raw(event) for event in part], None, done), "test")
            ]
            service.run_deferred_work()
            if chance.random() < 0.3:
                service.state_file.close()  # as if it were killed
                service = open_service(small_simulation.bundle, state)[1]
        service.close()
        assert replies == wanted


def test_payments_of_history_are_compared_too(small_simulation: SmallSimulation, tmp_path: Path) -> None:
    service = open_service(small_simulation.bundle, tmp_path / "state.db")[1]
    payment = Parser(small_simulation.project.schema).parse(raw(SMALL))
    service.preload_history([HistoricalPayment(payment, None, 0)], lambda: None)  # type: ignore[arg-type]
    copy, conflict = service.take(Batch([raw(COPY), raw(LARGE)], None, 1), "test")
    assert isinstance(copy, Duplicate)
    assert isinstance(conflict, Conflict)
    assert conflict.reason == "conflict: transaction_id already decided with other content"


def test_a_file_of_its_own_history_has_no_conflict(small_simulation: SmallSimulation, tmp_path: Path) -> None:
    service = open_service(small_simulation.bundle, tmp_path / "state.db")[1]
    history = read_history(small_simulation.project, small_simulation.history, lambda *_: None)
    service.preload_history(history.payments[:500], lambda: None)
    rows = list(rows_of(small_simulation, 500))
    outcomes = service.take(Batch(rows, None, 1), "test")
    assert not any(isinstance(outcome, Conflict) for outcome in outcomes)
    assert sum(isinstance(outcome, Duplicate) for outcome in outcomes) > 400


def rows_of(simulation: SmallSimulation, most: int) -> Sequence[bytes]:
    records = next(iter(open_table(simulation.history).records(batch_rows=most)))
    return [
        json.dumps({k: v for k, v in record.items() if "label" not in k and k != "is_fraud"}).encode()
        for record in records
    ]


def test_the_processor_sets_a_conflict_aside_and_counts_it(small_simulation: SmallSimulation) -> None:
    cloud = Cloud(small_simulation)
    processor = cloud.processor()
    assert processor.handle("shard-0", records(SMALL, LARGE)) == []
    # The same records once more, as after a failure, and the other content on another shard.
    assert processor.handle("shard-0", records(SMALL, LARGE)) == []
    assert cloud.processor().handle("shard-1", records(COPY, LARGE)) == []
    assert [line["transaction_id"] for line in cloud.lines_of("decision")] == ["A1", "A1"]
    assert len(cloud.decisions()) == 1
    assert [line["conflicts"] for line in cloud.lines_of("batch")] == [1, 1, 1]
    assert [line["duplicates"] for line in cloud.lines_of("batch")] == [0, 1, 1]
    assert [line["quarantined"] for line in cloud.lines_of("batch")] == [0, 0, 0]
    names = [item["Name"] for item in cloud.lines_of("batch")[0]["_aws"]["CloudWatchMetrics"][0]["Metrics"]]
    assert "conflicts" in names
    assert {line["delivery"]["shard"] for line in cloud.lines_of("conflict")} == {"shard-0", "shard-1"}
    assert {line["reason"] for line in cloud.lines_of("conflict")} == {DIFFERENT}
    set_aside = [json.loads(line) for body in cloud.s3.objects.values() for line in body.splitlines()]
    assert [record["reason"] for record in set_aside] == [DIFFERENT, DIFFERENT]


def records(*events: dict[str, Any]) -> list[ShardEvent]:
    return [ShardEvent(str(FIRST + index), raw(event), 1.0) for index, event in enumerate(events)]


def test_a_file_that_is_scored_names_which_rows_conflict(
    small_simulation: SmallSimulation, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = tmp_path / "payments.jsonl", tmp_path / "decisions.jsonl"
    later = {"event_time": "2026-03-02T11:00:00Z"}
    path.write_bytes(b"\n".join(raw(event) for event in (SMALL, COPY, LARGE | later)) + b"\n")
    arguments = [f"--bundle={small_simulation.bundle}", f"--out={out}", "--plain"]
    assert main(["score", str(path), *arguments]) == 0
    first, copy, conflict = map(json.loads, out.read_text().splitlines())
    assert first["action"]
    assert copy["duplicate"]
    assert conflict["reason"].startswith("conflict: ")
    assert conflict["reason"].endswith(": event_time, amount, card_id, merchant_id differ")
    assert "1 decided + 0 quarantined + 1 in conflict" in capsys.readouterr().err


def test_a_label_finds_the_payment_that_stands(small_simulation: SmallSimulation, tmp_path: Path) -> None:
    service = open_service(small_simulation.bundle, tmp_path / "state.db")[1]
    label = {"type": "label", "transaction_id": "A1", "is_fraud": 1, "label_known_at": "2026-03-09T10:00:00Z"}
    service.take(Batch([raw(SMALL), raw(LARGE), raw(label)], None, 1), "test")
    (ids,) = {one.ids for one in service.state_file.since(0) if one.event is None}
    assert ids[0] == "c1"
