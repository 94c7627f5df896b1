"""The objects of one bucket: put, read, and removed with all their versions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from fraud_detection.core.errors import ConfigError


class Objects:
    """A bucket, through boto3's client."""

    def __init__(self, client: Any, bucket: str) -> None:  # noqa: ANN401 - boto3's client has no type
        """Take the client and the bucket's name."""
        self._client, self._bucket = client, bucket

    def put_once(self, key: str, content: bytes) -> bool:
        """Put an object unless its key exists, for keys that name their content; return whether it did."""
        if key in set(self.keys(key)):
            return False
        self.put(key, content)
        return True

    def put(self, key: str, content: bytes) -> None:
        """Put an object, in the place of one of this key."""
        self._call("put_object", Key=key, Body=content)

    def get(self, key: str) -> bytes:
        """Return an object's content."""
        return bytes(self._call("get_object", Key=key)["Body"].read())

    def keys(self, prefix: str = "") -> Iterator[str]:
        """Return the keys that begin so, in order."""
        request: dict[str, str] = {"Prefix": prefix}
        while True:
            response = self._call("list_objects_v2", **request)
            yield from (entry["Key"] for entry in response.get("Contents", []))
            if not response.get("IsTruncated"):
                return
            request |= {"ContinuationToken": response["NextContinuationToken"]}

    def empty(self) -> int:
        """Remove every version of every object; return how many there were."""
        removed = 0
        while versions := self._some_versions():
            response = self._call("delete_objects", Delete={"Objects": versions, "Quiet": True})
            if response.get("Errors"):
                raise ConfigError(f"bucket {self._bucket}: not removed: {response['Errors'][0]}")
            removed += len(versions)
        return removed

    def _some_versions(self) -> list[dict[str, str]]:
        response = self._call("list_object_versions", MaxKeys=1000)
        versions = [*response.get("Versions", []), *response.get("DeleteMarkers", [])]
        return [{"Key": version["Key"], "VersionId": version["VersionId"]} for version in versions]

    def _call(self, operation: str, **arguments: object) -> dict[str, Any]:
        try:
            response: dict[str, Any] = getattr(self._client, operation)(Bucket=self._bucket, **arguments)
        except (ClientError, BotoCoreError) as error:
            raise ConfigError(f"bucket {self._bucket}: AWS refuses: {error}") from None
        return response
