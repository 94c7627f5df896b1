"""What can never be decided, whole, in a bucket: an object a record, so that putting it again is harmless."""

from __future__ import annotations

import base64
from typing import Any

import msgspec
from botocore.exceptions import BotoCoreError, ClientError

from fraud_detection.errors import RetryError
from fraud_detection.events import Quarantined


class S3Quarantine:
    """Puts records under `quarantine/<shard>/<number>.json`."""

    def __init__(self, client: Any, bucket: str) -> None:  # noqa: ANN401 - boto3's client has no type
        """Take boto3's client."""
        self._client, self._bucket = client, bucket

    def put(self, lane: str, number: str, record: Quarantined) -> None:
        """Keep one record with the reason and the path; raise RetryError when that fails."""
        content = {
            "lane": lane,
            "sequence": number,
            "reason": record.reason,
            "path": record.path,
            "event_base64": base64.b64encode(record.raw).decode(),
        }
        key = f"quarantine/{lane}/{number}.json"
        try:
            self._client.put_object(Bucket=self._bucket, Key=key, Body=msgspec.json.encode(content))
        except (ClientError, BotoCoreError) as error:
            raise RetryError(f"bucket {self._bucket}: {error}") from None
