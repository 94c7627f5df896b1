"""The HTTP service as a caller meets it: a real process, real sockets, and kill -9."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec
import pytest

from fraud_detection.adapters.files.event_sources import Batch
from fraud_detection.adapters.host.background import Background
from fraud_detection.adapters.sqlite.output_file import find_decision
from fraud_detection.cli.main import main
from fraud_detection.core.errors import RetryError
from fraud_detection.core.outcomes import Outcome
from fraud_detection.serving.http import batcher
from fraud_detection.serving.http.api_keys import Access, Caller, Key, add_key, load_keys
from fraud_detection.serving.http.batcher import DecisionView, FullError, RequestBatcher
from fraud_detection.serving.http.key_follower import KeysFollower
from fraud_detection.serving.http.openapi import openapi
from fraud_detection.serving.http.routes import Api
from tests.busy_clock import BusyClock
from tests.conftest import SmallSimulation
from tests.states import for_serving, made, open_service

TIMEOUT_S = 60.0
Reply = tuple[int, Any, dict[str, str]]


class Served:
    """A process that serves, and the way to ask it."""

    program: tuple[str, ...] = ("-m", "fraud_detection.cli")
    timeout_s = TIMEOUT_S

    def __init__(self, simulation: SmallSimulation, state: Path, *more: str) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.state = state
        arguments = for_serving(state, more, simulation.bundle)
        command = [sys.executable, *self.program, "serve", "--plain", *arguments]
        if not any(one.startswith("--registry") for one in more):
            command.append(f"--bundle={simulation.bundle}")
        command += [f"--state={state}", f"--port={self.port}"]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)  # noqa: S603 - ours
        self._connection = HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT_S)

    def wait(self) -> None:
        until = time.monotonic() + self.timeout_s
        while True:
            try:
                if self.request("GET", "/readyz")[0] == 200:
                    return
            except (OSError, HTTPException):
                self._connection.close()
            assert self.process.poll() is None, self.process.communicate()
            assert time.monotonic() < until
            time.sleep(0.05)

    def request(self, method: str, path: str, body: bytes = b"", **headers: str) -> Reply:
        self._connection.request(
            method, path, body or None, {k.replace("_", "-"): v for k, v in headers.items()}
        )
        response = self._connection.getresponse()
        content = response.read()
        plain = content and "json" in (response.getheader("content-type") or "")
        return (
            response.status,
            json.loads(content) if plain else content.decode(),
            dict(response.getheaders()),
        )

    def decide(self, event: bytes) -> Reply:
        return self.request("POST", "/v1/decisions", event)

    def stop(self, how: signal.Signals = signal.SIGTERM) -> str:
        if self.process.poll() is None:
            self.process.send_signal(how)
        _, said = self.process.communicate(timeout=TIMEOUT_S)
        self._connection.close()
        return str(said)


@contextmanager
def served(simulation: SmallSimulation, state: Path, *more: str) -> Iterator[Served]:
    one = Served(simulation, state, *more)
    try:
        one.wait()
        yield one
    finally:
        one.stop(signal.SIGKILL)


def replace(path: Path, content: bytes) -> None:
    """Give a file that is followed another content in one step: nobody reads a part of it."""
    new = path.with_name(f"{path.name}.new")
    new.write_bytes(content)
    new.replace(path)


@pytest.fixture(scope="module")
def events(small_simulation: SmallSimulation) -> list[bytes]:
    return small_simulation.events(300, labels="none", late_share=0, duplicate_share=0, malformed_share=0)


@pytest.fixture(scope="module")
def server(small_simulation: SmallSimulation, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(small_simulation, tmp_path_factory.mktemp("server") / "state.db") as one:
        yield one


def test_one_payment_after_the_other_is_decided_as_a_file_of_them_is(
    small_simulation: SmallSimulation, events: list[bytes], tmp_path: Path
) -> None:
    (tmp_path / "events.jsonl").write_bytes(b"\n".join(events) + b"\n")
    out = tmp_path / "decisions.jsonl"
    arguments = [
        "score",
        str(tmp_path / "events.jsonl"),
        f"--bundle={small_simulation.bundle}",
        f"--out={out}",
    ]
    assert main([*arguments, "--plain"]) == 0
    wanted = [
        {k: v for k, v in json.loads(line).items() if k != "delivery"}
        for line in out.read_text().splitlines()
    ]
    with served(small_simulation, tmp_path / "state.db") as one:
        responses = [one.decide(event) for event in events[:200]]
        status, listed, _ = one.decide(b"[" + b",".join(events[200:]) + b"]")
    assert {status for status, _, _ in responses} == {status} == {200}
    assert [body for _, body, _ in responses] + listed == wanted


def test_the_same_payment_again_gets_the_same_decision_and_no_second_decision(
    server: Served, events: list[bytes]
) -> None:
    first, again = server.decide(events[0])[1], server.decide(events[0])[1]
    assert again == first | {"duplicate": True}
    reply = server.request("GET", f"/v1/decisions/{first['transaction_id']}")
    assert reply[:2] == (200, first)


WRONG: dict[str, tuple[str, str, bytes, int, str]] = {
    "no JSON": ("POST", "/v1/decisions", b"{", 422, "not valid JSON"),
    "a field that is missing": ("POST", "/v1/decisions", b"{}", 422, "required value is missing"),
    "a list that is none": ("POST", "/v1/decisions", b"[1,", 400, "expected a list"),
    "an empty list": ("POST", "/v1/decisions", b"[]", 400, "1 to 500"),
    "too much": ("POST", "/v1/decisions", b" " * (1 << 20) + b"{}", 413, "at most 1,048,576 bytes"),
    "no such decision": ("GET", "/v1/decisions/nobody", b"", 404, "no decision on 'nobody'"),
    "no such path": ("GET", "/v2", b"", 404, "/openapi.json"),
    "another method": ("GET", "/v1/decisions", b"", 405, "takes POST"),
    "an id in the path that is no text": ("GET", "/v1/decisions/%ff", b"", 400, "not text in UTF-8"),
    "a label without a verdict": ("POST", "/v1/labels", b'{"transaction_id":"x"}', 422, "verdict"),
    "a body that is compressed": ("POST", "/v1/decisions", gzip.compress(b"{}"), 415, "compressed by gzip"),
    "labels that are compressed": ("POST", "/v1/labels", gzip.compress(b"[]"), 415, "compressed by gzip"),
    "a label that is no object": ("POST", "/v1/labels", b"7", 400, "expected a label"),
}


METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")
READ = ("/healthz", "/readyz", "/metrics", "/openapi.json", "/v1/decisions/7")
TAKEN = {"/v1/decisions": {"POST"}, "/v1/labels": {"POST"}, **{path: {"GET", "HEAD"} for path in READ}}


@pytest.mark.parametrize("path", TAKEN)
def test_head_has_a_response_where_get_has_and_another_method_lists_what_is_allowed(
    server: Served, path: str
) -> None:
    reply = {method: server.request(method, path) for method in METHODS}
    for method in set(METHODS) - TAKEN[path]:
        status, _, headers = reply[method]
        assert (status, set(headers["allow"].split(", "))) == (405, TAKEN[path])
        assert headers["content-type"] == "application/problem+json"
    assert all(reply[method][0] != 405 for method in TAKEN[path])
    if "HEAD" in TAKEN[path]:
        (status, content, headers), (as_get, _, like) = reply["HEAD"], reply["GET"]
        assert (status, content, headers["content-type"]) == (as_get, "", like["content-type"])


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_gets_the_reason_and_the_server_goes_on(server: Served, case: str) -> None:
    method, path, body, wanted, message = WRONG[case]
    status, response, headers = server.request(method, path, body, X_Request_Id="mine-7")
    assert status == wanted
    assert message in json.dumps(response)
    assert headers["x-request-id"] == "mine-7"
    assert server.request("GET", "/healthz")[0] == 200


def test_a_bad_payment_in_a_list_does_not_stop_the_others(server: Served, events: list[bytes]) -> None:
    status, responses, _ = server.decide(b"[" + events[1] + b',{"amount":1},' + events[2] + b"]")
    assert status == 200
    assert ["action" in reply for reply in responses] == [True, False, True]
    assert responses[1]["path"].startswith("$.")


@pytest.mark.parametrize("bad", [b"nothing", b'{"amount": NaN}', b'"\xe9"', b"[" * 5_000 + b"]" * 5_000])
def test_an_item_that_strict_json_forbids_does_not_stop_the_others(
    server: Served, events: list[bytes], bad: bytes
) -> None:
    odd = events[5][:-1] + rb', "name": "caf\ud83d"}'
    status, responses, _ = server.decide(b"\xef\xbb\xbf[" + events[4] + b", " + bad + b", " + odd + b"]")
    assert status == 200
    assert ["action" in reply for reply in responses] == [True, False, True]
    alone = b"\xef\xbb\xbf" + events[4]
    assert server.decide(alone)[1]["transaction_id"] == json.loads(events[4])["transaction_id"]


def test_a_label_that_is_no_object_does_not_stop_the_others_of_its_list(
    server: Served, events: list[bytes]
) -> None:
    payment = json.loads(events[6])
    transaction_id = server.decide(events[6])[1]["transaction_id"]
    label = json.dumps(
        {"transaction_id": transaction_id, "is_fraud": 1, "label_known_at": payment["event_time"]}
    ).encode()
    odd = label[:-1] + b', "note": NaN}'
    status, responses, _ = server.request("POST", "/v1/labels", b"[7, nothing, " + odd + b", " + label + b"]")
    assert status == 200
    assert [labels["type"] for labels in responses] == ["quarantined", "quarantined", "label", "duplicate"]


def test_a_label_is_learned_once(server: Served, events: list[bytes]) -> None:
    payment = json.loads(events[3])
    transaction_id = server.decide(events[3])[1]["transaction_id"]
    label = {"transaction_id": transaction_id, "is_fraud": 1, "label_known_at": payment["event_time"]}
    first = server.request("POST", "/v1/labels", json.dumps(label).encode())
    assert first[:2] == (
        200,
        {"type": "label", "schema_version": 2, "transaction_id": transaction_id, "label": "fraud"},
    )
    assert server.request("POST", "/v1/labels", json.dumps([label]).encode())[1] == [
        {"type": "duplicate", "schema_version": 2, "transaction_id": transaction_id, "duplicate": True}
    ]


def test_a_background_stream_meets_the_same_profiles(
    small_simulation: SmallSimulation, events: list[bytes], tmp_path: Path
) -> None:
    cards: dict[str, list[bytes]] = {}
    for event in events:
        cards.setdefault(json.loads(event)["card_id"], []).append(event)
    *streamed, request = max(cards.values(), key=len)
    others = [event for event in events if json.loads(event)["card_id"] != json.loads(request)["card_id"]]
    source = tmp_path / "stream.jsonl"
    source.write_bytes(b"\n".join([*others[:80], *streamed]) + b"\n")
    _, alone = open_service(small_simulation.bundle, tmp_path / "alone.db")
    alone.take(Batch([*others[:80], *streamed, request], None, 0), "test")
    record = find_decision(alone.state_file, json.loads(request)["transaction_id"])
    assert record is not None
    alone.close()
    for start in range(2):
        with served(small_simulation, tmp_path / "state.db", f"--source={source}") as service:
            until = time.monotonic() + TIMEOUT_S
            last = json.loads(streamed[-1])["transaction_id"]
            while service.request("GET", f"/v1/decisions/{last}")[0] != 200:
                assert time.monotonic() < until
            response = service.decide(request)[1]
            assert response["score"] == record[0].score
            assert response.get("duplicate", False) == bool(start)
            output = service.stop()
        # The second process reads on from the end, and decides nothing again.
        decided = 0 if start else len(others[:80]) + len(streamed) + 1
        assert f"stopped: payments decided: {decided}" in output


def test_a_missing_source_is_reported_at_the_start(
    small_simulation: SmallSimulation, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [
        "serve",
        f"--bundle={small_simulation.bundle}",
        f"--state={made(tmp_path / 's.db')}",
        "--source=none.jsonl",
    ]
    assert main(command) == 2
    assert "none.jsonl: no such file" in capsys.readouterr().err


def test_metrics_count_requests(server: Served, events: list[bytes]) -> None:
    def counted() -> dict[str, float]:
        text = server.request("GET", "/metrics")[1]
        rows = [row.rsplit(" ", 1) for row in text.splitlines() if row and not row.startswith("#")]
        return {name: float(value) for name, value in rows}

    def decided(counts: Mapping[str, float]) -> float:
        return sum(value for name, value in counts.items() if name.startswith("fraud_decisions_total"))

    before = counted()
    for event in events[100:110]:
        assert server.decide(event)[0] == 200
    after = counted()
    assert decided(after) == decided(before) + 10
    assert after["fraud_request_latency_seconds_count"] > before["fraud_request_latency_seconds_count"]
    name = "fraud_request_latency_seconds"
    counts = [value for sample, value in after.items() if sample.startswith(f"{name}_bucket")]
    assert counts == sorted(counts)
    assert counts[-1] == after[f'{name}_bucket{{le="+Inf"}}'] == after[f"{name}_count"]
    assert 0 < after[f"{name}_sum"] < after[f"{name}_count"]
    assert after["process_cpu_seconds_total"] > 0 < after["process_open_fds"]
    assert abs(after["process_start_time_seconds"] - time.time()) < 3_600
    assert any(sample.startswith("fraud_build_info{") for sample in after)


def test_a_kill_loses_no_returned_decision(
    small_simulation: SmallSimulation, events: list[bytes], tmp_path: Path
) -> None:
    state, responses = tmp_path / "state.db", dict[str, Any]()
    with served(small_simulation, state) as one:

        def send() -> None:
            with closing(HTTPConnection("127.0.0.1", one.port, timeout=TIMEOUT_S)) as connection:
                for event in events:
                    try:
                        connection.request("POST", "/v1/decisions", event)
                        body = json.loads(connection.getresponse().read())
                    except (OSError, HTTPException):
                        return
                    responses[body["transaction_id"]] = body

        sender = threading.Thread(target=send)
        sender.start()
        while len(responses) < 60:
            time.sleep(0.001)
        one.stop(signal.SIGKILL)
        sender.join()
    assert 60 <= len(responses) < len(events)
    with served(small_simulation, state) as one:
        for transaction_id, response in responses.items():
            assert one.request("GET", f"/v1/decisions/{transaction_id}")[:2] == (200, response)
        rest = [one.decide(event)[1] for event in events]
    duplicate = {body["transaction_id"] for body in rest if body.get("duplicate")}
    assert responses.keys() <= duplicate


def test_a_stop_decides_what_was_accepted_and_saves_the_profiles(
    small_simulation: SmallSimulation, events: list[bytes], tmp_path: Path
) -> None:
    one = Served(small_simulation, tmp_path / "state.db")
    one.wait()
    for event in events[:20]:
        assert one.decide(event)[0] == 200
    output = one.stop(signal.SIGTERM)
    assert "payments decided: 20" in output
    assert one.process.returncode == 0
    _, again = open_service(small_simulation.bundle, tmp_path / "state.db")
    assert again.recovered == 0
    again.take(Batch(events[:1], None, 0), "test")
    assert (again.tally.decided, again.tally.duplicates) == (0, 1)
    again.close()


def test_keys_define_who_may_do_what_and_how_often(
    small_simulation: SmallSimulation, events: list[bytes], tmp_path: Path
) -> None:
    keys = tmp_path / "keys.yaml"
    till = add_key(keys, "till", ("decide",), 2.0)
    office = add_key(keys, "office", ("read", "operate"), None)
    assert till not in keys.read_text()
    assert oct(keys.stat().st_mode)[-3:] == "600"
    with served(small_simulation, tmp_path / "state.db", f"--keys={keys}") as one:
        assert one.decide(events[0])[0] == 401
        assert one.request("POST", "/v1/decisions", events[0], Authorization="Bearer nobody")[0] == 401
        request = f"Bearer {till}"
        statuses = [
            one.request("POST", "/v1/decisions", event, Authorization=request) for event in events[:6]
        ]
        assert [status for status, _, _ in statuses][:2] == [200, 200]
        status, response, headers = next(each for each in statuses if each[0] != 200)
        assert status == 429
        assert "till exceeds its rate limit" in response["detail"]
        assert int(headers["retry-after"]) >= 1
        assert one.request("GET", "/v1/decisions/x", Authorization=request)[0] == 403
        assert one.request("GET", "/metrics", Authorization=f"Bearer {office}")[0] == 200
        assert one.request("GET", "/healthz")[0] == 200


def test_a_public_address_needs_keys(
    small_simulation: SmallSimulation, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [
        "serve",
        f"--bundle={small_simulation.bundle}",
        f"--state={tmp_path / 's.db'}",
        "--host=0.0.0.0",
    ]
    assert main(arguments) == 2
    assert "can be reached from outside" in capsys.readouterr().err


def test_a_key_is_shown_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keys = tmp_path / "keys.yaml"
    assert main(["api-key", "till", f"--keys={keys}"]) == 0
    output = capsys.readouterr().out.strip()
    assert Access(load_keys(keys)).caller(f"Bearer {output}") is not None
    assert main(["api-key", "till", f"--keys={keys}"]) == 2
    assert main(["api-key", "other", "--roles=rule", f"--keys={keys}"]) == 2
    assert "allowed here: decide, read, label, operate" in capsys.readouterr().err


@pytest.mark.parametrize("more", [(), ("--workers=2",)], ids=["one process", "workers"])
def test_the_file_of_keys_is_followed_while_it_serves(
    small_simulation: SmallSimulation, events: list[bytes], tmp_path: Path, more: tuple[str, ...]
) -> None:
    keys = tmp_path / "keys.yaml"
    current_key, gone = add_key(keys, "kept", ("decide",), None), add_key(keys, "gone", ("decide",), None)
    without_gone = keys.read_text().partition("gone:")[0]

    def status(one: Served, key: str) -> int:
        one._connection.close()  # another connection, and so another worker
        return one.request("POST", "/v1/decisions", events[0], Authorization=f"Bearer {key}")[0]

    def until_refused(one: Served, key: str, wanted: int) -> None:
        deadline = time.monotonic() + TIMEOUT_S
        while {status(one, key) for _ in range(12)} != {wanted}:
            assert time.monotonic() < deadline
            time.sleep(0.05)

    with served(small_simulation, tmp_path / "state.db", f"--keys={keys}", *more) as one:
        assert (status(one, current_key), status(one, gone)) == (200, 200)
        replace(keys, without_gone.encode())
        until_refused(one, gone, 401)
        assert status(one, current_key) == 200
        new = add_key(keys, "new", ("decide",), None)
        one.process.send_signal(signal.SIGHUP)
        until_refused(one, new, 200)
        replace(keys, b"kept: [1")
        one.process.send_signal(signal.SIGHUP)
        deadline = time.monotonic() + TIMEOUT_S
        while one.request("GET", "/readyz")[1].get("look_at") != ["keys"]:
            assert time.monotonic() < deadline
        assert one.request("GET", "/readyz")[0] == 200
        assert {status(one, current_key), status(one, new)} == {200}
        replace(keys, without_gone.encode())
        until_refused(one, new, 401)
        assert one.process.poll() is None
        output = one.stop()
    assert "revoked: gone" in output
    assert "added: new" in output
    assert "the keys of before go on" in output


def test_sighup_without_keys_ends_nothing(
    small_simulation: SmallSimulation, events: list[bytes], tmp_path: Path
) -> None:
    with served(small_simulation, tmp_path / "state.db") as one:
        one.process.send_signal(signal.SIGHUP)
        assert one.decide(events[0])[0] == 200
        assert "nothing to read again" in one.stop()
        assert one.process.returncode == 0


def test_requests_stay_counted_over_a_change_of_the_keys(tmp_path: Path) -> None:
    file = tmp_path / "keys.yaml"
    till = add_key(file, "till", ("decide",), 5.0)
    access, background = Access(load_keys(file)), Background()
    follower = KeysFollower(file, access, background)
    follower.look()

    def request() -> Caller:
        found = access.caller(f"Bearer {till}")
        assert found is not None
        return found

    before = request()
    assert before.spend(5) == 0.0
    add_key(file, "office", ("read",), None)
    follower.look()
    assert request() is before
    file.write_text(file.read_text().replace("[decide]", "[decide, read]"))
    follower.look()
    assert request().roles == {"decide", "read"}
    assert request().spend(5) > 0.5
    for broken in (lambda: file.write_text("till: 5"), lambda: file.write_text(""), file.unlink):
        broken()
        follower.look()
        assert request().roles == {"decide", "read"}
        assert background.warnings
    add_key(file, "other", ("read",), None)
    follower.look()
    assert access.caller(f"Bearer {till}") is None
    assert not background.warnings


def test_an_allowance_fills_up_again() -> None:
    now = [0.0]
    caller = Caller("till", Key(sha256="0" * 64, roles=("decide",), per_second=10.0), lambda: now[0])
    assert caller.spend(10) == 0.0
    assert caller.spend(1) == pytest.approx(0.1)
    now[0] = 0.1
    assert caller.spend(1) == 0.0
    now[0] = 60.0
    assert caller.spend(25) == 0.0
    assert caller.spend(1) == pytest.approx(1.6)


def on_a_loop(
    simulation: SmallSimulation,
    folder: Path,
    request: Callable[[RequestBatcher], Any],
    max_queue: int = 10,
) -> Any:  # noqa: ANN401 - whatever was asked
    _, embedded = open_service(simulation.bundle, folder / "state.db")
    try:
        return asyncio.run(request(RequestBatcher(embedded, max_queue)))
    finally:
        embedded.close()


def test_a_full_queue_refuses_at_once_and_takes_nothing(
    small_simulation: SmallSimulation, events: list[bytes], tmp_path: Path
) -> None:
    async def request(requests: RequestBatcher) -> None:
        first = requests.submit(events[:8])
        with pytest.raises(FullError, match="8 events are queued already"):
            requests.submit(events[8:11])
        assert requests.waiting == 8
        assert all(isinstance(response, DecisionView) for response in await first)
        assert (requests.waiting, requests.refused) == (0, 3)
        assert len(await requests.submit(events[8:11])) == 3

    on_a_loop(small_simulation, tmp_path, request)


def test_a_retried_request_gets_retry_later_when_the_record_cannot_be_read(
    small_simulation: SmallSimulation, events: list[bytes], tmp_path: Path
) -> None:
    async def request(requests: RequestBatcher) -> None:
        await requests.submit(events[:1])
        requests._recent.clear()  # as after a restart
        state_file, rows = requests.service.state_file, requests.service.state_file.rows

        def busy(*_: object) -> list[tuple[Any, ...]]:
            raise RetryError("the state file is busy")

        state_file.rows = busy  # type: ignore[method-assign, assignment]
        again, fresh = requests.submit(events[:1]), requests.submit(events[1:2])
        with pytest.raises(RetryError, match="busy"):
            await asyncio.wait_for(again, TIMEOUT_S)
        (body,) = await asyncio.wait_for(fresh, TIMEOUT_S)
        assert isinstance(body, DecisionView)
        state_file.rows = rows  # type: ignore[method-assign]
        ((duplicate,),) = [await requests.submit(events[:1])]
        assert isinstance(duplicate, DecisionView)
        assert duplicate.duplicate

    on_a_loop(small_simulation, tmp_path, request)


def test_of_a_list_that_is_refused_nothing_is_decided_later(
    small_simulation: SmallSimulation, events: list[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batcher, "MAX_BATCH_SIZE", 3)

    async def request(requests: RequestBatcher) -> None:
        take, tasks = requests.service.take, list[int]()

        def busy(batch: Batch, _: str) -> list[Outcome]:
            tasks.append(len(batch.events))
            requests.service.take = take  # type: ignore[method-assign]
            raise RetryError("the state file is busy")

        requests.service.take = busy  # type: ignore[method-assign, assignment]
        done: list[int] = []
        refused = requests.submit(events[:8], done=lambda: done.append(requests.waiting))
        with pytest.raises(RetryError, match="busy"):
            await refused
        assert tasks == [3]
        # Whoever is told that it is done may rely on it: its ids are free for other workers.
        assert len(await requests.submit(events[:1])) == 1
        assert (requests.waiting, requests.service.tally.decided, len(done)) == (0, 1, 1)

    on_a_loop(small_simulation, tmp_path, request)


def test_an_id_with_any_letters_is_found_by_its_path(server: Served, events: list[bytes]) -> None:
    one = "a b/ü?#%"
    payment = json.loads(events[0]) | {"transaction_id": one}
    assert server.decide(json.dumps(payment).encode())[0] == 200
    status, body, _ = server.request("GET", f"/v1/decisions/{quote(one, safe='')}")
    assert (status, body["transaction_id"]) == (200, one)


def test_a_service_that_cannot_commit_reports_it_at_once_and_recovers_by_itself(
    server: Served, events: list[bytes]
) -> None:
    assert server.decide(events[200])[0] == 200
    with closing(sqlite3.connect(server.state, isolation_level=None)) as second:
        second.execute("BEGIN IMMEDIATE")
        with BusyClock() as clock:
            status, body, headers = server.decide(events[201])
            assert (status, headers["retry-after"]) == (503, "1")
            assert "state file" in body["detail"]
            assert server.request("GET", "/readyz")[0] == 503
            assert clock.seconds() < 3
        second.execute("ROLLBACK")
    status, body, _ = server.decide(events[201])
    assert (status, body["duplicate"]) == (200, True)
    assert server.request("GET", "/readyz")[0] == 200


def test_requests_that_wait_together_are_decided_together(
    small_simulation: SmallSimulation, events: list[bytes], tmp_path: Path
) -> None:
    async def request(requests: RequestBatcher) -> int:
        batches = []
        take = requests.service.take

        def counted(batch: Batch, source: str) -> list[Outcome]:
            batches.append(len(batch.events))
            return take(batch, source)

        requests.service.take = counted  # type: ignore[method-assign]
        await asyncio.gather(*[requests.submit([event]) for event in events[:9]])
        return batches[0]

    assert on_a_loop(small_simulation, tmp_path, request) == 9


def test_a_client_that_disconnects_does_not_stop_the_others(
    small_simulation: SmallSimulation, events: list[bytes], tmp_path: Path
) -> None:
    async def request(requests: RequestBatcher) -> None:
        gone, stays = requests.submit(events[:1]), requests.submit(events[1:2])
        gone.cancel()
        (body,) = await stays
        assert isinstance(body, DecisionView)
        assert requests.find(json.loads(events[0])["transaction_id"]) is not None

    on_a_loop(small_simulation, tmp_path, request)


def test_the_description_has_the_fields_of_the_project(small_simulation: SmallSimulation) -> None:
    schema = small_simulation.project.schema
    document = openapi(small_simulation.project, "1", with_keys=False)
    fields = document["components"]["schemas"]["Payment"]["properties"]
    named = [entity.field for entity in schema.entities.values()]
    named += [number.field for number in schema.numbers.values()]
    assert set(named) <= set(fields)
    assert fields["amount"]["anyOf"][0]["type"] == "number"
    refs = {task for task in json.dumps(document).split('"') if task.startswith("#/components/schemas/")}
    assert {ref.rpartition("/")[2] for ref in refs} <= set(document["components"]["schemas"])


def test_every_route_is_described(small_simulation: SmallSimulation, tmp_path: Path) -> None:
    async def request(requests: RequestBatcher) -> set[tuple[str, str]]:
        return set(Api(requests, Access(None), b"")._routes)

    routes = on_a_loop(small_simulation, tmp_path, request)
    described = openapi(small_simulation.project, "1", with_keys=False)["paths"]
    for method, path in routes - {("GET", "/openapi.json")}:
        assert method.lower() in described[path]


def test_a_served_description_is_the_computed_one(server: Served, small_simulation: SmallSimulation) -> None:
    status, body, _ = server.request("GET", "/openapi.json")
    assert status == 200
    computed = msgspec.json.encode(openapi(small_simulation.project, "1", with_keys=False))
    assert body["paths"] == msgspec.json.decode(computed)["paths"]
    assert os.getpid() != server.process.pid
