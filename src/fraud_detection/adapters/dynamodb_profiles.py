"""Profiles in DynamoDB, shared by all shards of a stream: nothing lost, nothing counted twice.

An item carries, besides the profile, its version and for each shard (lane) the number of the last event
that it has taken in.  A profile is saved only if its version is still the one that was loaded; a batch
that comes again changes only what had not seen its events.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, TypeVar

import msgspec
from botocore.exceptions import BotoCoreError, ClientError

from fraud_detection.errors import RetryError
from fraud_detection.ports import ProfileKey

T = TypeVar("T")

KEYS_A_CALL = 100
PUTS_A_CALL = 50
ATTEMPTS = 6
FIRST_PAUSE_S = 0.02
SECONDS_A_DAY = 86_400
NUMBER_BYTES = 24
"""A sequence number of Kinesis has up to 56 decimal digits."""


class Held(msgspec.Struct, frozen=True):
    """A profile as it was loaded: its version, 0 for a new one, and what each lane has given to it."""

    version: int = 0
    seen: dict[str, bytes] = {}


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
                seen, content = msgspec.msgpack.decode(
                    zlib.decompress(item["c"]["B"]), type=tuple[dict[str, bytes], msgspec.Raw]
                )
                self._held[key] = Held(int(item["v"]["N"]), seen)
                number = int.from_bytes(seen.get(self.lane, b""), "big")
                found[key] = msgspec.msgpack.encode([str(number), content])
        return found

    def save(self, profiles: Mapping[ProfileKey, bytes]) -> set[ProfileKey]:
        """Save all but those whose version has moved on since they were loaded; return these."""
        refused: set[ProfileKey] = set()
        for part in chunks(profiles, PUTS_A_CALL):
            refused |= self._put({key: self._item(key, profiles[key]) for key in part})
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
        number, content = msgspec.msgpack.decode(profile, type=tuple[int | str, msgspec.Raw])
        held = self._held.get(key, Held())
        seen = held.seen | {self.lane: int(number).to_bytes(NUMBER_BYTES, "big")}
        blob = zlib.compress(msgspec.msgpack.encode([seen, content]), 1)
        item = {
            "k": {"S": self._text(key)},
            "c": {"B": blob},
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
        answer = attempt(client.batch_get_item, asked)
        if answer is not None:
            found += answer["Responses"].get(table, [])
            keys = answer.get("UnprocessedKeys", {}).get(table, {}).get("Keys", [])
        if not keys:
            break
        time.sleep(pause)
    return found


def batch_put(client: Any, table: str, items: Sequence[dict[str, Any]]) -> None:  # noqa: ANN401 - boto3's client
    """Write items, whatever stands there; raise RetryError when the table stays busy."""
    for part in chunks(items, 25):
        requests = [{"PutRequest": {"Item": item}} for item in part]
        for pause in pauses(f"table {table}"):
            answer = attempt(client.batch_write_item, {table: requests})
            if answer is not None:
                requests = answer.get("UnprocessedItems", {}).get(table, [])
            if not requests:
                break
            time.sleep(pause)


def attempt(call: Callable[..., dict[str, Any]], asked: dict[str, Any]) -> dict[str, Any] | None:
    """Return the answer, None where the table is busy or away for now; the caller counts its attempts."""
    try:
        return call(RequestItems=asked)
    except ClientError as error:
        refuse_mistake(error)
    except BotoCoreError:
        # Reading again does no harm, nor does putting the same items again.
        pass
    return None


def chunks(values: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield the values in lists of at most `size`.

    >>> list(chunks("abcde", 2))
    [['a', 'b'], ['c', 'd'], ['e']]
    """
    rest = iter(values)
    while part := list(islice(rest, size)):
        yield part


def pauses(what: str) -> Iterator[float]:
    """Yield a longer pause for each attempt; raise RetryError after the last."""
    for attempt in range(ATTEMPTS):
        yield FIRST_PAUSE_S * 2**attempt
    raise RetryError(f"{what} is busy or away: {ATTEMPTS} attempts failed")


def refuse_mistake(error: ClientError) -> None:
    """Raise RetryError at once for an answer that no waiting changes, such as a table that is not there."""
    if error.response["Error"]["Code"] in {
        "ResourceNotFoundException",
        "AccessDeniedException",
        "ValidationException",
    }:
        raise RetryError(str(error)) from None
