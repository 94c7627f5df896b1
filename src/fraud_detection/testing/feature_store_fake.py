"""A stand-in for the runtime of SageMaker Feature Store, in memory, for tests.

It responds as boto3's client does, refuses what AWS refuses, and holds every request and every answer
against AWS's own description of the service.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from threading import Lock
from typing import Any

import msgspec
from botocore.exceptions import ClientError

from fraud_detection.adapters.aws.state.feature_store_schema import (
    EVENT_TIME,
    FEATURES,
    RECORD_IDENTIFIER,
    as_ms,
    as_time,
)
from fraud_detection.testing.aws_fakes import refusal
from fraud_detection.testing.feature_store_model import service, wrongs

MAX_RECORDS = 100
MAX_RECORD_BYTES = 350 * 1024
MAX_ID_BYTES = 2 * 1024


class StoredRecord(msgspec.Struct, frozen=True):
    """A record of the online store: its features in the order of the group, and when it expires."""

    features: dict[str, str]
    time_ms: int
    expires_ms: int | None


class FakeFeatureStore:
    """Feature groups by name, each with records by their id.

    before: called with the operation's name before each call; it may raise, and then nothing is done.
    after: the same after the call, when all is done but the response has not arrived.
    left_out, failed: ids that BatchGetRecord reports as unprocessed, or as errors.
    offline: every record that was ever put, in order, with its group.

    Unlike Feature Store its groups have the features of profiles and no others, it knows PutRecord and
    BatchGetRecord alone, and what is in `offline` is there at once.  Moto's server has no such service.

    >>> from fraud_detection.adapters.aws.state.feature_store_profiles import FeatureStoreProfiles
    >>> store = FakeFeatureStore(["live-card"])
    >>> FeatureStoreProfiles(store, "live", ["card"]).load([(0, "c1")])
    {}
    >>> store.calls
    {'PutRecord': 0, 'BatchGetRecord': 1}
    """

    def __init__(self, groups: Sequence[str], now: Callable[[], float] = time.time) -> None:
        """Start with groups of profiles, all empty."""
        self.groups: dict[str, dict[str, StoredRecord]] = {group: {} for group in groups}
        self.offline: list[tuple[str, dict[str, str]]] = []
        self.calls: dict[str, int] = {"PutRecord": 0, "BatchGetRecord": 0}
        self.before: Callable[[str], object] = lambda _: None
        self.after: Callable[[str], object] = lambda _: None
        self.left_out: Callable[[str], bool] = lambda _: False
        self.failed: Callable[[str], bool] = lambda _: False
        self._now, self._lock = now, Lock()

    def put_record(self, **request: Any) -> dict[str, Any]:  # noqa: ANN401 - AWS's names
        """Store a record if its event time is later than that of the stored one."""
        self._begin("PutRecord", request)
        group = request["FeatureGroupName"]
        if group not in self.groups:
            raise _wrong("PutRecord", f"feature group {group} is not there", "ResourceNotFound")
        features = _features(request["Record"])
        time_ms = as_ms(features[EVENT_TIME])
        record = StoredRecord(features, time_ms, _expires(time_ms, request.get("TtlDuration")))
        stores = request.get("TargetStores", ["OnlineStore", "OfflineStore"])
        with self._lock:
            there = self._online(group, features[RECORD_IDENTIFIER])
            if "OnlineStore" in stores and (there is None or there.time_ms < time_ms):
                self.groups[group][features[RECORD_IDENTIFIER]] = record
            if "OfflineStore" in stores:
                self.offline.append((group, features))
        self.after("PutRecord")
        return {}

    def batch_get_record(self, **request: Any) -> dict[str, Any]:  # noqa: ANN401 - AWS's names
        """Return the records that exist; say which were left out, and which failed."""
        self._begin("BatchGetRecord", request)
        with_expiry = request.get("ExpirationTimeResponse") == "Enabled"
        ids = [
            (part, record_id)
            for part in request["Identifiers"]
            for record_id in part["RecordIdentifiersValueAsString"]
        ]
        record_keys = [(part["FeatureGroupName"], record_id) for part, record_id in ids]
        if len(record_keys) > MAX_RECORDS or len(set(record_keys)) < len(record_keys):
            raise _wrong("BatchGetRecord", f"{len(record_keys)} records, at most {MAX_RECORDS}, each once")
        response: dict[str, Any] = {"Records": [], "Errors": [], "UnprocessedIdentifiers": []}
        for part, record_id in ids:
            kind, detail = self._read(part, record_id, with_expiry=with_expiry)
            response[kind] += detail
        if wrong := wrongs(service().operation_model("BatchGetRecord").output_shape, response):
            raise AssertionError(f"the stand-in answers as AWS does not: {wrong}")
        self.after("BatchGetRecord")
        return response

    def _begin(self, operation: str, request: Mapping[str, Any]) -> None:
        self.calls[operation] += 1
        self.before(operation)
        if wrong := wrongs(service().operation_model(operation).input_shape, request):
            raise _wrong(operation, "; ".join(wrong))

    def _read(
        self, part: Mapping[str, Any], record_id: str, *, with_expiry: bool
    ) -> tuple[str, list[dict[str, Any]]]:
        """Return in which list of the response a record belongs, and what to put there."""
        group, names = part["FeatureGroupName"], part.get("FeatureNames", list(FEATURES))
        named = {"FeatureGroupName": group, "RecordIdentifierValueAsString": record_id}
        if group not in self.groups:
            return "Errors", [named | {"ErrorCode": "ResourceNotFound", "ErrorMessage": "no such group"}]
        if unknown := set(names) - set(FEATURES):
            return "Errors", [named | {"ErrorCode": "ValidationError", "ErrorMessage": f"no {unknown}"}]
        if self.failed(record_id):
            return "Errors", [named | {"ErrorCode": "InternalFailure", "ErrorMessage": "a stand-in"}]
        if self.left_out(record_id):
            return "UnprocessedIdentifiers", [dict(part) | {"RecordIdentifiersValueAsString": [record_id]}]
        record = self._online(group, record_id)
        if record is None:
            return "Records", []
        values = [{"FeatureName": name, "ValueAsString": record.features[name]} for name in names]
        expires = (
            {} if record.expires_ms is None or not with_expiry else {"ExpiresAt": as_time(record.expires_ms)}
        )
        return "Records", [named | {"Record": values} | expires]

    def _online(self, group: str, record_id: str) -> StoredRecord | None:
        record = self.groups[group].get(record_id)
        expired = (
            record is not None and record.expires_ms is not None and record.expires_ms <= self._now() * 1000
        )
        return None if expired else record


def _features(record: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """Return the features of a record by name; refuse what the group does not have."""
    features = {feature["FeatureName"]: feature.get("ValueAsString", "") for feature in record}
    if len(features) < len(record) or set(features) != set(FEATURES):
        raise _wrong("PutRecord", f"features {sorted(features)}, the group has {sorted(FEATURES)}")
    if not 0 < len(features[RECORD_IDENTIFIER].encode()) <= MAX_ID_BYTES:
        raise _wrong("PutRecord", f"a record identifier has 1 to {MAX_ID_BYTES} bytes")
    if sum(len(name) + len(value.encode()) for name, value in features.items()) > MAX_RECORD_BYTES:
        raise _wrong("PutRecord", f"a record has at most {MAX_RECORD_BYTES} bytes")
    try:
        as_ms(features[EVENT_TIME])
        [int(features[name]) for name, kind in FEATURES.items() if kind == "Integral"]
    except ValueError as error:
        raise _wrong("PutRecord", str(error)) from None
    return features


def _expires(time_ms: int, ttl: Mapping[str, Any] | None) -> int | None:
    if ttl is None:
        return None
    lifetime = timedelta(**{ttl["Unit"].lower(): ttl["Value"]})
    return round((datetime.fromtimestamp(time_ms / 1000, UTC) + lifetime).timestamp() * 1000)


def _wrong(operation: str, what: str, code: str = "ValidationError") -> ClientError:
    return refusal(code, operation, Error={"Code": code, "Message": what})
