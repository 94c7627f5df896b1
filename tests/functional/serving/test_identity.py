"""Events without an id are known by their offset: equal ones are several, one that comes again is one."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fraud_detection.adapters.files.event_sources import Batch, Pipe
from fraud_detection.adapters.http.messages import Request, Response
from fraud_detection.cli.main import main
from fraud_detection.core.decoding import to_plain
from fraud_detection.core.project_schema import IdSource
from fraud_detection.core.score.archive import read_bundle
from fraud_detection.engine.engine import make_engine
from fraud_detection.project.checks import open_project
from fraud_detection.serving.aws_lambda.batch import ShardEvent
from fraud_detection.serving.http.api_keys import Access
from fraud_detection.serving.http.batcher import RequestBatcher
from fraud_detection.serving.http.routes import Api
from tests.conftest import SmallSimulation
from tests.functional.aws_lambda.test_handler import FIRST, Cloud
from tests.states import made, open_service, standard_input

PAID: dict[str, Any] = {
    "event_time": "2026-03-02T10:00:00Z",
    "amount": 1.0,
    "card_id": "c1",
    "merchant_id": "m1",
}
EVENT = json.dumps(PAID).encode()
OTHER = json.dumps(PAID | {"amount": 9500.0}).encode()


@pytest.fixture(scope="module")
def config(small_simulation: SmallSimulation, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a project file whose payments have no id."""
    schema = msgspec.structs.replace(small_simulation.project.schema, transaction_id=IdSource())
    project = msgspec.structs.replace(small_simulation.project, schema=schema)
    path = tmp_path_factory.mktemp("without-ids") / "params.yaml"
    path.write_text(json.dumps(to_plain(project)))
    return path


def request(
    simulation: SmallSimulation, config: Path, state: Path, *posts: tuple[str, bytes, bytes | None]
) -> list[Any]:
    """Return status and body of each request: its path, its body and its Idempotency-Key."""

    async def statuses() -> list[Any]:
        requests = RequestBatcher(open_service(simulation.bundle, state, project=open_project(config))[1])
        api, replies = Api(requests, Access(None), b""), list[Any]()
        for path, body, key in posts:
            future: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
            api.take(Request("POST", path, body, b"", b"", key), future.set_result)
            response = await future
            replies.append((response.status, json.loads(response.body)))
        requests.close()
        return replies

    return asyncio.run(statuses())


DECIDE = "/v1/decisions"


def test_over_http_each_request_is_its_own_unless_its_key_differs(
    small_simulation: SmallSimulation, config: Path, tmp_path: Path
) -> None:
    listed = b"[" + b",".join([EVENT] * 3) + b"]"
    plain = [(DECIDE, EVENT, None)] * 3
    keyed = [(DECIDE, EVENT, b"k1"), (DECIDE, EVENT, b"k1"), (DECIDE, OTHER, b"k1"), (DECIDE, listed, b"k1")]
    reply = request(small_simulation, config, tmp_path / "s.db", *plain, *keyed, (DECIDE, listed, None))
    ids = [body["transaction_id"] for status, body in reply[:3] if status == 200]
    assert len(set(ids)) == 3
    (_, first), (_, again), (status, conflict) = reply[3:6]
    assert again == first | {"duplicate": True}
    assert (status, conflict["record"]["transaction_id"]) == (409, first["transaction_id"])
    assert conflict["record"]["reason"].endswith(": amount differs")
    of_lists = [record["transaction_id"] for _, body in reply[6:] for record in body]
    assert len({*ids, first["transaction_id"], *of_lists}) == 3 + 1 + 6
    assert not any("duplicate" in record for _, body in reply[6:] for record in body)


def test_a_key_is_known_after_a_restart_and_belongs_to_its_caller(
    small_simulation: SmallSimulation, config: Path, tmp_path: Path
) -> None:
    listed = b"[" + EVENT + b"," + EVENT + b"]"
    first = request(small_simulation, config, tmp_path / "s.db", (DECIDE, listed, b"a"))[0][1]
    again = request(small_simulation, config, tmp_path / "s.db", (DECIDE, listed, b"a"))[0][1]
    assert again == [record | {"duplicate": True} for record in first]
    refused = request(small_simulation, config, tmp_path / "s.db", (DECIDE, EVENT, b"two words"))
    assert refused[0][0] == 400
    assert request(small_simulation, config, tmp_path / "s.db", (DECIDE, EVENT, b""))[0][0] == 400


def test_a_label_names_a_payment_by_the_id_that_its_response_gave(
    small_simulation: SmallSimulation, config: Path, tmp_path: Path
) -> None:
    (_, decided), *_ = request(small_simulation, config, tmp_path / "s.db", (DECIDE, EVENT, None))
    transaction_id = decided["transaction_id"]
    label = {"transaction_id": transaction_id, "is_fraud": 1, "label_known_at": "2026-03-09T10:00:00Z"}
    replies = request(
        small_simulation, config, tmp_path / "s.db", ("/v1/labels", json.dumps(label).encode(), None)
    )
    assert (
        replies[0][1] | {"type": "label", "transaction_id": transaction_id, "label": "fraud"} == replies[0][1]
    )
    service = open_service(small_simulation.bundle, tmp_path / "s.db")[1]
    assert [logged.ids[0] for logged in service.state_file.since(0) if logged.event is None] == ["c1"]


def test_explain_finds_a_payment_by_the_id_that_was_logged_and_by_no_digest_of_its_content(
    small_simulation: SmallSimulation, config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state, out, source = made(tmp_path / "s.db"), tmp_path / "out.jsonl", tmp_path / "payments.jsonl"
    listed = b"[" + EVENT + b"," + EVENT + b"]"
    reply = request(
        small_simulation, config, state, (DECIDE, EVENT, None), (DECIDE, EVENT, b"k"), (DECIDE, listed, b"l")
    )
    logged = [item["transaction_id"] for item in (reply[0][1], reply[1][1], *reply[2][1])]
    source.write_bytes((EVENT + b"\n") * 2)
    arguments = [f"--state={state}", f"--bundle={small_simulation.bundle}", f"--config={config}", "--plain"]
    assert main(["run", f"--source={source}", f"--out={out}", *arguments]) == 0
    logged += [json.loads(line)["transaction_id"] for line in out.read_text().splitlines()]
    read, write = os.pipe()
    os.write(write, EVENT + b"\n")
    os.close(write)
    service = open_service(small_simulation.bundle, state, project=open_project(config))[1]
    piped = next(Pipe(read).batches(0, 1))
    service.take(Batch([*piped.events, b'{"amount": 1'], [*(piped.identities or []), None], 1), "-")
    service.close()
    os.close(read)
    logged += [identity for identity in piped.identities or [] if identity]
    assert len(set(logged)) == 7
    capsys.readouterr()
    for item in logged:
        assert (
            main(["explain", item, f"--state={state}", f"--bundle={small_simulation.bundle}", "--plain"]) == 0
        )
        assert f"Payment {item} of" in capsys.readouterr().out
    digest = hashlib.blake2b(b'{"amount": 1', digest_size=12).hexdigest()
    unknown = main(["explain", digest, f"--state={state}", f"--bundle={small_simulation.bundle}", "--plain"])
    assert unknown != 0


def test_records_of_a_stream_are_known_by_shard_and_number(
    small_simulation: SmallSimulation, config: Path
) -> None:
    cloud = Cloud(small_simulation)
    records = [ShardEvent(str(FIRST + index), EVENT, 1.0) for index in range(3)]
    for turn in range(2):
        processor = cloud.processor()
        processor.engine = make_engine(
            read_bundle(small_simulation.bundle), processor.scorer, open_project(config)
        )
        assert processor.handle("shardId-000000000001", records) == []
        batch = cloud.lines_of("batch")[-1]
        assert (batch["decided"], batch["duplicates"], batch["conflicts"]) == ((3, 0, 0), (0, 3, 0))[turn]
    assert cloud.decisions().keys() == {f"shardId-000000000001:{FIRST + index}" for index in range(3)}


@pytest.mark.parametrize("command", ["score", "run"])
def test_equal_lines_of_a_pipe_are_several(
    small_simulation: SmallSimulation, config: Path, tmp_path: Path, command: str
) -> None:
    arguments = [command]
    arguments += ["-"] if command == "score" else ["--source=-", f"--state={made(tmp_path / 's.db')}"]
    arguments += [
        f"--bundle={small_simulation.bundle}",
        f"--config={config}",
        f"--out={tmp_path / 'out'}",
        "--plain",
    ]
    if command == "run":
        made(tmp_path / "s.db")
    for turn in (1, 2):
        with standard_input((EVENT + b"\n") * 3):
            assert main(arguments) == 0
        if command == "run":
            # Nobody can tell whether another process's pipe gives again what the first one gave.
            assert len((tmp_path / "out").read_text().splitlines()) == 3 * turn
    lines = [json.loads(line) for line in (tmp_path / "out").read_text().splitlines()]
    assert len({line["transaction_id"] for line in lines}) == len(lines)
    assert all(line["type"] == "decision" for line in lines)


@pytest.mark.parametrize("suffix", ["jsonl", "csv"])
def test_equal_rows_of_a_file_are_several(
    small_simulation: SmallSimulation, config: Path, tmp_path: Path, suffix: str
) -> None:
    path, out = tmp_path / f"payments.{suffix}", tmp_path / "out.jsonl"
    path.write_text("\n".join([*([",".join(PAID)] if suffix == "csv" else []), *[text(suffix)] * 3]) + "\n")
    arguments = [f"--bundle={small_simulation.bundle}", f"--config={config}", f"--out={out}", "--plain"]
    assert main(["score", str(path), *arguments]) == 0
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert len({line["transaction_id"] for line in lines if line["type"] == "decision"}) == 3


def text(suffix: str, **value: object) -> str:
    row = PAID | value
    return ",".join(map(str, row.values())) if suffix == "csv" else json.dumps(row)
