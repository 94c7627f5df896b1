"""Profiles in DynamoDB, shared by all shards of a stream: nothing lost, nothing counted twice.

An item carries, besides the profile, its version and for each shard (lane) the number of the last event
that it has taken in.  A profile is saved only if its version is still the one that was loaded; a batch
that comes again changes only what had not seen its events.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from fraud_detection.adapters.aws_attempts import attempt, chunks, pauses, refuse_mistake
from fraud_detection.adapters.lane_profiles import Held, pack, unpack
from fraud_detection.ports import ProfileKey

KEYS_A_CALL = 100
PUTS_A_CALL = 50
ITEMS_A_CALL = 25
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
        for part in chunks(profiles, PUTS_A_CALL):
            refused |= self._put({key: self._item(key, profiles[key]) for key in part})
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

    def _item(self, key: ProfileKey, profile: bytes) -> dict[str, Any]:
        held = self._held.get(key, Held())
        item = {
            "k": {"S": self._text(key)},
            "c": {"B": pack(profile, held.seen, self.lane)},
            "v": {"N": str(held.version + 1)},
            **expiry(self._days),
        }
        put: dict[str, Any] = {"TableName": self._table, "Item": item}
        if held.version:
            put["ConditionExpression"] = "v = :v"
            put["ExpressionAttributeValues"] = {":v": {"N": str(held.version)}}
        else:
            put["ConditionExpression"] = "attribute_not_exists(k)"
        return {"Put": put}

    def _put(self, items: dict[ProfileKey, dict[str, Any]]) -> set[ProfileKey]:
        """Write in one transaction, without those whose condition fails."""
        refused: set[ProfileKey] = set()
        for pause in pauses(f"table {self._table}"):
            try:
                self._client.transact_write_items(TransactItems=list(items.values()))
            except ClientError as error:
                reasons = error.response.get("CancellationReasons", [])
                stale = {
                    key
                    for key, reason in zip(items, reasons, strict=False)
                    if reason.get("Code") == "ConditionalCheckFailed"
                }
                refused |= stale
                items = {key: item for key, item in items.items() if key not in stale}
                if not items:
                    break
                if not stale:
                    refuse_mistake(error)
                    time.sleep(pause)
            except BotoCoreError:
                # It may have been written: then the conditions fail next time, and the events are seen.
                time.sleep(pause)
            else:
                break
        return refused

    def _get(self, texts: Sequence[str]) -> list[dict[str, Any]]:
        return batch_get(self._client, self._table, [{"k": {"S": text}} for text in texts])


def expiry(days: int) -> dict[str, Any]:
    """Return the attribute by which DynamoDB removes an item after so many days; none for 0."""
    return {"expires": {"N": str(int(time.time()) + days * SECONDS_A_DAY)}} if days else {}


def batch_get(client: Any, table: str, keys: list[dict[str, Any]]) -> list[dict[str, Any]]:  # noqa: ANN401 - boto3's client
    """Return the items that exist, read consistently; raise RetryError when the table stays busy."""
    found: list[dict[str, Any]] = []
    for pause in pauses(f"table {table}"):
        asked = {table: {"Keys": keys, "ConsistentRead": True}}
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
    for part in chunks(items, ITEMS_A_CALL):
        requests = [{"PutRequest": {"Item": item}} for item in part]
        for pause in pauses(f"table {table}"):
            answer = attempt(client.batch_write_item, RequestItems={table: requests})
            if answer is not None:
                requests = answer.get("UnprocessedItems", {}).get(table, [])
            if not requests:
                break
            time.sleep(pause)
