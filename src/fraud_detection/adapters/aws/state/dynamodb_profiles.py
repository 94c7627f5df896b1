"""Profiles in DynamoDB, shared by all shards of a stream: nothing lost, nothing counted twice.

An item carries, besides the profile, its version and for each shard (lane) the number of the last event
that it has taken in.  A profile is saved only if its version is still the one that was loaded; a batch
that comes again changes only what had not seen its events.

Saves go as statements of PartiQL, because only they take a condition each and many a call at the price of
plain writes: BatchWriteItem knows no conditions, a transaction costs twice and fails as a whole.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from fraud_detection.adapters.aws.retries import attempt, chunks, pauses
from fraud_detection.adapters.aws.state.versioned_profiles import Held, pack, unpack
from fraud_detection.core.errors import ConfigError
from fraud_detection.core.ports import ProfileKey

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


class DynamoProfiles:
    """A StateStore over one table with the key `k`; `lane` is the shard whose events are being decided."""

    def __init__(self, client: Any, table: str, entities: Sequence[str], days: int = 0) -> None:  # noqa: ANN401 - boto3's client has no type
        """Take boto3's client, and the names of the entities in the order of the schema.

        days: how long a profile is kept after it was saved last; 0 is for ever.
        """
        self.lane = ""
        self._days = days
        self._client, self._table, self._entities = client, table, tuple(entities)
        self._held: dict[ProfileKey, Held] = {}

    def load(self, keys: Sequence[ProfileKey]) -> dict[ProfileKey, bytes]:
        """Return the profiles that exist, each with the number of the last event of this lane."""
        by_text = {self._text(key): key for key in keys}
        found: dict[ProfileKey, bytes] = {}
        for texts in chunks(by_text, KEYS_A_CALL):
            for item in self._get(texts):
                key = by_text[item["k"]["S"]]
                seen, found[key] = unpack(item["c"]["B"], self.lane)
                self._held[key] = Held(int(item["v"]["N"]), seen)
        return found

    def save(self, profiles: Mapping[ProfileKey, bytes]) -> set[ProfileKey]:
        """Save all but those whose version has moved on since they were loaded; return these."""
        refused: set[ProfileKey] = set()
        for part in chunks(profiles, ITEMS_A_CALL):
            refused |= execute(
                self._client, self._table, {key: self._statement(key, profiles[key]) for key in part}
            )
        # A profile that is loaded from now on has this number; what was refused has to be loaded first.
        for key in profiles:
            self._held.pop(key, None)
        return refused

    def version(self, key: ProfileKey) -> int:
        """Return the version of a profile that was loaded, 0 for one that did not exist."""
        return self._held.get(key, Held()).version

    def forget(self) -> None:
        """Load everything anew from now on: others may have changed it."""
        self._held.clear()

    def _text(self, key: ProfileKey) -> str:
        return f"{self._entities[key[0]]}#{key[1]}"

    def _statement(self, key: ProfileKey, profile: bytes) -> dict[str, Any]:
        """Return the write of a profile, on the condition that its version has not moved on."""
        held = self._held.get(key, Held())
        item = {
            "c": {"B": pack(profile, held.seen, self.lane)},
            "v": {"N": str(held.version + 1)},
            **expiry(self._days),
        }
        one = {"k": {"S": self._text(key)}}
        if held.version:
            sets = " ".join(f"SET {name}=?" for name in item)
            text = f'UPDATE "{self._table}" {sets} WHERE k=? AND v=?'
            return _statement(text, item, one, {"v": {"N": str(held.version)}})
        return insertion(self._table, one | item)

    def _get(self, texts: Sequence[str]) -> list[dict[str, Any]]:
        return batch_get(self._client, self._table, [{"k": {"S": text}} for text in texts])


def _statement(text: str, *values: Mapping[str, Any]) -> dict[str, Any]:
    return {"Statement": text, "Parameters": [value for part in values for value in part.values()]}


def insertion(table: str, item: Mapping[str, Any]) -> dict[str, Any]:
    """Return the write of an item; one that is there already is refused: another shard was faster."""
    names = ", ".join(f"'{name}': ?" for name in item)
    return _statement(f'INSERT INTO "{table}" VALUE {{{names}}}', item)


def execute(client: Any, table: str, writes: Mapping[T, dict[str, Any]]) -> set[T]:  # noqa: ANN401 - boto3's client
    """Write each by itself; return those whose condition failed.

    A write whose answer was lost may have been done.  Then its condition fails the next time, and what is
    read anew has it.
    """
    refused: set[T] = set()
    for pause in pauses(f"table {table}"):
        answer = attempt(client.batch_execute_statement, Statements=list(writes.values()))
        if answer is not None:
            troubles = {
                key: one["Error"]
                for key, one in zip(writes, answer["Responses"], strict=True)
                if "Error" in one
            }
            refused |= {key for key, error in troubles.items() if error["Code"] in STALE}
            writes = {key: writes[key] for key in troubles if key not in refused}
            _refuse_mistakes(table, [error for key, error in troubles.items() if key in writes])
        if not writes:
            break
        time.sleep(pause)
    return refused


def _refuse_mistakes(table: str, errors: Sequence[Mapping[str, str]]) -> None:
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
    found: list[dict[str, Any]] = []
    names = {f"#{place}": name for place, name in enumerate(only)}
    part = {"ProjectionExpression": ", ".join(names), "ExpressionAttributeNames": names} if names else {}
    for pause in pauses(f"table {table}"):
        asked = {table: {"Keys": keys, "ConsistentRead": True, **part}}
        answer = attempt(client.batch_get_item, RequestItems=asked)
        if answer is not None:
            found += answer["Responses"].get(table, [])
            keys = answer.get("UnprocessedKeys", {}).get(table, {}).get("Keys", [])
        if not keys:
            break
        time.sleep(pause)
    return found


def batch_put(client: Any, table: str, items: Sequence[dict[str, Any]]) -> None:  # noqa: ANN401 - boto3's client
    """Write items, whatever stands there; raise RetryError when the table stays busy."""
    _batch_write(client, table, [{"PutRequest": {"Item": item}} for item in items])


def batch_delete(client: Any, table: str, keys: Sequence[dict[str, Any]]) -> None:  # noqa: ANN401 - boto3's client
    """Remove items; raise RetryError when the table stays busy."""
    _batch_write(client, table, [{"DeleteRequest": {"Key": key}} for key in keys])


def _batch_write(client: Any, table: str, asked: Sequence[dict[str, Any]]) -> None:  # noqa: ANN401 - boto3's client
    for part in chunks(asked, ITEMS_A_CALL):
        requests = part
        for pause in pauses(f"table {table}"):
            answer = attempt(client.batch_write_item, RequestItems={table: requests})
            if answer is not None:
                requests = answer.get("UnprocessedItems", {}).get(table, [])
            if not requests:
                break
            time.sleep(pause)
