"""The owner of an event follows from what the parser would read of it, whatever the bytes are."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraud_detection.core.decoding import decode
from fraud_detection.core.errors import RejectError
from fraud_detection.core.events import Label, Transaction
from fraud_detection.core.parse import Parser
from fraud_detection.core.project_schema import Schema
from fraud_detection.serving.workers.ownership import Ownership

SCHEMA = {
    "event_time": {"field": "at"},
    "transaction_id": {"field": "id", "aliases": ["key"]},
    "entities": {"card": {"field": "card", "aliases": ["pan"]}, "merchant": {"field": "merchant"}},
    "label": {"known_at": "known"},
}
WITHOUT_ID = {key: value for key, value in SCHEMA.items() if key != "transaction_id"}
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(0, 99),
    st.sampled_from([7.0, 7.5, "7", " 7 ", "", "x", [1], {"a": 1}]),
)
EVENTS = st.dictionaries(
    st.sampled_from(["id", "key", "card", "pan", "merchant", "type", "other"]), VALUES | st.just("label")
)


@pytest.mark.parametrize("declared", [SCHEMA, WITHOUT_ID], ids=["with id", "without"])
@given(event=EVENTS, workers=st.integers(1, 9))
def test_the_owner_is_that_of_the_ids_which_the_parser_reads(
    declared: dict[str, Any], event: dict[str, Any], workers: int
) -> None:
    schema = decode(declared, Schema, "test")
    ownership = Ownership(schema, workers)
    raw = json.dumps(event | {"at": "2026-01-02T03:04:05Z", "is_fraud": 1, "known": "2026-01-02T03:04:05Z"})
    identity = None if "transaction_id" in declared else "row-1"
    route = ownership.route(raw.encode(), identity)
    try:
        read = Parser(schema).parse(raw.encode(), identity)
    except RejectError:
        return
    assert route.transaction_id == read.transaction_id
    assert route.is_label is isinstance(read, Label)
    if isinstance(read, Transaction):
        assert route.owner == ownership.of(read.entities, read.transaction_id)
        assert route.owner is not None
        assert 0 <= route.owner < workers


@given(st.binary(max_size=40) | st.sampled_from([b"[]", b"7", b'"x"', b"null", b"{", b'{"id":', b"[" * 5000]))
def test_whatever_the_bytes_are_there_is_a_route(raw: bytes) -> None:
    ownership = Ownership(decode(SCHEMA, Schema, "test"), 2)
    owner = ownership.route(raw).owner
    assert owner is not None
    assert owner == ownership.route(raw, "request-random").owner


def test_a_label_belongs_where_its_payment_does() -> None:
    ownership = Ownership(decode(SCHEMA, Schema, "test"), 4)
    for card in range(50):
        payment = ownership.route(json.dumps({"id": f"t{card}", "card": card}).encode())
        label = ownership.route(json.dumps({"type": "label", "id": f"t{card}", "pan": str(card)}).encode())
        assert (label.owner, label.is_label) == (payment.owner, True)
        assert ownership.route(json.dumps({"type": "label", "id": f"t{card}"}).encode()).owner is None


def test_cards_are_distributed_evenly() -> None:
    ownership = Ownership(decode(SCHEMA, Schema, "test"), 4)
    counts = [0] * 4
    for card in range(10_000):
        counts[ownership.worker_of(f"card-{card}")] += 1
    assert max(counts) < 1.1 * min(counts)
