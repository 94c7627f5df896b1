"""Several workers behind one port, as a caller meets them: real processes, and kill -9."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

import pytest

from fraud_detection.adapters.files.event_sources import Batch
from fraud_detection.adapters.sqlite.state_reader import StateReader
from fraud_detection.cli.main import main
from fraud_detection.core.outcomes import Decided
from fraud_detection.serving.create_state import new_state
from fraud_detection.serving.http.api_keys import add_key
from fraud_detection.serving.load_engine import load_engine
from fraud_detection.serving.workers.ownership import Ownership, worker_path
from tests.conftest import SmallSimulation
from tests.functional.http.test_service import Reply, Served, served
from tests.functional.workers.test_replica import contents, open_workers, replicate_all
from tests.states import made, open_service, short_history

WORKERS = 2
TIMEOUT_S = 60.0
TWO = f"--workers={WORKERS}"
RATES = {"till": 10.0, "office": None}


class HttpClient:
    """A connection of its own, which the system gives to some worker."""

    def __init__(self, port: int) -> None:
        self._connection = HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)

    def request(self, method: str, path: str, body: bytes = b"", **headers: str) -> Reply:
        self._connection.request(method, path, body or None, headers)
        # A last answer takes the socket with it: it is closed here, whatever becomes of the rest of it.
        with self._connection.getresponse() as response:
            return response.status, json.loads(response.read()), dict(response.getheaders())

    def decide(self, event: bytes) -> Reply:
        return self.request("POST", "/v1/decisions", event)

    def close(self) -> None:
        self._connection.close()


@contextmanager
def http_clients(port: int, count: int = 12) -> Iterator[list[HttpClient]]:
    """Open so many lines that all workers are among those asked, but for one chance in thousands."""
    with ExitStack() as stack:
        yield [stack.enter_context(closing(HttpClient(port))) for _ in range(count)]


def metrics(one: Served, **headers: str) -> dict[str, float]:
    text = one.request("GET", "/metrics", b"", **headers)[1]
    rows = [row.rsplit(" ", 1) for row in text.splitlines() if row and not row.startswith("#")]
    return {name: float(value) for name, value in rows}


def total(one: Served, name: str, **headers: str) -> float:
    return sum(value for sample, value in metrics(one, **headers).items() if sample.partition("{")[0] == name)


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def until_replicated(one: Served, events: int) -> None:
    """Wait until each worker has replicated what the others decided."""
    until(lambda: total(one, "fraud_replicated_events_total") == events * (WORKERS - 1))


def children(pid: int) -> list[int]:
    try:
        return [int(part) for part in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def folder_of(pid: int) -> Path:
    """Return where the workers meet, as one of them was configured."""
    return Path(json.loads(Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[-2])["folder"])


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def stored_decisions(state: Path) -> dict[str, tuple[int, bytes, bytes]]:
    """Return of each payment the worker that decided it, its event and its features; each is there once."""
    by_name: dict[str, tuple[int, bytes, bytes]] = {}
    for worker in range(WORKERS):
        with closing(sqlite3.connect(worker_path(state, worker, WORKERS))) as db:
            for transaction_id, event, features in db.execute(
                "SELECT transaction_id, event, features FROM decisions"
            ):
                assert transaction_id not in by_name
                by_name[transaction_id] = (worker, event, features)
    return by_name


@pytest.fixture(scope="module")
def events(small_simulation: SmallSimulation) -> list[bytes]:
    return small_simulation.events(400, labels="none", late_share=0, duplicate_share=0, malformed_share=0)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("workers") / "state.db"


@pytest.fixture(scope="module")
def server(small_simulation: SmallSimulation, files: Path) -> Iterator[Served]:
    with served(small_simulation, files, TWO) as one:
        yield one


def test_whichever_worker_gets_a_payment_it_is_decided_once(server: Served, events: list[bytes]) -> None:
    before = total(server, "fraud_decisions_total")
    with http_clients(server.port) as clients:
        first = [clients[index % len(clients)].decide(event) for index, event in enumerate(events[:120])]
        assert {status for status, _, _ in first} == {200}
        assert not any("duplicate" in body for _, body, _ in first)
        for shift in (1, 2, 5):
            for index, event in enumerate(events[:120]):
                again = clients[(index + shift) % len(clients)].decide(event)
                assert again[:2] == (200, first[index][1] | {"duplicate": True})
        for index, (_, body, _) in enumerate(first):
            reply = clients[(index + 3) % len(clients)].request(
                "GET", f"/v1/decisions/{body['transaction_id']}"
            )
            assert reply[:2] == (200, body)
        assert total(server, "fraud_decisions_total") == before + 120
        counted = metrics(server)
        decided = [
            sum(
                value
                for name, value in counted.items()
                if name.startswith(f'fraud_decisions_total{{worker="{worker}"')
            )
            for worker in range(WORKERS)
        ]
        assert min(decided) > 0
        assert counted['fraud_worker_up{worker="0"}'] == counted['fraud_worker_up{worker="1"}'] == 1
        assert total(server, "fraud_forwarded_events_total") > 0
        for client in clients:
            assert client.request("GET", "/readyz")[0] == 200
            assert client.request("GET", "/v1/decisions/nobody")[0] == 404


def test_the_process_that_starts_workers_loads_no_model(server: Served) -> None:
    def loaded(pid: int) -> bool:
        return "libxgboost" in Path(f"/proc/{pid}/maps").read_text()

    assert [loaded(pid) for pid in (server.process.pid, *children(server.process.pid))] == [False, True, True]


def test_a_list_has_its_results_in_order_whoever_owns_its_events(server: Served, events: list[bytes]) -> None:
    bad = b'{"amount":1}'
    status, responses, _ = server.decide(b"[" + b",".join([*events[120:160], bad, *events[160:200]]) + b"]")
    assert status == 200
    wanted = [json.loads(event)["transaction_id"] for event in events[120:200]]
    assert [reply["transaction_id"] for reply in responses if "action" in reply] == wanted
    assert responses[40]["path"].startswith("$.")


def test_equal_events_that_cannot_be_decided_are_one_row_whichever_worker_gets_them(
    server: Served, files: Path
) -> None:
    bad = [b'{"card_id":"c1"}', b"no JSON at all", b'{"type":"label"}']
    before = total(server, "fraud_quarantined_total")
    with http_clients(server.port) as clients:
        for client in clients:
            for event in bad:
                assert client.decide(event)[0] == 422
                assert client.request("POST", "/v1/decisions", event, **{"Idempotency-Key": "k1"})[0] == 422
    assert total(server, "fraud_quarantined_total") - before == 2 * len(clients) * len(bad)
    results: list[tuple[bytes, int]] = []
    for worker in range(WORKERS):
        with closing(StateReader(worker_path(files, worker, WORKERS))) as record:
            results += [
                (refused.event, refused.count)
                for refused in record.quarantined_events()
                if refused.event in bad
            ]
    # Each that has no key counts, and all that have it count once.
    assert sorted(results) == sorted((event, len(clients) + 1) for event in bad)


def test_a_label_reaches_the_worker_that_decided_its_payment(server: Served, events: list[bytes]) -> None:
    with http_clients(server.port, 6) as clients:
        for index, event in enumerate(events[200:224]):
            payment = json.loads(event)
            transaction_id = payment["transaction_id"]
            label = {
                "transaction_id": transaction_id,
                "is_fraud": index % 2,
                "label_known_at": payment["event_time"],
            }
            early = json.dumps([label]).encode()
            status, responses, _ = clients[index % 6].request("POST", "/v1/labels", early)
            # Nobody knows the payment yet: the label is not dropped in silence.
            assert status == 200
            assert f"no worker knows payment '{transaction_id}'" in responses[0]["detail"]
            assert "`card_id`" in responses[0]["detail"]
            assert clients[0].request("POST", "/v1/labels", early[1:-1])[0] == 404
            assert clients[(index + 1) % 6].decide(event)[0] == 200
            reply = clients[(index + 2) % 6].request("POST", "/v1/labels", early[1:-1])
            assert (reply[0], reply[1]["type"], reply[1]["transaction_id"]) == (200, "label", transaction_id)
            assert reply[1]["label"] == ("fraud" if index % 2 else "legitimate")
            again = json.dumps(label | {"card_id": payment["card_id"]}).encode()
            duplicate = clients[(index + 3) % 6].request("POST", "/v1/labels", again)[1]
            assert (duplicate["type"], duplicate["transaction_id"]) == ("duplicate", transaction_id)


def test_a_label_with_its_card_may_come_before_its_payment(server: Served, events: list[bytes]) -> None:
    before = total(server, "fraud_labels_total")
    for event in events[224:230]:
        payment = json.loads(event)
        one, card = payment["transaction_id"], payment["card_id"]
        label = {
            "transaction_id": one,
            "is_fraud": 1,
            "label_known_at": payment["event_time"],
            "card_id": card,
        }
        reply = server.request("POST", "/v1/labels", json.dumps(label).encode())
        assert (reply[0], reply[1]["transaction_id"], reply[1]["label"]) == (200, one, "fraud")
        assert server.decide(event)[0] == 200
        assert server.request("POST", "/v1/labels", json.dumps(label).encode())[1]["duplicate"] is True
    assert total(server, "fraud_labels_total") == before + 6


def test_a_payment_and_its_label_may_come_in_one_list(server: Served, events: list[bytes]) -> None:
    payment = json.loads(events[230])
    label = {
        "type": "label",
        "transaction_id": payment["transaction_id"],
        "is_fraud": 1,
        "label_known_at": payment["event_time"],
    }
    responses = server.decide(b"[" + events[230] + b"," + json.dumps(label).encode() + b"]")[1]
    wanted = {"type": "label", "transaction_id": payment["transaction_id"], "label": "fraud"}
    assert responses[1] == wanted | {"schema_version": 2}


def alone(simulation: SmallSimulation, events: Sequence[bytes], state: Path) -> list[bytes]:
    """Return the features of payments that one process takes one by one."""
    _, service = open_service(simulation.bundle, state)
    results = []
    for event in events:
        (outcome,) = service.take(Batch([event], None, 0), "test")
        assert isinstance(outcome, Decided)
        results.append(outcome.values.tobytes())
    service.close()
    return results


def test_features_of_a_card_are_those_of_one_process_and_shared_ones_become_so(
    small_simulation: SmallSimulation, events: list[bytes], tmp_path: Path
) -> None:
    state = tmp_path / "state.db"
    with served(small_simulation, state, TWO) as one, http_clients(one.port, 6) as clients:
        for index, event in enumerate(events[:200]):
            assert clients[index % 6].decide(event)[0] == 200
        # After a pause everybody knows everything.
        for index, event in enumerate(events[200:220]):
            until_replicated(one, 200 + index)
            assert clients[index % 6].decide(event)[0] == 200
        one.stop()
    wanted = alone(small_simulation, events[:220], tmp_path / "alone.db")
    stored = stored_decisions(state)
    names = [definition.name for definition in load_engine(small_simulation.bundle).extractor.definitions]
    of_card = [index for index, name in enumerate(names) if name.startswith("card_")]
    assert len(of_card) > 20
    differ = 0
    for index, event in enumerate(events[:220]):
        row = stored[json.loads(event)["transaction_id"]][2]
        served_row, wanted_row = _columns(row), _columns(wanted[index])
        assert all(served_row[column] == wanted_row[column] for column in of_card)
        differ += row != wanted[index]
        if index >= 200:
            assert row == wanted[index]
    # Without a pause a shared profile may lag behind: else this test would show nothing.
    assert differ > 0


class Load(threading.Thread):
    """Sends events one after another, each again until it is answered, as a till does; keeps every answer."""

    def __init__(self, port: int, events: Sequence[bytes], *, ends_on_error: bool = False) -> None:
        super().__init__()
        self.port, self.events, self.ends_on_error = port, events, ends_on_error
        self.responses: dict[str, dict[str, Any]] = {}
        self.statuses: list[int] = []
        self.stopped = False

    def run(self) -> None:
        client = HttpClient(self.port)
        for event in self.events:
            while not self.stopped:
                try:
                    status, body, _ = client.decide(event)
                except (OSError, HTTPException):
                    client.close()
                    if self.ends_on_error:
                        return
                    time.sleep(0.02)
                    continue
                self.statuses.append(status)
                if status == 200:
                    self.responses[body["transaction_id"]] = body
                    break
                time.sleep(0.02)
        client.close()


def bare(response: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in response.items() if key != "duplicate"}


def test_kills_lose_no_decision_decide_nothing_twice_and_count_nothing_twice(
    small_simulation: SmallSimulation, tmp_path: Path
) -> None:
    state, events = (
        tmp_path / "state.db",
        small_simulation.events(700, labels="none", late_share=0, duplicate_share=0, malformed_share=0),
    )
    one = Served(small_simulation, state, TWO)
    one.wait()
    parts = [Load(one.port, events[index:600:4]) for index in range(4)]
    for part in parts:
        part.start()
    until(lambda: sum(len(part.responses) for part in parts) > 100)
    victim = children(one.process.pid)[0]
    os.kill(victim, signal.SIGKILL)
    until(lambda: sum(len(part.responses) for part in parts) > 400)
    workers = children(one.process.pid)
    assert victim not in workers
    folders = {folder_of(pid) for pid in workers}
    assert all(folder.is_dir() for folder in folders)
    one.stop(signal.SIGKILL)
    for part in parts:
        part.stopped = True
        part.join()
    until(lambda: not any(alive(pid) for pid in workers))
    assert not any(folder.exists() for folder in folders)
    responses = {name: bare(response) for part in parts for name, response in part.responses.items()}
    with served(small_simulation, state, TWO) as again:
        for name, response in responses.items():
            assert again.request("GET", f"/v1/decisions/{name}")[:2] == (200, response)
        for event in events[600:]:
            assert again.decide(event)[0] == 200
        again.stop()
    stored = stored_decisions(state)
    assert responses.keys() <= stored.keys()
    engine = load_engine(small_simulation.bundle)
    ownership = Ownership(engine.project.schema, WORKERS)
    assert all(ownership.route(event).owner == worker for worker, event, _ in stored.values())
    services = open_workers(engine, state)
    replicate_all(services)
    profiles = [contents(service.pipeline.profile_cache) for service in services]
    _, single = open_service(small_simulation.bundle, tmp_path / "alone.db")
    for _, event, _ in stored.values():
        single.take(Batch([event], None, 0), "test")
    wanted = contents(single.pipeline.profile_cache)
    assert profiles[0][1:] == profiles[1][1:] == wanted[1:]
    assert profiles[0][0] | profiles[1][0] == wanted[0]
    for service in (*services, single):
        service.close()


def test_a_stop_decides_what_was_accepted_and_leaves_nothing_behind(
    small_simulation: SmallSimulation, events: list[bytes], tmp_path: Path
) -> None:
    one = Served(small_simulation, tmp_path / "state.db", TWO)
    one.wait()
    workers = children(one.process.pid)
    parts = [Load(one.port, events[index::4], ends_on_error=True) for index in range(4)]
    for part in parts:
        part.start()
    until(lambda: sum(len(part.responses) for part in parts) > 60)
    output = one.stop(signal.SIGTERM)
    for part in parts:
        part.join()
    assert one.process.returncode == 0
    assert not any(alive(pid) for pid in workers)
    assert {status for part in parts for status in part.statuses} == {200}
    responses = {name for part in parts for name in part.responses}
    assert 60 < len(responses) < len(events)
    assert responses == stored_decisions(tmp_path / "state.db").keys()
    assert output.count("payments decided: ") == WORKERS


class RateLimitedServer:
    """Workers at which few events may wait, and the keys of a caller with a rate and of one without."""

    def __init__(self, one: Served, till: str, office: str) -> None:
        self.one, self.till, self.office = one, bearer(till), bearer(office)


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


@pytest.fixture(scope="module")
def rate_limited(
    small_simulation: SmallSimulation, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RateLimitedServer]:
    folder = tmp_path_factory.mktemp("rate-limited")
    keys = folder / "keys.yaml"
    of_till, of_office = (add_key(keys, name, ("decide",), rate) for name, rate in RATES.items())
    with served(small_simulation, folder / "state.db", TWO, "--max-queue=8", f"--keys={keys}") as one:
        yield RateLimitedServer(one, of_till, of_office)


def test_a_full_worker_refuses_at_once_and_what_was_accepted_is_decided(
    rate_limited: RateLimitedServer, events: list[bytes]
) -> None:
    one, office = rate_limited.one, rate_limited.office
    status, response, headers = one.request(
        "POST", "/v1/decisions", b"[" + b",".join(events[:60]) + b"]", **office
    )
    assert status == 503
    assert "events are queued already" in response["detail"]
    assert headers["retry-after"] == "1"
    with http_clients(one.port, 6) as clients:
        reply = [
            clients[index % 6].request("POST", "/v1/decisions", event, **office)[0]
            for index, event in enumerate(events[:60])
        ]
    assert reply == [200] * 60


def test_a_rate_holds_for_all_workers_together(rate_limited: RateLimitedServer, events: list[bytes]) -> None:
    with http_clients(rate_limited.one.port) as clients:
        start = time.monotonic()
        statuses = [
            clients[index % 12].request("POST", "/v1/decisions", event, **rate_limited.till)[0]
            for index, event in enumerate(events[60:120])
        ]
        allowed = 10 + 10 * (time.monotonic() - start)
        assert 10 <= statuses.count(200) <= allowed
        assert set(statuses) == {200, 429}


def serving(simulation: SmallSimulation, state: Path) -> list[str]:
    return ["serve", f"--bundle={simulation.bundle}", f"--state={state}", "--port=0", "--plain"]


@pytest.mark.parametrize(
    ("first", "then", "message"),
    [
        (2, 3, "was made by 2 workers"),
        (2, 1, "start with --workers 2"),
        (1, 2, "was made by one process"),
    ],
)
def test_another_number_of_workers_over_the_same_state_is_refused(
    small_simulation: SmallSimulation,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    first: int,
    then: int,
    message: str,
) -> None:
    state = made(tmp_path / "state.db", first)
    assert main([*serving(small_simulation, state), f"--workers={then}"]) == 2
    assert message in capsys.readouterr().err


def test_a_state_file_that_is_missing_is_refused(
    small_simulation: SmallSimulation, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = made(tmp_path / "state.db", WORKERS)
    worker_path(state, 1, WORKERS).unlink()
    assert main([*serving(small_simulation, state), TWO]) == 2
    assert f"{worker_path(state, 1, WORKERS)}: is missing" in capsys.readouterr().err
    assert not worker_path(state, 1, WORKERS).exists()


def test_a_worker_that_cannot_start_ends_all_with_its_reason(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    state = made(tmp_path / "s.db", WORKERS)
    arguments = ["serve", f"--bundle={tmp_path / 'none'}", f"--state={state}", "--port=0", TWO]
    assert main([*arguments, "--plain"]) == 2
    output = capfd.readouterr().err
    assert "refused to start; its reason stands above" in output
    assert str(tmp_path / "none") in output


def test_a_worker_that_dies_again_and_again_ends_all(
    small_simulation: SmallSimulation, tmp_path: Path
) -> None:
    one = Served(small_simulation, tmp_path / "state.db", TWO)
    one.wait()
    steady = children(one.process.pid)[1]
    killed = set[int]()

    def kill_the_other() -> bool:
        if one.process.poll() is not None:
            return True
        for pid in children(one.process.pid):
            if pid != steady and pid not in killed and alive(pid):
                killed.add(pid)
                os.kill(pid, signal.SIGKILL)
        return False

    until(kill_the_other)
    output = one.stop()
    assert one.process.returncode == 2
    assert len(killed) == 5
    assert "died 5 times, each within 10 s of its start, at last with code -9" in output
    assert not alive(steady)


def test_two_cannot_serve_at_one_port(
    small_simulation: SmallSimulation, tmp_path: Path, server: Served
) -> None:
    arguments = ["serve", f"--bundle={small_simulation.bundle}", f"--state={tmp_path / 's.db'}", TWO]
    assert main([*arguments, f"--port={server.port}", "--plain"]) == 2


def test_history_is_split_among_the_workers(
    small_simulation: SmallSimulation, events: list[bytes], tmp_path: Path
) -> None:
    state, history_path = tmp_path / "state.db", short_history(small_simulation, tmp_path / "history.parquet")
    with served(small_simulation, state, TWO, f"--history={history_path}") as one:
        assert all(one.decide(event)[0] == 200 for event in events[:30])
        one.stop()
    stored = stored_decisions(state)
    new_state(tmp_path / "alone.db", 1, load_engine(small_simulation.bundle), history_path)
    alone(small_simulation, events[:30], tmp_path / "alone.db")
    with closing(sqlite3.connect(tmp_path / "alone.db")) as db:
        wanted = dict(db.execute("SELECT transaction_id, features FROM decisions"))
        history_ids = {
            transaction_id for (transaction_id,) in db.execute("SELECT transaction_id FROM history")
        }
    names = [definition.name for definition in load_engine(small_simulation.bundle).extractor.definitions]
    for name, (_, _, features) in stored.items():
        same = [a == b for a, b in zip(_columns(features), _columns(wanted[name]), strict=True)]
        assert all(one for one, column in zip(same, names, strict=True) if column.startswith("card_"))
    shards = [worker_path(state, worker, WORKERS) for worker in range(WORKERS)]
    split = []
    for path in shards:
        with closing(sqlite3.connect(path)) as db:
            split.append(
                {transaction_id for (transaction_id,) in db.execute("SELECT transaction_id FROM history")}
            )
    assert split[0] | split[1] == history_ids
    assert not split[0] & split[1]


def _columns(features: bytes) -> list[bytes]:
    return [features[index : index + 8] for index in range(0, len(features), 8)]
