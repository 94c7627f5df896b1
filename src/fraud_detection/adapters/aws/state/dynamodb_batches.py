"""Batch calls of DynamoDB: chunked to the limits of a call; unprocessed items are requested again.

Not here: what is read and written, which the tables' own modules know.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from fraud_detection.adapters.aws.retries import attempt, backoffs
from fraud_detection.core.errors import ConfigError

T = TypeVar("T")

KEYS_A_CALL = 100
ITEMS_A_CALL = 25
STALE = frozenset({"ConditionalCheckFailed", "DuplicateItem"})
BUSY = frozenset(
    {
        "InternalServerError",
        "ProvisionedThroughputExceeded",
        "RequestLimitExceeded",
        "ThrottlingError",
        "TransactionConflict",
    }
)
"""What BatchExecuteStatement says of one statement, by AWS's reference of BatchStatementError."""

SECONDS_A_DAY = 86_400


def statement(text: str, *values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a statement of PartiQL with the values that stand for its question marks."""
    return {"Statement": text, "Parameters": [value for part in values for value in part.values()]}


def insertion(table: str, item: Mapping[str, Any]) -> dict[str, Any]:
    """Return the write of an item; an existing one is refused: another shard was faster."""
    names = ", ".join(f"'{name}': ?" for name in item)
    return statement(f'INSERT INTO "{table}" VALUE {{{names}}}', item)


def execute(client: Any, table: str, writes: Mapping[T, dict[str, Any]]) -> set[T]:  # noqa: ANN401 - boto3's client
    """Write each by itself; return those whose condition failed.

    A write whose answer was lost may have been done.  Then its condition fails the next time, and what is
    read anew has it.
    """
    refused: set[T] = set()
    for keys in _parts(list(writes), ITEMS_A_CALL):
        refused |= _executed(client, table, {key: writes[key] for key in keys})
    return refused


def _executed(client: Any, table: str, writes: Mapping[T, dict[str, Any]]) -> set[T]:  # noqa: ANN401
    refused: set[T] = set()
    waits = backoffs(f"table {table}")
    while True:
        response = attempt(client.batch_execute_statement, Statements=list(writes.values()))
        if response is not None:
            failures = {
                key: response_item["Error"]
                for key, response_item in zip(writes, response["Responses"], strict=True)
                if "Error" in response_item
            }
            refused |= {key for key, error in failures.items() if error["Code"] in STALE}
            writes = {key: writes[key] for key in failures if key not in refused}
            _check_mistakes(table, [error for key, error in failures.items() if key in writes])
        if not writes:
            return refused
        time.sleep(next(waits))


def _check_mistakes(table: str, errors: Sequence[Mapping[str, str]]) -> None:
    for error in errors:
        if error["Code"] not in BUSY:
            raise ConfigError(f"table {table}: {error['Code']}: {error.get('Message', '')}")


def expiry(days: int) -> dict[str, Any]:
    """Return the attribute by which DynamoDB removes an item after so many days; none for 0."""
    return {"expires": {"N": str(int(time.time()) + days * SECONDS_A_DAY)}} if days else {}


def batch_get(
    client: Any,  # noqa: ANN401 - boto3's client
    table: str,
    keys: list[dict[str, Any]],
    only: Sequence[str] = (),
) -> list[dict[str, Any]]:
    """Return the items that exist, read consistently; raise RetryError when the table stays busy.

    only: names of attributes; none means all.
    """
    names = {f"#{index}": name for index, name in enumerate(only)}
    part = {"ProjectionExpression": ", ".join(names), "ExpressionAttributeNames": names} if names else {}
    return [item for some in _parts(keys, KEYS_A_CALL) for item in _got(client, table, some, part)]


def _got(
    client: Any,  # noqa: ANN401 - boto3's client
    table: str,
    keys: Sequence[dict[str, Any]],
    part: dict[str, Any],
) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    waits = backoffs(f"table {table}")
    while True:
        request = {table: {"Keys": keys, "ConsistentRead": True, **part}}
        response = attempt(client.batch_get_item, RequestItems=request)
        if response is not None:
            items += response["Responses"].get(table, [])
            keys = response.get("UnprocessedKeys", {}).get(table, {}).get("Keys", [])
        if not keys:
            return items
        time.sleep(next(waits))


def batch_put(client: Any, table: str, items: Sequence[dict[str, Any]]) -> None:  # noqa: ANN401 - boto3's client
    """Overwrite items; raise RetryError when the table stays busy."""
    _batch_write(client, table, [{"PutRequest": {"Item": item}} for item in items])


def batch_delete(client: Any, table: str, keys: Sequence[dict[str, Any]]) -> None:  # noqa: ANN401 - boto3's client
    """Remove items; raise RetryError when the table stays busy."""
    _batch_write(client, table, [{"DeleteRequest": {"Key": key}} for key in keys])


def _batch_write(client: Any, table: str, request: Sequence[dict[str, Any]]) -> None:  # noqa: ANN401 - boto3's client
    for part in _parts(request, ITEMS_A_CALL):
        waits, requests = backoffs(f"table {table}"), part
        while requests:
            response = attempt(client.batch_write_item, RequestItems={table: requests})
            if response is not None:
                requests = response.get("UnprocessedItems", {}).get(table, [])
            if requests:
                time.sleep(next(waits))


def _parts(whole: Sequence[T], size: int) -> list[Sequence[T]]:
    return [whole[start : start + size] for start in range(0, len(whole), size)]
