"""What is answered is what the OpenAPI of the project describes, whatever comes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some
from jsonschema import Draft202012Validator

from fraud_detection.adapters.http.messages import Request, Response
from fraud_detection.core.decoding import decode
from fraud_detection.core.project_schema import Schema
from fraud_detection.serving.http.api_keys import Access, Key, digest
from fraud_detection.serving.http.batcher import RequestBatcher
from fraud_detection.serving.http.event_schemas import label_schema, payment_schema
from fraud_detection.serving.http.openapi import openapi
from fraud_detection.serving.http.routes import Api
from tests.conftest import SmallSimulation
from tests.states import open_service

Json = dict[str, Any]
KEY = "a key of this test"
LABEL = {"transaction_id": "1", "is_fraud": 1, "label_known_at": "2026-01-02T00:00:00Z", "source": "analyst"}

BOUNDS_MS = (315_532_800_000, 4_102_444_800_000)
NUMBERS: list[float] = [
    near * scale for bound in BOUNDS_MS for scale in (1, 10**3, 10**6) for near in (bound - 1, bound)
]
NUMBERS += [near / 1000 for bound in BOUNDS_MS for near in (bound - 1, bound)]
NUMBERS += [0, -1, 1e12, 1.1e12, 1.5, 1e300]
TIMES = ("2024-02-29", "2023-02-29", "1979-12-31", "2025-04-31T00:00:00Z", "2025-12-31 23:59:59.5+23:59")
TEXTS = ("", " ", "\x85", "\u2003", "0", "12.50", "1" * 256, "x" * 257, "yes", "FALSE", "label", *TIMES)
# Text without digits: of numbers and times that are written as text, only the usual forms are described.
TEXT = some.text(some.characters(exclude_categories=["Nd", "Cs"]), max_size=50)
PLAIN = some.none() | some.booleans() | some.integers() | some.sampled_from([*NUMBERS, *TEXTS]) | TEXT
VALUES = PLAIN | some.floats(allow_nan=False, allow_infinity=False) | some.lists(PLAIN, max_size=1)
VALUES |= some.dictionaries(TEXT, PLAIN, max_size=1)


class Contract:
    """A description, and what is asked and answered by it."""

    def __init__(self, described: Json, api: Api, loop: asyncio.AbstractEventLoop) -> None:
        self.described, self.api, self.loop = described, api, loop

    def schema(self, one: Json) -> Draft202012Validator:
        return Draft202012Validator({**one, "components": self.described["components"]})

    def is_valid(self, path: str, body: object) -> bool:
        taken = self.described["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]
        return bool(self.schema(taken).is_valid(body))

    def request(self, method: str, path: str, body: object = None, key: str = "", request: str = "") -> int:
        """Return the status of the answer, which is one that the description knows."""
        authorization = f"Bearer {key}".encode() if key else b""
        sent = Request(method, request or path, json.dumps(body).encode(), authorization, b"1")
        response = self.loop.run_until_complete(self._take(sent))
        known = self.described["paths"][path][method.lower()]["responses"]
        assert str(response.status) in known, (response.status, response.body)
        kinds = known[str(response.status)]["content"]
        kind = response.kind.decode().partition(";")[0]
        assert kind in kinds
        if "schema" in kinds[kind]:
            self.schema(kinds[kind]["schema"]).validate(json.loads(response.body))
        return response.status

    async def _take(self, request: Request) -> Response:
        future: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
        self.api.take(request, future.set_result)
        return await future


@contextmanager
def contract(simulation: SmallSimulation, folder: Path, keys: dict[str, Key] | None) -> Iterator[Contract]:
    _, service = open_service(simulation.bundle, folder / "state.db")
    described = openapi(simulation.project, "1", with_keys=keys is not None)
    loop = asyncio.new_event_loop()
    try:
        yield Contract(described, Api(RequestBatcher(service), Access(keys), b""), loop)
    finally:
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()
        service.close()


@pytest.fixture(scope="module")
def open_to_all(
    small_simulation: SmallSimulation, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Contract]:
    with contract(small_simulation, tmp_path_factory.mktemp("contract"), None) as api:
        yield api


@pytest.fixture(scope="module")
def payment(small_simulation: SmallSimulation) -> Json:
    found: Json = json.loads(small_simulation.events(1, labels="none", malformed_share=0)[0])
    return found


def changed(good: Json, change: Callable[[some.DataObject], Json], data: some.DataObject) -> Json:
    return {name: value for name, value in {**good, **change(data)}.items() if value != "gone"}


def changes(fields: list[str]) -> Callable[[some.DataObject], Json]:
    changed_fields = some.dictionaries(some.sampled_from(fields), VALUES | some.just("gone"), max_size=2)
    return lambda data: data.draw(changed_fields)


@given(data=some.data())
@pytest.mark.parametrize("path", ["/v1/decisions", "/v1/labels"])
def test_what_the_description_allows_is_accepted_and_all_else_refused(
    open_to_all: Contract, payment: Json, path: str, data: some.DataObject
) -> None:
    good = payment if path == "/v1/decisions" else LABEL
    body = changed(good, changes(list(good)), data)
    valid, status = open_to_all.is_valid(path, body), open_to_all.request("POST", path, body)
    # 409 is for ids that were used before, and for times that have not come yet.
    assert status in ({200, 409} if valid else {400, 409, 422}), (valid, body)
    assert open_to_all.request("POST", path, [body, body]) == 200


@given(body=VALUES | some.lists(VALUES, max_size=3))
@pytest.mark.parametrize("path", ["/v1/decisions", "/v1/labels"])
def test_a_body_of_any_other_kind_has_the_described_response(
    open_to_all: Contract, path: str, body: object
) -> None:
    valid, status = open_to_all.is_valid(path, body), open_to_all.request("POST", path, body)
    assert status in ({200} if valid else {400, 422}), body


def test_what_is_read_has_the_described_response(open_to_all: Contract, payment: Json) -> None:
    assert open_to_all.request("POST", "/v1/decisions", payment) in {200, 409}
    for one in ("/healthz", "/readyz", "/metrics"):
        assert open_to_all.request("GET", one) == 200
    paths = {payment["transaction_id"]: 200, "nobody": 404, "%ff": 400}
    for one, status in paths.items():
        assert open_to_all.request("GET", "/v1/decisions/{id}", request=f"/v1/decisions/{one}") == status


def test_keys_are_described_where_they_are_required_and_nowhere_else(
    small_simulation: SmallSimulation, tmp_path: Path, open_to_all: Contract, payment: Json
) -> None:
    secured = {"/v1/decisions", "/v1/decisions/{id}", "/v1/labels", "/metrics"}
    keys = {"till": Key(sha256=digest(KEY), roles=("decide",), per_second=1.0)}
    with contract(small_simulation, tmp_path, keys) as api:
        assert {
            path for path, what in api.described["paths"].items() if "security" in json.dumps(what)
        } == secured
        assert api.request("POST", "/v1/decisions", payment) == 401
        assert api.request("GET", "/metrics", key=KEY) == 403
        assert api.request("POST", "/v1/labels", LABEL, KEY) == 403
        reply = [api.request("POST", "/v1/decisions", payment, KEY) for _ in range(3)]
        assert reply[0] == 200
        assert 429 in reply
    assert "security" not in json.dumps(open_to_all.described)


SCHEMAS: list[Json] = [
    {"event_time": {"field": "at", "format": "number", "unit": "h"}, "amount": {"field": "a"}},
    {
        "event_time": {"field": "at", "aliases": ["t"]},
        "amount": {"field": "a", "minimum": 5, "maximum": None},
    },
    {"event_time": {"field": "at", "format": "%d/%m/%Y"}, "label": {"field": "y", "positive": ["Fraud"]}},
    {"event_time": {"date_parts": {"year": "y", "month": "m"}}, "entities": {"card": {"field": "c"}}},
]


@pytest.mark.parametrize("schema", SCHEMAS)
def test_other_project_files_are_described_by_valid_schemas(schema: Json) -> None:
    read = decode(schema, Schema, "test")
    for made in (payment_schema(read), label_schema(read)):
        Draft202012Validator.check_schema(made)
