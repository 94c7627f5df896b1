"""Files in S3 that are too large for memory: fetched range by range, stored part by part.

An object that is replaced while it is fetched is noticed, and one that is stored appears whole or not at all.
"""

from __future__ import annotations

import fcntl
import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
from botocore.exceptions import BotoCoreError, ClientError

from fraud_detection.adapters.aws.s3_objects import Objects
from fraud_detection.core.errors import ConfigError, RetryError

PART_BYTES = 1 << 26
"""Of a range that is fetched, and of a part that is stored: S3 takes 10,000 parts, which are 640 GiB then."""
URI = re.compile(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])/(.+)")
MISTAKES = {
    "404": "no such object",
    "NoSuchKey": "no such object",
    "NoSuchBucket": "no such bucket",
    "403": "access is denied",
    "AccessDenied": "access is denied",
    "412": "was replaced while it was read; start again",
    "PreconditionFailed": "was replaced while it was read; start again",
}


class Location(msgspec.Struct, frozen=True):
    """Where an object is.

    >>> Location.of("s3://payments/2026/may.parquet")
    Location(bucket='payments', key='2026/may.parquet')
    """

    bucket: str
    key: str

    @classmethod
    def of(cls, uri: str) -> Location:
        """Read a URI; raise ConfigError for any other text."""
        found = URI.fullmatch(uri)
        if found is None:
            raise ConfigError(f"{uri}: expected an object in S3, such as s3://bucket/folder/payments.parquet")
        return cls(found[1], found[2])

    @property
    def name(self) -> str:
        """Return the last part of the key."""
        return self.key.rpartition("/")[2]

    def __str__(self) -> str:
        """Return the URI."""
        return f"s3://{self.bucket}/{self.key}"


class ObjectVersion(msgspec.Struct, frozen=True):
    """An object as it was at a moment: its bytes, and the tag that S3 gave to its content."""

    uri: str
    size: int
    etag: str


class S3Files:
    """Moves files of this machine to S3 and back, through boto3's client."""

    def __init__(self, client: Any, part_bytes: int = PART_BYTES) -> None:  # noqa: ANN401 - boto3's client has no type
        """Take the client; part_bytes: at least 5 MiB, which is S3's limit."""
        self._client, self._part_bytes = client, part_bytes

    def version(self, uri: str) -> ObjectVersion:
        """Return what an object is now; raise ConfigError where there is none, or nobody may see it."""
        where = Location.of(uri)
        answer = self._call(where, "head_object")
        return ObjectVersion(uri, int(answer["ContentLength"]), str(answer["ETag"]))

    def fetch(self, version: ObjectVersion, path: Path) -> None:
        """Write an object into a file, whole or not at all; raise ConfigError where it was replaced since."""
        unfinished = path.with_name(f".{path.name}.unfinished")
        with unfinished.open("wb") as file:
            for content in self._ranges(version):
                file.write(content)
        unfinished.replace(path)

    def fetch_once(self, version: ObjectVersion, folder: Path) -> Path:
        """Return a file with an object's content, fetched by the first process of this machine that asks."""
        name = hashlib.sha256(msgspec.json.encode(version)).hexdigest()[:16]
        path = folder / name / Location.of(version.uri).name
        path.parent.mkdir(parents=True, exist_ok=True)
        with (path.parent / "lock").open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not path.exists():
                self.fetch(version, path)
        return path

    def store(self, path: Path, uri: str) -> None:
        """Store a file as an object, whole or not at all, in the place of one that is there."""
        where = Location.of(uri)
        if path.stat().st_size <= self._part_bytes:
            self._call(where, "put_object", Body=path.read_bytes())
            return
        upload = self._call(where, "create_multipart_upload")["UploadId"]
        try:
            parts = list(self._upload(where, path, upload))
            self._call(where, "complete_multipart_upload", UploadId=upload, MultipartUpload={"Parts": parts})
        except BaseException:
            # What was sent is stored, and paid for, until the upload is given up.
            self._call(where, "abort_multipart_upload", UploadId=upload)
            raise

    def put(self, uri: str, content: bytes) -> None:
        """Put an object, in the place of one that is there."""
        self._call(Location.of(uri), "put_object", Body=content)

    def get(self, uri: str) -> bytes | None:
        """Return an object's content; None where there is none."""
        where = Location.of(uri)
        try:
            return bytes(self._client.get_object(Bucket=where.bucket, Key=where.key)["Body"].read())
        except ClientError as error:
            if error.response["Error"]["Code"] == "NoSuchKey":
                return None
            raise _refused(where, error) from None
        except BotoCoreError as error:
            raise _refused(where, error) from None

    def remove(self, uri: str) -> None:
        """Remove an object, if it is there."""
        self._call(Location.of(uri), "delete_object")

    def below(self, prefix: str) -> Iterator[str]:
        """Yield the URIs of the objects that begin so."""
        where = Location.of(prefix)
        for key in Objects(self._client, where.bucket).keys(where.key):
            yield f"s3://{where.bucket}/{key}"

    def _ranges(self, version: ObjectVersion) -> Iterator[bytes]:
        where = Location.of(version.uri)
        for start in range(0, version.size, self._part_bytes):
            stop = min(start + self._part_bytes, version.size)
            answer = self._call(where, "get_object", Range=f"bytes={start}-{stop - 1}", IfMatch=version.etag)
            try:
                yield answer["Body"].read()
            except BotoCoreError as error:
                raise _refused(where, error) from None

    def _upload(self, where: Location, path: Path, upload: str) -> Iterator[dict[str, object]]:
        with path.open("rb") as file:
            number = 1
            while content := file.read(self._part_bytes):
                sent = self._call(where, "upload_part", UploadId=upload, PartNumber=number, Body=content)
                yield {"ETag": sent["ETag"], "PartNumber": number}
                number += 1

    def _call(self, where: Location, operation: str, **arguments: object) -> dict[str, Any]:
        try:
            response: dict[str, Any] = getattr(self._client, operation)(
                Bucket=where.bucket, Key=where.key, **arguments
            )
        except (ClientError, BotoCoreError) as error:
            raise _refused(where, error) from None
        return response


def _refused(where: Location, error: Exception) -> ConfigError | RetryError:
    """Return the error for what waiting does not change, or for what it may."""
    code = error.response["Error"]["Code"] if isinstance(error, ClientError) else ""
    if code in MISTAKES:
        return ConfigError(f"{where}: {MISTAKES[code]}")
    return RetryError(f"{where}: S3 does not answer as it should: {error}")
