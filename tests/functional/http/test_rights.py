"""A key may do what its roles allow, for each event and on every server, and its name is stored."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from fraud_detection.cli.main import main
from fraud_detection.serving.http.api_keys import Role, add_key
from tests.conftest import SmallSimulation
from tests.functional.http.test_service import Served, served

ROLES: dict[str, tuple[Role, ...]] = {
    "till": ("decide",),
    "analyst": ("label",),
    "reader": ("read",),
    "operator": ("operate",),
    "both": ("decide", "label"),
}
DECIDES, LABELS = {"till", "both"}, {"analyst", "both"}


class Server:
    """A server, one process or several, with a key of each kind, and a payment that everybody knows."""

    def __init__(self, one: Served, state: Path, keys: dict[str, str], events: list[bytes]) -> None:
        self.one, self.state, self.keys, self.events = one, state, keys, events
        self.known = json.loads(events[0])

    def request(self, name: str, method: str, path: str, body: bytes = b"") -> tuple[int, Any]:
        return self.one.request(method, path, body, Authorization=f"Bearer {self.keys[name]}")[:2]

    def label(self, **more: object) -> dict[str, object]:
        one = {"transaction_id": self.known["transaction_id"], "card_id": self.known["card_id"]}
        return one | {"is_fraud": 0, "label_known_at": self.known["event_time"]} | more

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        results = []
        for path in sorted(self.state.parent.glob(f"{self.state.stem}*.db")):
            with closing(sqlite3.connect(path)) as db:
                results += db.execute(query).fetchall()
        return results


@pytest.fixture(scope="module", params=["one process", "workers"])
def server(
    request: pytest.FixtureRequest,
    small_simulation: SmallSimulation,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("rights")
    file = folder / "keys.yaml"
    keys = {name: add_key(file, name, roles, None) for name, roles in ROLES.items()}
    more = ["--workers=2"] if request.param == "workers" else []
    events = small_simulation.events(60, labels="none", late_share=0, duplicate_share=0, malformed_share=0)
    with served(small_simulation, folder / "state.db", f"--keys={file}", *more) as one:
        found = Server(one, folder / "state.db", keys, events)
        assert found.request("till", "POST", "/v1/decisions", events[0])[0] == 200
        yield found


@pytest.mark.parametrize("name", ROLES)
@pytest.mark.parametrize("many", [False, True], ids=["one", "list"])
def test_a_key_may_do_what_its_roles_name_and_nothing_else(server: Server, name: str, *, many: bool) -> None:
    payment = server.events[1 + 2 * [*ROLES].index(name) + many]
    label = json.dumps(server.label(source=f"{name} {many}")).encode()
    typed = json.dumps(server.label(type="label", source=f"typed {name} {many}")).encode()
    unknown = json.dumps({"type": "label", "transaction_id": f"no {name}"} | {"is_fraud": 1} | times(server))
    acts = {
        ("/v1/decisions", payment): DECIDES,
        ("/v1/decisions", typed): LABELS,
        ("/v1/labels", label): LABELS,
        ("/v1/labels", payment): LABELS,
    }
    for (path, body), allowed in acts.items():
        status, answer = server.request(name, "POST", path, b"[" + body + b"]" if many else body)
        responses = answer if isinstance(answer, list) else [answer]
        if name in allowed:
            assert status in {200, 422}
            assert {reply.get("record", reply)["type"] for reply in responses} <= {
                "decision",
                "label",
                "duplicate",
                "quarantined",
            }
            continue
        # A list is answered one by one, unless the key may do nothing of the kind at all.
        assert status == (200 if many and path == "/v1/decisions" and name in DECIDES | LABELS else 403)
        assert ["needs the role" in reply["detail"] for reply in responses] == [True]
    if name not in LABELS:
        status, answer = server.request(name, "POST", "/v1/decisions", unknown.encode())
        assert (status, "needs the role" in answer["detail"]) == (403, True)
    for path, needed in (
        (f"/v1/decisions/{server.known['transaction_id']}", "reader"),
        ("/metrics", "operator"),
    ):
        assert server.request(name, "GET", path)[0] == (200 if name == needed else 403)


def times(server: Server) -> dict[str, object]:
    return {"label_known_at": server.known["event_time"]}


def test_mixed_lists_do_what_their_sender_may_and_leave_the_rest(server: Server) -> None:
    label = json.dumps(server.label(type="label", source="mixed")).encode()
    status, body = server.request(
        "till", "POST", "/v1/decisions", b"[" + server.events[20] + b"," + label + b"]"
    )
    assert (status, body[0]["type"], body[0]["caller"]) == (200, "decision", "till")
    assert "needs the role 'label'" in body[1]["detail"]
    status, body = server.request(
        "analyst", "POST", "/v1/decisions", b"[" + server.events[21] + b"," + label + b"]"
    )
    assert "needs the role 'decide'" in body[0]["detail"]
    assert (status, body[1]["type"], body[1]["caller"]) == (200, "label", "analyst")
    transaction_id = json.loads(server.events[21])["transaction_id"]
    assert server.request("reader", "GET", f"/v1/decisions/{transaction_id}")[0] == 404
    # What was forbidden left no row.
    assert {caller for (caller,) in server.rows("SELECT caller FROM labels")} <= LABELS
    assert {caller for (caller,) in server.rows("SELECT caller FROM decisions")} <= DECIDES


def test_a_stub_under_anothers_id_does_not_read_the_decision(server: Server) -> None:
    stub = json.dumps(server.known | {"amount": 0.01}).encode()
    for body in (stub, b"[" + stub + b"]"):
        reply = server.request("till", "POST", "/v1/decisions", body)[1]
        response = reply[0] if isinstance(reply, list) else reply
        response = response.get("record", response)
        assert response["type"] == "conflict"
        assert not {"action", "score", "reasons", "caller"} & set(response)


def test_the_name_of_the_key_is_stored_with_what_it_sent_and_reported(
    server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    one = json.loads(server.events[30])
    assert server.request("both", "POST", "/v1/decisions", server.events[30])[1]["caller"] == "both"
    about = {"transaction_id": one["transaction_id"], "card_id": one["card_id"]}
    label = about | {"is_fraud": 1, "label_known_at": one["event_time"], "source": "bank"}
    assert (
        server.request("analyst", "POST", "/v1/labels", json.dumps(label).encode())[1]["caller"] == "analyst"
    )
    again = server.request("till", "POST", "/v1/decisions", server.events[30])[1]
    assert (again["caller"], again["duplicate"]) == ("both", True)
    assert server.request("reader", "GET", f"/v1/decisions/{one['transaction_id']}")[1]["caller"] == "both"
    arguments = ["explain", one["transaction_id"], f"--state={server.state}", "--plain"]
    bundle = next(part for part in server.one.process.args if str(part).startswith("--bundle="))  # type: ignore[union-attr]
    assert main([*arguments, str(bundle)]) == 0
    output = capsys.readouterr().out
    assert "sent by the key both" in output
    assert "by bank (sent by the key analyst)" in output
    assert main(["audit", "verify", f"--state={server.state}", "--plain"]) == 0
