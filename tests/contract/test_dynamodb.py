"""One suite for DynamoDB through the adapters: on the fake, on local services, on moto's server."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

import msgspec
import pytest
from botocore.exceptions import ClientError

from fraud_detection.adapters.aws.state.dynamodb_batches import (
    batch_delete,
    batch_get,
    batch_put,
    execute,
    insertion,
)
from fraud_detection.adapters.aws.state.dynamodb_counts import SHARDS, ShardCounts
from fraud_detection.adapters.aws.state.dynamodb_decisions import (
    PART_BYTES,
    DecisionItem,
    DynamoDedupIndex,
    UnfinishedEvent,
)
from fraud_detection.adapters.aws.state.dynamodb_profiles import DynamoProfiles
from fraud_detection.core.errors import ConfigError, RetryError
from fraud_detection.core.events import Label
from fraud_detection.testing.dynamodb_fake import MAX_ITEM_BYTES, MAX_KEY_BYTES, FakeDynamo

NUMBERS = count(1)
SECONDS_A_DAY = 86_400


class DynamoTables(msgspec.Struct):
    """A client, where it leads, and new tables: for profiles (key `k`), labels and others (key `id`)."""

    on: str
    client: Any
    profiles: str
    labels: str
    others: str


ON = ["fake", "local", pytest.param("moto", marks=pytest.mark.long)]


@pytest.fixture(params=ON)
def tables(request: pytest.FixtureRequest) -> DynamoTables:
    number = next(NUMBERS)
    keys = {f"profiles-{number}": "k", f"labels-{number}": "id", f"others-{number}": "id"}
    if request.param == "fake":
        return DynamoTables("fake", FakeDynamo(keys), *keys)
    client = request.getfixturevalue(request.param)("dynamodb")
    for table, key in keys.items():
        client.create_table(
            TableName=table,
            KeySchema=[{"AttributeName": key, "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": key, "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
        )
    return DynamoTables(request.param, client, *keys)


@pytest.fixture
def with_statements(tables: DynamoTables) -> DynamoTables:
    if tables.on == "moto":
        pytest.skip("moto's server answers 500 to a statement with parameters")
    return tables


def item(item_id: str, **more: Any) -> dict[str, Any]:  # noqa: ANN401 - AWS's names
    return {"id": {"S": item_id}, **more}


@contextmanager
def refused(code: str) -> Iterator[None]:
    with pytest.raises(ClientError) as caught:
        yield
    assert caught.value.response["Error"]["Code"] == code


class TestItems:
    def test_what_was_put_is_read_until_it_is_deleted(self, tables: DynamoTables) -> None:
        client, table = tables.client, tables.others
        items = [item(f"p{n}", d={"B": bytes([n, 0, 255])}, n={"N": str(n)}) for n in range(60)]
        batch_put(client, table, items)
        batch_put(client, table, [item("p0", d={"B": b"again"})])
        batch_delete(client, table, [item("p1"), item("never")])
        items_read = batch_get(client, table, [item(f"p{n}") for n in range(100)])
        assert {item_read["id"]["S"]: item_read for item_read in items_read} == {
            expected_item["id"]["S"]: expected_item
            for expected_item in [item("p0", d={"B": b"again"}), *items[2:]]
        }

    def test_only_the_attributes_that_are_requested_come(self, tables: DynamoTables) -> None:
        batch_put(
            tables.client, tables.others, [item("a", d={"B": b"x"}, n={"N": "1"}), item("b", n={"N": "2"})]
        )
        items_read = batch_get(tables.client, tables.others, [item("a"), item("b")], ("id", "d"))
        assert sorted(items_read, key=str) == [item("a", d={"B": b"x"}), item("b")]

    def test_a_write_of_which_one_item_is_refused_writes_none(self, tables: DynamoTables) -> None:
        if tables.on == "moto":
            pytest.skip("moto's server keeps the items before the refused one")
        with pytest.raises(ConfigError):
            batch_put(tables.client, tables.others, [item("a"), item("b", d={"B": b"x" * MAX_ITEM_BYTES})])
        assert batch_get(tables.client, tables.others, [item("a"), item("b")]) == []

    def test_time_to_live_is_an_attribute_like_any_other(self, with_statements: DynamoTables) -> None:
        store = DynamoProfiles(with_statements.client, with_statements.profiles, ["card"], days=3)
        before = int(time.time())
        store.save({(0, "c1"): msgspec.msgpack.encode(["7", "x"])})
        (stored,) = batch_get(with_statements.client, with_statements.profiles, [{"k": {"S": "card#c1"}}])
        assert before <= int(stored["expires"]["N"]) - 3 * SECONDS_A_DAY <= time.time()


Call = Callable[[Any, str], object]


def puts(*items: dict[str, Any]) -> Call:
    requests = [{"PutRequest": {"Item": put_item}} for put_item in items]
    return lambda client, table: client.batch_write_item(RequestItems={table: requests})


def gets(*keys: dict[str, Any]) -> Call:
    return lambda client, table: client.batch_get_item(RequestItems={table: {"Keys": list(keys)}})


def change(verb: str, *strings: str) -> Call:
    return lambda client, table: client.update_item(
        TableName=table,
        Key=item("set"),
        UpdateExpression=f"{verb} shards :shards",
        ExpressionAttributeValues={":shards": {"SS": list(strings)}},
    )


MANY = [item(f"p{n}") for n in range(101)]
REFUSED: dict[str, Call] = {
    "26 writes": puts(*MANY[:26]),
    "no write": puts(),
    "no table to write": lambda client, _: client.batch_write_item(RequestItems={}),
    "two writes of an item": puts(item("a"), item("a")),
    "an item of more than 400 KB": puts(item("a", d={"B": b"x" * MAX_ITEM_BYTES})),
    "a key of more than 2,048 bytes": puts(item("k" * (MAX_KEY_BYTES + 1))),
    "an empty key": puts(item("")),
    "no key": puts({"k": {"S": "a"}}),
    "an empty set": puts(item("a", n={"SS": []})),
    "a set with equals": puts(item("a", n={"SS": ["b", "b"]})),
    "101 keys": gets(*MANY),
    "no keys": gets(),
    "no table to read": lambda client, _: client.batch_get_item(RequestItems={}),
    "a key twice": gets(item("a"), item("a")),
    "an empty set added": change("ADD"),
    "equals added": change("ADD", "a", "a"),
    "more than 400 KB added": change("ADD", "x" * MAX_ITEM_BYTES),
}
MOTO_TAKES = {
    "26 writes",
    "no write",
    "no table to write",
    "an empty set",
    "a set with equals",
    "no keys",
    "no table to read",
    "equals added",
    "more than 400 KB added",
}
"""What moto's server lets pass, and AWS documents as refused: the docstring of FakeDynamo has the pages."""


@pytest.mark.parametrize("what", REFUSED)
def test_what_aws_refuses_is_refused(tables: DynamoTables, what: str) -> None:
    if tables.on == "moto" and what in MOTO_TAKES:
        REFUSED[what](tables.client, tables.others)  # fails as soon as moto refuses it too
        return
    with refused("ValidationException"):
        REFUSED[what](tables.client, tables.others)


@pytest.mark.parametrize("call", [puts(item("a")), gets(item("a")), change("ADD", "a")])
def test_a_table_that_is_not_there_is_named_so(tables: DynamoTables, call: Call) -> None:
    with refused("ResourceNotFoundException"):
        call(tables.client, "absent")


class TestSets:
    def strings(self, tables: DynamoTables) -> set[str]:
        (stored,) = batch_get(tables.client, tables.others, [item("set")])
        return set(stored.get("shards", {}).get("SS", ()))

    def test_strings_are_added_and_removed(self, tables: DynamoTables) -> None:
        for verb, strings, left in [
            ("ADD", "ab", "ab"),
            ("ADD", "bc", "abc"),
            ("DELETE", "cz", "ab"),
            ("DELETE", "ab", ""),
            ("DELETE", "a", ""),
            ("ADD", "d", "d"),
        ]:
            change(verb, *strings)(tables.client, tables.others)
            assert self.strings(tables) == set(left)

    def test_other_attributes_of_the_item_stay(self, tables: DynamoTables) -> None:
        batch_put(tables.client, tables.others, [item("set", d={"B": b"x"})])
        change("ADD", "a")(tables.client, tables.others)
        change("DELETE", "a")(tables.client, tables.others)
        assert batch_get(tables.client, tables.others, [item("set")]) == [item("set", d={"B": b"x"})]

    def test_each_shard_names_itself_once(self, tables: DynamoTables) -> None:
        for shard in ("a", "b", "a"):
            (shards,) = batch_get(tables.client, tables.others, [item(SHARDS)]) or [{}]
            ShardCounts(tables.client, tables.others).take(shard, shards, {})
        (stored,) = batch_get(tables.client, tables.others, [item(SHARDS)])
        assert set(stored["shards"]["SS"]) == {"a", "b"}


class TestDecisions:
    def index(self, tables: DynamoTables, shard: str = "shardId-000000000001") -> DynamoDedupIndex:
        dedup_index = DynamoDedupIndex(tables.client, tables.others, tables.labels, days=30)
        dedup_index.shard = shard
        return dedup_index

    def test_labels_are_known_to_another_process(self, tables: DynamoTables) -> None:
        labels = [Label(f"p{n % 40}", fraud=bool(n % 3), known_at=n, sequence=n) for n in range(90)]
        self.index(tables).store([], labels[:60])
        self.index(tables).store([], [])
        index = self.index(tables)
        index.batch_state([], [f"p{n}" for n in range(40)])
        index.store([], labels[60:])
        states = self.index(tables).batch_state([], [f"p{n}" for n in range(50)]).labels
        assert {payment: [each.known_at for each in state] for payment, state in states.items()} == {
            f"p{n}": list(range(n, 90, 40)) for n in range(40)
        }

    def test_a_journal_larger_than_an_item_is_read_whole(self, tables: DynamoTables) -> None:
        events = [
            UnfinishedEvent(str(n), f"p{n}", random.Random(n).randbytes(PART_BYTES // 2)) for n in range(5)
        ]
        self.index(tables).store_unfinished(events)
        assert self.index(tables).unfinished() == events
        assert self.index(tables, "another shard").unfinished() == []
        self.index(tables).store_unfinished([])
        assert self.index(tables).unfinished() == []

    def test_of_two_shards_that_decide_a_payment_one_is_refused(self, with_statements: DynamoTables) -> None:
        mine, theirs = (self.index(with_statements, shard) for shard in ("a", "b"))
        decisions = [DecisionItem(f"p{n}", "{}", "b", n, (), b"", b"{}") for n in range(30)]
        theirs.store(decisions[29:], [])
        theirs.store(decisions[29:], [])  # as one whose answer was lost
        with pytest.raises(RetryError, match="another shard"):
            mine.store([msgspec.structs.replace(decision, shard="a") for decision in decisions], [])
        assert self.index(with_statements, "b").batch_state(["p29", "p30"], []).already_processed == {
            "p29": 29
        }


class TestStatements:
    def test_an_item_that_is_there_is_not_inserted_and_the_others_are(
        self, with_statements: DynamoTables
    ) -> None:
        client, table = with_statements.client, with_statements.others
        batch_put(client, table, [item("p1", d={"S": "first"})])
        writes = {n: insertion(table, item(f"p{n}", d={"S": "new"})) for n in range(3)}
        assert execute(client, table, writes) == {1}
        items_read = batch_get(client, table, [item(f"p{n}") for n in range(3)])
        assert {item_read["id"]["S"]: item_read["d"]["S"] for item_read in items_read} == {
            "p0": "new",
            "p1": "first",
            "p2": "new",
        }

    def test_a_profile_whose_version_has_moved_on_is_refused(self, with_statements: DynamoTables) -> None:
        client, table = with_statements.client, with_statements.profiles
        mine, theirs = (DynamoProfiles(client, table, ["card"]) for _ in range(2))
        keys = [(0, f"c{n}") for n in range(30)]
        profile = msgspec.msgpack.encode(["7", "x"])
        for turn in range(2):  # of new profiles, and of those that are there
            assert len(mine.load(keys)) == len(theirs.load(keys)) == 30 * turn
            assert theirs.save(dict.fromkeys(keys[:2], profile)) == set()
            assert mine.save(dict.fromkeys(keys, profile)) == set(keys[:2])

    @pytest.mark.parametrize(
        ("table", "values", "code"),
        [
            ("{}", [{"S": "a"}, {"B": b"x" * MAX_ITEM_BYTES}], "ValidationError"),
            ("{}", [{"S": "a"}], "ValidationError"),
            ("absent", [{"S": "a"}, {"S": "b"}], "ResourceNotFound"),
        ],
    )
    def test_a_statement_that_is_refused_stops_no_other(
        self, with_statements: DynamoTables, table: str, values: list[Any], code: str
    ) -> None:
        client, there = with_statements.client, with_statements.others
        text = "INSERT INTO \"{}\" VALUE {{'id': ?, 'd': ?}}"
        statements = [
            {"Statement": text.format(table.format(there)), "Parameters": values},
            {"Statement": text.format(there), "Parameters": [{"S": "good"}, {"S": "x"}]},
        ]
        first, second = client.batch_execute_statement(Statements=statements)["Responses"]
        assert (first["Error"]["Code"], "Error" in second) == (code, False)
        assert batch_get(client, there, [item("a"), item("good")]) == [item("good", d={"S": "x"})]

    @pytest.mark.parametrize("number", [0, 26])
    def test_a_call_has_1_to_25_statements(self, with_statements: DynamoTables, number: int) -> None:
        insert = insertion(with_statements.others, item("a"))
        with refused("ValidationException"):
            with_statements.client.batch_execute_statement(Statements=[insert] * number)
