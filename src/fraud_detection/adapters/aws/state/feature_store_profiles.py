"""Profiles in SageMaker Feature Store: exact where one shard alone writes a profile, and only there.

Feature Store keeps, of the records of one id, that with the latest event time, and has no write on a
condition.  So a save here is never refused, and of two writers at the same time one would lose what the
other wrote.  `RoutedProfiles` therefore sends only the entity that orders the stream here.
"""

from __future__ import annotations

import base64
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec

from fraud_detection.adapters.aws.retries import MISTAKES, attempt, backoffs, chunks
from fraud_detection.adapters.aws.state.feature_store_schema import (
    EVENT_TIME,
    RECORD_IDENTIFIER,
    as_ms,
    as_time,
    group_name,
    record_id,
)
from fraud_detection.adapters.aws.state.versioned_profiles import Held, pack, unpack
from fraud_detection.core.errors import RetryError
from fraud_detection.core.ports import ProfileKey

RECORDS_A_CALL = 100
PUTS_AT_ONCE = 10
"""PutRecord takes one record a call.  Ten at once, because botocore keeps ten connections."""

CONSISTENCY_CHECK_MS = 60_000
"""How long a process makes sure that it reads what it has saved: AWS promises nothing about that."""

NEEDED = [RECORD_IDENTIFIER, EVENT_TIME, "version", "profile"]

RecordKey = tuple[str, str]
"""Name of the feature group, and id of the record."""


class FeatureStoreProfiles:
    """A StateStore over one feature group an entity; `shard` is the shard whose events are being decided.

    days: a profile that was not saved for so long expires; 0 for never.
    """

    def __init__(
        self,
        client: Any,  # noqa: ANN401 - boto3's client has no type
        prefix: str,
        entities: Sequence[str],
        *,
        days: int = 0,
        now: Callable[[], float] = time.time,
    ) -> None:
        """Take boto3's client, and the names of the entities in the order of the schema."""
        self.shard = ""
        self._client, self._now = client, now
        self._groups = [group_name(prefix, entity) for entity in entities]
        self._ttl = {"TtlDuration": {"Unit": "Days", "Value": days}} if days else {}
        self._held: dict[ProfileKey, Held] = {}
        self._saved_ms: dict[ProfileKey, int] = {}

    def load(self, keys: Sequence[ProfileKey]) -> dict[ProfileKey, bytes]:
        """Return the profiles that exist, each with the number of the last event of this shard."""
        self._forget_old_saves()
        by_record_key = {self._record_key(key): key for key in keys}
        profiles: dict[ProfileKey, bytes] = {}
        for chunk in chunks(by_record_key, RECORDS_A_CALL):
            by_part = {record_key: by_record_key[record_key] for record_key in chunk}
            for record_key, record in self._get(by_part).items():
                key = by_record_key[record_key]
                seen, profiles[key] = unpack(base64.b64decode(record["profile"]), self.shard)
                self._held[key] = Held(int(record["version"]), seen, as_ms(record[EVENT_TIME]))
        return profiles

    def save(self, profiles: Mapping[ProfileKey, bytes]) -> set[ProfileKey]:
        """Overwrite all of them: no other process may write them at the same time."""
        if len(profiles) <= 1:
            for key, profile in profiles.items():
                self._put(key, profile)
            return set()
        with ThreadPoolExecutor(min(PUTS_AT_ONCE, len(profiles))) as pool:
            # Asked for one by one: the first that failed is raised, and those not yet begun are dropped.
            list(pool.map(self._put, profiles, profiles.values()))
        return set()

    def version(self, key: ProfileKey) -> int:
        """Return the version of a profile that was loaded, 0 for one that did not exist."""
        return self._held.get(key, Held()).version

    def forget(self) -> None:
        """Load everything anew from now on."""
        self._held.clear()

    def _record_key(self, key: ProfileKey) -> RecordKey:
        return self._groups[key[0]], record_id(key[1])

    def _put(self, key: ProfileKey, profile: bytes) -> None:
        held = self._held.get(key, Held())
        # Of two records with one time the second would be dropped without a word.
        saved_ms = max(int(self._now() * 1000), held.saved_ms + 1, self._saved_ms.get(key, 0) + 1)
        group, identifier = self._record_key(key)
        features = {
            RECORD_IDENTIFIER: identifier,
            EVENT_TIME: as_time(saved_ms),
            "version": str(held.version + 1),
            "shard": self.shard,
            "sequence": str(msgspec.msgpack.decode(profile)[0]),
            "profile": base64.b64encode(pack(profile, held.seen, self.shard)).decode(),
        }
        record = [{"FeatureName": name, "ValueAsString": value} for name, value in features.items()]
        waits = backoffs(f"feature group {group}")
        while attempt(self._client.put_record, FeatureGroupName=group, Record=record, **self._ttl) is None:
            time.sleep(next(waits))
        self._saved_ms[key] = saved_ms

    def _get(self, request: Mapping[RecordKey, ProfileKey]) -> dict[RecordKey, dict[str, str]]:
        """Return the records that exist; request again those left out, failed, or older than ours."""
        records_by_key: dict[RecordKey, dict[str, str]] = {}
        remaining: set[RecordKey] = set(request)
        waits = backoffs("feature groups " + ", ".join(sorted({group for group, _ in request})))
        while remaining:
            response = attempt(self._client.batch_get_record, Identifiers=identifiers(remaining))
            if response is not None:
                records_by_key |= records(response)
                stale = {
                    record_key
                    for record_key, key in request.items()
                    if self._is_stale(key, records_by_key.get(record_key))
                }
                remaining = unprocessed(response) | stale
            if remaining:
                time.sleep(next(waits))
        return records_by_key

    def _is_stale(self, key: ProfileKey, record: Mapping[str, str] | None) -> bool:
        saved_ms = self._saved_ms.get(key)
        return saved_ms is not None and (record is None or as_ms(record[EVENT_TIME]) < saved_ms)

    def _forget_old_saves(self) -> None:
        oldest = int(self._now() * 1000) - CONSISTENCY_CHECK_MS
        self._saved_ms = {key: ms for key, ms in self._saved_ms.items() if ms >= oldest}


def identifiers(record_keys: Iterable[RecordKey]) -> list[dict[str, Any]]:
    """Return the request of BatchGetRecord: the ids by feature group."""
    by_group: dict[str, list[str]] = defaultdict(list)
    for group, identifier in sorted(record_keys):
        by_group[group].append(identifier)
    return [
        {"FeatureGroupName": group, "RecordIdentifiersValueAsString": ids, "FeatureNames": NEEDED}
        for group, ids in by_group.items()
    ]


def records(response: Mapping[str, Any]) -> dict[RecordKey, dict[str, str]]:
    """Return the records of an answer, each as its features by name."""
    return {
        (_name(record), record["RecordIdentifierValueAsString"]): {
            feature["FeatureName"]: feature["ValueAsString"] for feature in record["Record"]
        }
        for record in response["Records"]
    }


def unprocessed(response: Mapping[str, Any]) -> set[RecordKey]:
    """Return what to request again; raise RetryError for an error that no waiting changes."""
    left = {
        (_name(part), identifier)
        for part in response["UnprocessedIdentifiers"]
        for identifier in part["RecordIdentifiersValueAsString"]
    }
    for error in response["Errors"]:
        if error["ErrorCode"] in MISTAKES:
            raise RetryError(
                f"feature group {_name(error)}: {error['ErrorCode']}: {error['ErrorMessage']}; "
                "does the group exist, and may this role read it?"
            )
        left.add((_name(error), error["RecordIdentifierValueAsString"]))
    return left


def _name(part: Mapping[str, Any]) -> str:
    # An answer may name a group by its ARN: arn:aws:sagemaker:eu-west-1:123456789012:feature-group/name.
    return str(part["FeatureGroupName"]).rpartition("/")[2]
