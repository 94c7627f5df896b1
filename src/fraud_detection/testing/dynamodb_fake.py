"""A stand-in for DynamoDB in memory, for tests: it responds as boto3's client does, and fails on demand.

The limits are those of AWS's API reference of each call and of its page "Constraints in Amazon DynamoDB".
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from botocore.exceptions import ClientError

from fraud_detection.testing.aws_fakes import refusal

# The sizes of an item, of a key and of all items of a call; keys, puts and statements of a call.
MAX_ITEM_BYTES = 400 << 10
MAX_KEY_BYTES = 2_048
MAX_CALL_BYTES = 16 << 20
MAX_KEYS = 100
MAX_PUTS = 25
MAX_STATEMENTS = 25

INSERT = re.compile(r'INSERT INTO "([^"]+)" VALUE \{.+\}')
UPDATE = re.compile(r'UPDATE "([^"]+)" (SET .+) WHERE (.+)')
STATEMENT_CODES = {"ResourceNotFoundException": "ResourceNotFound", "ValidationException": "ValidationError"}
"""What BatchExecuteStatement calls in the response to one statement what refuses a whole call elsewhere."""


class FakeDynamo:
    """Tables by name, items by their key; it knows the calls that this project makes, and no other.

    before: called with the operation's name before each call; it may raise, and then nothing is done.
    after: the same after the call, when all is done but the response has not arrived.

    Unlike DynamoDB it carries every write out at once, so `UnprocessedItems` is empty, and it keeps an item
    whose time to live is over, as DynamoDB may for days ("Using time to live (TTL) in DynamoDB").
    Of PartiQL it takes `INSERT INTO "t" VALUE {'a': ?}` and `UPDATE "t" SET a=? WHERE k=?`, of update
    expressions `ADD name :value` and `DELETE name :value` with a set of strings; a name may be a word that
    AWS reserves ("Reserved words in DynamoDB").

    Unlike moto's server it refuses what AWS documents as refused: more than 25 writes, no writes, no keys
    ("BatchWriteItem", "BatchGetItem"), an item that an update makes larger than 400 KB, a set that is empty
    or repeats a string ("Supported data types and naming rules in Amazon DynamoDB").  It writes none of the
    items of a call of which it refuses one, and takes statements with parameters, to which moto answers with
    an internal error.

    >>> from fraud_detection.adapters.aws.state.dynamodb_batches import batch_get, batch_put
    >>> dynamo = FakeDynamo({"cases": "id"})
    >>> batch_put(dynamo, "cases", [{"id": {"S": "p1"}, "state": {"S": "open"}}])
    >>> batch_get(dynamo, "cases", [{"id": {"S": "p1"}}, {"id": {"S": "p2"}}])
    [{'id': {'S': 'p1'}, 'state': {'S': 'open'}}]

    A table that is busy once, and how the code under test takes it:

    >>> errors = [refusal("ThrottlingException", "BatchGetItem")]
    >>> def busy_once(operation):
    ...     if errors:
    ...         raise errors.pop()
    >>> dynamo.before = busy_once
    >>> len(batch_get(dynamo, "cases", [{"id": {"S": "p1"}}]))
    1
    """

    def __init__(self, keys: Mapping[str, str] | None = None) -> None:
        """Start without items.

        keys: of each table the attribute that is its key; a call to another table is refused.  Without it
        every table is there, and its key is `k` or `id`.
        """
        self._keys = keys
        self.tables: dict[str, dict[str, dict[str, Any]]] = {table: {} for table in keys or ()}
        self.before: Callable[[str], object] = lambda _: None
        self.after: Callable[[str], object] = lambda _: None

    def batch_get_item(self, *, RequestItems: Mapping[str, Any]) -> dict[str, Any]:  # noqa: N803 - AWS's names
        """Return the items that exist."""
        self.before("BatchGetItem")
        _check_counts([len(request["Keys"]) for request in RequestItems.values()], MAX_KEYS, "BatchGetItem")
        by_table: dict[str, list[Any]] = {table: [] for table in RequestItems}
        left: dict[str, dict[str, Any]] = {}
        size = 0
        for table, request in RequestItems.items():
            items = self._items(table, "BatchGetItem")
            keys = [self._key(table, key, "BatchGetItem") for key in request["Keys"]]
            _check_once(keys, "BatchGetItem")
            for name, key in zip(keys, request["Keys"], strict=True):
                item = items.get(name)
                size += 0 if item is None else item_bytes(item)
                if size > MAX_CALL_BYTES:
                    left.setdefault(table, {**request, "Keys": []})["Keys"].append(key)
                elif item is not None:
                    by_table[table].append(_projected(item, request))
        self.after("BatchGetItem")
        return {"Responses": by_table, "UnprocessedKeys": left}

    def batch_write_item(self, *, RequestItems: Mapping[str, Any]) -> dict[str, Any]:  # noqa: N803 - AWS's names
        """Put items, and delete others; all of them or, where one is refused, none."""
        self.before("BatchWriteItem")
        _check_counts([len(requests) for requests in RequestItems.values()], MAX_PUTS, "BatchWriteItem")
        written = {table: self._written(table, requests) for table, requests in RequestItems.items()}
        if (
            sum(
                item_bytes(table_requests or {})
                for items in written.values()
                for table_requests in items.values()
            )
            > MAX_CALL_BYTES
        ):
            raise refusal("ValidationException", "BatchWriteItem")
        for table, items in written.items():
            for key, item in items.items():
                if item is None:
                    self.tables[table].pop(key, None)
                else:
                    self.tables[table][key] = item
        self.after("BatchWriteItem")
        return {"UnprocessedItems": {}}

    def update_item(
        self,
        *,
        TableName: str,  # noqa: N803 - AWS's names
        Key: Mapping[str, Any],  # noqa: N803
        UpdateExpression: str,  # noqa: N803
        ExpressionAttributeValues: Mapping[str, Any],  # noqa: N803
    ) -> dict[str, Any]:
        """Add strings to a set, or take them away: `ADD name :value`, `DELETE name :value`."""
        self.before("UpdateItem")
        verb, name, value = UpdateExpression.split()
        _check_sets(ExpressionAttributeValues, "UpdateItem")
        there = self._items(TableName, "UpdateItem").get(self._key(TableName, Key, "UpdateItem"), Key)
        item = {attribute: content for attribute, content in there.items() if attribute != name}
        strings, values = set(there.get(name, {}).get("SS", ())), ExpressionAttributeValues[value]["SS"]
        left = strings.union(values) if verb == "ADD" else strings.difference(values)
        # DynamoDB knows no empty set.
        self._put(TableName, item | ({name: {"SS": sorted(left)}} if left else {}), "UpdateItem")
        self.after("UpdateItem")
        return {}

    def batch_execute_statement(self, *, Statements: Sequence[Mapping[str, Any]]) -> dict[str, Any]:  # noqa: N803 - AWS's names
        """Carry out `INSERT INTO` and `UPDATE ... WHERE`, each by itself."""
        self.before("BatchExecuteStatement")
        _check_counts([len(Statements)], MAX_STATEMENTS, "BatchExecuteStatement")
        responses = [
            self._try_execute(statement["Statement"], list(statement.get("Parameters", [])))
            for statement in Statements
        ]
        self.after("BatchExecuteStatement")
        return {"Responses": responses}

    def _try_execute(self, text: str, values: list[Any]) -> dict[str, Any]:
        try:
            return {"TableName": self._execute(text, values)}
        except ClientError as error:
            details = error.response["Error"]
            return {"Error": details | {"Code": STATEMENT_CODES.get(details["Code"], details["Code"])}}

    def _execute(self, text: str, values: list[Any]) -> str:
        """Execute a statement, and return its table; raise the error that rejects it."""
        operation = "BatchExecuteStatement"
        insert, update = INSERT.fullmatch(text), UPDATE.fullmatch(text)
        parsed = insert or update
        if parsed is None or text.count("?") != len(values):
            raise refusal("ValidationException", operation)
        table = parsed[1]
        there = self._items(table, operation)
        if update is None:
            item = dict(zip(re.findall(r"'(\w+)': \?", text), values, strict=True))
            if self._key(table, item, operation) in there:
                raise refusal("DuplicateItem", operation)
            self._put(table, item, operation)
            return table
        names = re.findall(r"SET (\w+)=\?", update[2])
        request = dict(zip(re.findall(r"(\w+)=\?", update[3]), values[len(names) :], strict=True))
        stored = there.get(self._key(table, request, operation))
        if stored is None or any(stored.get(name) != value for name, value in request.items()):
            raise refusal("ConditionalCheckFailed", operation)
        self._put(table, stored | dict(zip(names, values, strict=False)), operation)
        return table

    def _written(self, table: str, requests: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any] | None]:
        """Return what requests leave under each key, None where they delete."""
        self._items(table, "BatchWriteItem")
        items = [
            dict(request["PutRequest"]["Item"]) if "PutRequest" in request else None for request in requests
        ]
        keys = [
            self._key(table, request["DeleteRequest"]["Key"], "BatchWriteItem")
            if item is None
            else self._checked(table, item, "BatchWriteItem")
            for request, item in zip(requests, items, strict=True)
        ]
        _check_once(keys, "BatchWriteItem")
        return dict(zip(keys, items, strict=True))

    def _put(self, table: str, item: Mapping[str, Any], operation: str) -> None:
        self.tables[table][self._checked(table, item, operation)] = dict(item)

    def _items(self, table: str, operation: str) -> dict[str, dict[str, Any]]:
        if self._keys is not None and table not in self._keys:
            raise refusal("ResourceNotFoundException", operation)
        return self.tables.setdefault(table, {})

    def _key(self, table: str, item: Mapping[str, Any], operation: str) -> str:
        name = ("k" if "k" in item else "id") if self._keys is None else self._keys[table]
        key = str(item.get(name, {}).get("S", ""))
        if not 0 < len(key.encode()) <= MAX_KEY_BYTES:
            raise refusal("ValidationException", operation)
        return key

    def _checked(self, table: str, item: Mapping[str, Any], operation: str) -> str:
        """Return the key of an item that may be stored; raise what it is refused for."""
        if item_bytes(item) > MAX_ITEM_BYTES:
            raise refusal("ValidationException", operation)
        _check_sets(item, operation)
        return self._key(table, item, operation)


def item_bytes(item: Mapping[str, Any]) -> int:
    """Return about how many bytes DynamoDB counts for an item: names and values.

    >>> item_bytes({"id": {"S": "one"}, "d": {"B": b"12"}, "n": {"SS": ["a", "bc"]}})
    12
    """
    return sum(len(name.encode()) + sum(map(_bytes_of, value.values())) for name, value in item.items())


def _bytes_of(value: object) -> int:
    if isinstance(value, (list, tuple, set)):
        return sum(map(_bytes_of, value))
    return len(value if isinstance(value, bytes) else str(value).encode())


def _check_counts(counts: Sequence[int], max_items: int, operation: str) -> None:
    """Refuse a call that asks for nothing, of a table or at all, or for too much."""
    if not counts or 0 in counts or sum(counts) > max_items:
        raise refusal("ValidationException", operation)


def _check_once(keys: Sequence[str], operation: str) -> None:
    if len(set(keys)) < len(keys):
        raise refusal("ValidationException", operation)


def _check_sets(values: Mapping[str, Any], operation: str) -> None:
    sets = [value["SS"] for value in values.values() if "SS" in value]
    if any(not strings or len(set(strings)) < len(strings) for strings in sets):
        raise refusal("ValidationException", operation)


def _projected(item: Mapping[str, Any], request: Mapping[str, Any]) -> dict[str, Any]:
    names = request.get("ExpressionAttributeNames", {}).values()
    return {name: copy.deepcopy(value) for name, value in item.items() if not names or name in names}
