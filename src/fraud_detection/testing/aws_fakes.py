"""Stand-ins for AWS in memory, for tests: they answer as boto3's clients do, and fail on demand.

They refuse what the services refuse.  The limits are those of AWS's own description of each call, which
comes with botocore, and of its pages on quotas: DynamoDB's ServiceQuotas, S3's `object-keys`, SageMaker's
`serverless-endpoints-invoke` and CloudWatch's `embedded metric format specification`.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from botocore.exceptions import ClientError

# What DynamoDB takes: the sizes of an item, of a key and of all items of a call; keys, puts and statements.
MAX_ITEM_BYTES = 400 << 10
MAX_KEY_BYTES = 2_048
MAX_CALL_BYTES = 16 << 20
MAX_KEYS = 100
MAX_PUTS = 25
MAX_STATEMENTS = 25
# What S3 takes in one call.
MAX_OBJECT_BYTES = 5 << 30
MAX_LISTED = 1_000
MAX_OBJECT_KEY_BYTES = 1_024
# What an endpoint takes and answers, on instances and without.
MAX_BODY_BYTES = 6 << 20
MAX_SERVERLESS_BYTES = 4_000_000
# What CloudWatch keeps whole of a line of the log, and what it makes metrics of.  PutLogEvents takes 1 MB by
# now; the older limit is the safe one.
MAX_LOG_LINE_BYTES = 256 << 10
MAX_METRICS = MAX_METRIC_VALUES = 100


def refusal(code: str, operation: str, **more: object) -> ClientError:
    """Return the error that boto3 raises for a refused call."""
    answer: Any = {"Error": {"Code": code, "Message": f"{code} (a stand-in)"}, **more}
    return ClientError(answer, operation)


class FakeDynamo:
    """Tables by name, items by their first attribute.

    before: called with the operation's name before each call; it may raise, and then nothing is done.
    after: the same after the call, when all is done but the answer has not come.
    """

    def __init__(self) -> None:
        """Start without items."""
        self.tables: dict[str, dict[str, dict[str, Any]]] = {}
        self.before: Callable[[str], object] = lambda _: None
        self.after: Callable[[str], object] = lambda _: None

    def batch_get_item(self, *, RequestItems: Mapping[str, Any]) -> dict[str, Any]:  # noqa: N803 - AWS's names
        """Return the items that exist."""
        self.before("BatchGetItem")
        if sum(len(asked["Keys"]) for asked in RequestItems.values()) > MAX_KEYS:
            raise refusal("ValidationException", "BatchGetItem")
        found: dict[str, list[Any]] = {table: [] for table in RequestItems}
        left: dict[str, dict[str, Any]] = {}
        size = 0
        for table, asked in RequestItems.items():
            for key in asked["Keys"]:
                item = self.tables.get(table, {}).get(_key(key))
                size += 0 if item is None else item_bytes(item)
                if size > MAX_CALL_BYTES:
                    left.setdefault(table, {**asked, "Keys": []})["Keys"].append(key)
                elif item is not None:
                    found[table].append(_projected(item, asked))
        self.after("BatchGetItem")
        return {"Responses": found, "UnprocessedKeys": left}

    def batch_write_item(self, *, RequestItems: Mapping[str, Any]) -> dict[str, Any]:  # noqa: N803 - AWS's names
        """Put items, and delete others."""
        self.before("BatchWriteItem")
        asked = [one for requests in RequestItems.values() for one in requests]
        items = [one["PutRequest"]["Item"] for one in asked if "PutRequest" in one]
        if not 0 < len(asked) <= MAX_PUTS or sum(map(item_bytes, items)) > MAX_CALL_BYTES:
            raise refusal("ValidationException", "BatchWriteItem")
        for table, requests in RequestItems.items():
            for request in requests:
                if "PutRequest" in request:
                    self._put(table, request["PutRequest"]["Item"])
                else:
                    self.tables.get(table, {}).pop(_key(request["DeleteRequest"]["Key"]), None)
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
        there = self.tables.setdefault(TableName, {}).setdefault(_key(Key), dict(Key))
        strings, given = set(there.pop(name, {}).get("SS", ())), ExpressionAttributeValues[value]["SS"]
        left = strings.union(given) if verb == "ADD" else strings.difference(given)
        # DynamoDB knows no empty set.
        there |= {name: {"SS": sorted(left)}} if left else {}
        _check_item(there, "UpdateItem")
        self.after("UpdateItem")
        return {}

    def batch_execute_statement(self, *, Statements: Sequence[Mapping[str, Any]]) -> dict[str, Any]:  # noqa: N803 - AWS's names
        """Carry out `INSERT INTO` and `UPDATE ... WHERE`, each by itself."""
        self.before("BatchExecuteStatement")
        if not 0 < len(Statements) <= MAX_STATEMENTS:
            raise refusal("ValidationException", "BatchExecuteStatement")
        answers = [self._execute(one["Statement"], list(one["Parameters"])) for one in Statements]
        self.after("BatchExecuteStatement")
        return {"Responses": answers}

    def _execute(self, text: str, values: list[Any]) -> dict[str, Any]:
        table = text.split('"')[1]
        there = self.tables.setdefault(table, {})
        if text.startswith("INSERT"):
            item = dict(zip(re.findall(r"'(\w+)': \?", text), values, strict=True))
            if _key(item) in there:
                return {"Error": {"Code": "DuplicateItem", "Message": "a stand-in"}}
            self._put(table, item)
            return {"TableName": table}
        sets, where = text.split(" WHERE ")
        names = re.findall(r"SET (\w+)=\?", sets)
        asked = dict(zip(re.findall(r"(\w+)=\?", where), values[len(names) :], strict=True))
        found = there.get(_key(asked))
        if found is None or any(found.get(name) != value for name, value in asked.items()):
            return {"Error": {"Code": "ConditionalCheckFailed", "Message": "a stand-in"}}
        self._put(table, found | dict(zip(names, values, strict=False)))
        return {"TableName": table}

    def _put(self, table: str, item: Mapping[str, Any]) -> None:
        _check_item(item, "PutItem")
        self.tables.setdefault(table, {})[_key(item)] = dict(item)


def _check_item(item: Mapping[str, Any], operation: str) -> None:
    if item_bytes(item) > MAX_ITEM_BYTES or not 0 < len(_key(item).encode()) <= MAX_KEY_BYTES:
        raise refusal("ValidationException", operation)


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


class FakeS3:
    """Objects by bucket and key; `puts` counts the calls that put one."""

    def __init__(self) -> None:
        """Start without objects."""
        self.puts = 0
        self.objects: dict[tuple[str, str], bytes] = {}

    def put_object(self, *, Bucket: str, Key: str, Body: bytes) -> dict[str, Any]:  # noqa: N803 - AWS's names
        """Keep an object."""
        self.puts += 1
        if len(Key.encode()) > MAX_OBJECT_KEY_BYTES:
            raise refusal("KeyTooLongError", "PutObject")
        if len(Body) > MAX_OBJECT_BYTES:
            raise refusal("EntityTooLarge", "PutObject")
        self.objects[Bucket, Key] = Body
        return {}

    def get_object(self, *, Bucket: str, Key: str) -> dict[str, Any]:  # noqa: N803 - AWS's names
        """Return an object."""
        if (Bucket, Key) not in self.objects:
            raise refusal("NoSuchKey", "GetObject")
        return {"Body": _Body(self.objects[Bucket, Key])}

    def list_objects_v2(
        self,
        *,
        Bucket: str,  # noqa: N803 - AWS's names
        Prefix: str = "",  # noqa: N803
        ContinuationToken: str = "",  # noqa: N803
    ) -> dict[str, Any]:
        """Return the keys that begin so, in order, a page of them at once; the token is the last key."""
        keys = sorted(
            key
            for bucket, key in self.objects
            if bucket == Bucket and key.startswith(Prefix) and key > ContinuationToken
        )
        page = keys[:MAX_LISTED]
        more = {"NextContinuationToken": page[-1]} if page != keys else {}
        return {"Contents": [{"Key": key} for key in page], "IsTruncated": page != keys, **more}


class FakeRuntime:
    """An endpoint that is answered by a function; `trouble` may raise before it is asked.

    most_bytes: of a request and of an answer.
    """

    def __init__(self, invoke: Callable[[bytes], bytes], most_bytes: int = MAX_BODY_BYTES) -> None:
        """Take what answers a request's body."""
        self.calls, self.most_bytes = 0, most_bytes
        self.trouble: Callable[[], object] = lambda: None
        self.invoke = invoke

    def invoke_endpoint(self, **arguments: Any) -> dict[str, Any]:  # noqa: ANN401 - AWS's names
        """Answer a request."""
        self.calls += 1
        self.trouble()
        if len(arguments["Body"]) > self.most_bytes:
            raise refusal("ValidationError", "InvokeEndpoint")
        answer = self.invoke(arguments["Body"])
        if len(answer) > self.most_bytes:
            raise refusal("ModelError", "InvokeEndpoint")
        return {"Body": _Body(answer)}


class FakeLog:
    """The log of the function: it takes lines of JSON and keeps them decoded."""

    def __init__(self) -> None:
        """Start empty."""
        self.lines: list[dict[str, Any]] = []

    def write(self, line: bytes) -> None:
        """Keep a line; refuse one that CloudWatch would cut, or make no metrics of."""
        if len(line) > MAX_LOG_LINE_BYTES:
            raise refusal("InvalidParameterException", "PutLogEvents")
        told = json.loads(line)
        for directive in told.get("_aws", {}).get("CloudWatchMetrics", []):
            values = [told[one["Name"]] for one in directive["Metrics"]]
            longest = max((len(one) for one in values if isinstance(one, list)), default=0)
            if len(values) > MAX_METRICS or longest > MAX_METRIC_VALUES:
                raise refusal("InvalidParameterException", "PutLogEvents")
        self.lines.append(told)


class _Body:
    def __init__(self, data: bytes) -> None:
        self._data = data

    def read(self) -> bytes:
        return self._data


def _projected(item: Mapping[str, Any], asked: Mapping[str, Any]) -> dict[str, Any]:
    names = asked.get("ExpressionAttributeNames", {}).values()
    return {name: copy.deepcopy(value) for name, value in item.items() if not names or name in names}


def _key(item: Mapping[str, Any]) -> str:
    return str(item["k" if "k" in item else "id"]["S"])
