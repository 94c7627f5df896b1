"""Stand-ins for AWS in memory, for tests: they respond as boto3's clients do, and fail on demand.

They refuse what the services refuse.  The limits are those of AWS's own description of each call, which
comes with botocore, and of its pages: S3's `object-keys`, SageMaker's `serverless-endpoints-invoke` and
CloudWatch's `embedded metric format specification`.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections.abc import Callable, Collection
from io import BytesIO
from typing import Any

from botocore.exceptions import ClientError
from botocore.response import StreamingBody

# What S3 takes in one call.
MAX_OBJECT_BYTES = 5 << 30
MAX_LISTED = 1_000
MAX_OBJECT_KEY_BYTES = 1_024
MIN_PART_BYTES = 5 << 20
MAX_PARTS = 10_000
# Limits of an endpoint's requests and responses, on instances and without.
MAX_BODY_BYTES = 6 << 20
MAX_SERVERLESS_BYTES = 4_000_000
# What CloudWatch keeps whole of a line of the log, and what it makes metrics of.  PutLogEvents takes 1 MB by
# now; the older limit is the safe one.
MAX_LOG_LINE_BYTES = 256 << 10
MAX_METRICS = MAX_METRIC_VALUES = 100


def refusal(code: str, operation: str, **more: object) -> ClientError:
    """Return the error that boto3 raises for a refused call."""
    response: Any = {"Error": {"Code": code, "Message": f"{code} (a stand-in)"}, **more}
    return ClientError(response, operation)


class FakeS3:
    """Objects by bucket and key; `puts` counts the calls that put one, `uploads` are those under way.

    Unlike S3 it holds no versions and checks no checksums, and the token of a page is its last key.  Unlike
    moto's server it refuses a key of more than 1,024 bytes (AWS, "Naming Amazon S3 objects").

    >>> from fraud_detection.adapters.aws.s3_quarantine import QuarantinedEvent, S3Quarantine
    >>> from fraud_detection.adapters.aws.s3_quarantine import read_quarantined
    >>> s3 = FakeS3({"quarantine"})
    >>> one = QuarantinedEvent("shardId-000000000000", "7", "c1", "no JSON", "$", "e30=")
    >>> S3Quarantine(s3, "quarantine").put([one])
    >>> [read.reason for (_, key), body in s3.objects.items() for read in read_quarantined(key, body)]
    ['no JSON']
    """

    def __init__(self, buckets: Collection[str] | None = None) -> None:
        """Start without objects.

        buckets: a call to another one is refused; None lets every bucket be there.
        """
        self.puts = 0
        self.objects: dict[tuple[str, str], bytes] = {}
        self.uploads: dict[tuple[str, str, str], dict[int, bytes]] = {}
        self._buckets, self._numbers = buckets, itertools.count(1)

    def put_object(self, *, Bucket: str, Key: str, Body: bytes) -> dict[str, Any]:  # noqa: N803 - AWS's names
        """Keep an object."""
        self.puts += 1
        self._check(Bucket, "PutObject")
        if len(Key.encode()) > MAX_OBJECT_KEY_BYTES:
            raise refusal("KeyTooLongError", "PutObject")
        if len(Body) > MAX_OBJECT_BYTES:
            raise refusal("EntityTooLarge", "PutObject")
        self.objects[Bucket, Key] = Body
        return {}

    def get_object(
        self,
        *,
        Bucket: str,  # noqa: N803 - AWS's names
        Key: str,  # noqa: N803
        Range: str = "",  # noqa: N803
        IfMatch: str = "",  # noqa: N803
    ) -> dict[str, Any]:
        """Return an object, or a range of its bytes, such as `bytes=0-99`."""
        self._check(Bucket, "GetObject")
        if (Bucket, Key) not in self.objects:
            raise refusal("NoSuchKey", "GetObject")
        content = self.objects[Bucket, Key]
        if IfMatch not in ("", _etag(content)):
            raise refusal("PreconditionFailed", "GetObject")
        if (found := re.fullmatch(r"bytes=(\d+)-(\d+)", Range)) is not None:
            if int(found[1]) >= len(content):
                raise refusal("InvalidRange", "GetObject")
            content = content[int(found[1]) : int(found[2]) + 1]
        return {"Body": _body(content), "ETag": _etag(self.objects[Bucket, Key])}

    def head_object(self, *, Bucket: str, Key: str) -> dict[str, Any]:  # noqa: N803 - AWS's names
        """Return what an object is; a refusal has the number of its HTTP status, since there is no body."""
        if (Bucket, Key) not in self.objects:
            raise refusal("404", "HeadObject")
        content = self.objects[Bucket, Key]
        return {"ContentLength": len(content), "ETag": _etag(content)}

    def delete_object(self, *, Bucket: str, Key: str) -> dict[str, Any]:  # noqa: N803 - AWS's names
        """Remove an object, if it is there."""
        self._check(Bucket, "DeleteObject")
        self.objects.pop((Bucket, Key), None)
        return {}

    def create_multipart_upload(self, *, Bucket: str, Key: str) -> dict[str, Any]:  # noqa: N803 - AWS's names
        """Begin to store an object part by part."""
        self._check(Bucket, "CreateMultipartUpload")
        upload = f"upload-{next(self._numbers)}"
        self.uploads[Bucket, Key, upload] = {}
        return {"UploadId": upload}

    def upload_part(
        self,
        *,
        Bucket: str,  # noqa: N803 - AWS's names
        Key: str,  # noqa: N803
        UploadId: str,  # noqa: N803
        PartNumber: int,  # noqa: N803
        Body: bytes,  # noqa: N803
    ) -> dict[str, Any]:
        """Take a part."""
        parts = self._parts((Bucket, Key, UploadId), "UploadPart")
        if not 1 <= PartNumber <= MAX_PARTS:
            raise refusal("InvalidArgument", "UploadPart")
        parts[PartNumber] = Body
        return {"ETag": _etag(Body)}

    def complete_multipart_upload(
        self,
        *,
        Bucket: str,  # noqa: N803 - AWS's names
        Key: str,  # noqa: N803
        UploadId: str,  # noqa: N803
        MultipartUpload: dict[str, Any],  # noqa: N803
    ) -> dict[str, Any]:
        """Make the object of the parts that are named; each but the last has at least 5 MiB."""
        sent = self._parts((Bucket, Key, UploadId), "CompleteMultipartUpload")
        named = [(part["PartNumber"], part["ETag"]) for part in MultipartUpload["Parts"]]
        if named != sorted(named) or any(_etag(sent.get(number, b"")) != etag for number, etag in named):
            raise refusal("InvalidPart", "CompleteMultipartUpload")
        if any(len(sent[number]) < MIN_PART_BYTES for number, _ in named[:-1]):
            raise refusal("EntityTooSmall", "CompleteMultipartUpload")
        self.objects[Bucket, Key] = b"".join(sent[number] for number, _ in named)
        del self.uploads[Bucket, Key, UploadId]
        return {}

    def abort_multipart_upload(self, *, Bucket: str, Key: str, UploadId: str) -> dict[str, Any]:  # noqa: N803 - AWS's names
        """Give an upload up, with the parts that were sent."""
        self._parts((Bucket, Key, UploadId), "AbortMultipartUpload")
        del self.uploads[Bucket, Key, UploadId]
        return {}

    def list_objects_v2(
        self,
        *,
        Bucket: str,  # noqa: N803 - AWS's names
        Prefix: str = "",  # noqa: N803
        ContinuationToken: str = "",  # noqa: N803
        MaxKeys: int = MAX_LISTED,  # noqa: N803
    ) -> dict[str, Any]:
        """Return the keys that begin so, in the order of their bytes, a page of them at once."""
        self._check(Bucket, "ListObjectsV2")
        keys = sorted(
            key
            for bucket, key in self.objects
            if bucket == Bucket and key.startswith(Prefix) and key > ContinuationToken
        )
        page = keys[: min(MaxKeys, MAX_LISTED)]
        contents = {"Contents": [{"Key": key} for key in page]} if page else {}
        more = {"NextContinuationToken": page[-1]} if page != keys else {}
        return {**contents, "KeyCount": len(page), "IsTruncated": page != keys, **more}

    def _parts(self, upload: tuple[str, str, str], operation: str) -> dict[int, bytes]:
        if upload not in self.uploads:
            raise refusal("NoSuchUpload", operation)
        return self.uploads[upload]

    def _check(self, bucket: str, operation: str) -> None:
        if self._buckets is not None and bucket not in self._buckets:
            raise refusal("NoSuchBucket", operation)


class FakeRuntime:
    """An endpoint whose responses a function makes; `fault` may raise before each call.

    max_bytes: of a request and of a response.  `calls` counts the requests.

    Unlike SageMaker it is one endpoint under any name, and takes as long as the function.  Unlike moto's
    server, which returns a constant for anything, it refuses a body that is too large ("InvokeEndpoint").

    >>> endpoint = FakeRuntime(lambda body: body.upper(), max_bytes=9)
    >>> endpoint.invoke_endpoint(EndpointName="fraud", Body=b"a request")["Body"].read()
    b'A REQUEST'
    >>> endpoint.invoke_endpoint(EndpointName="fraud", Body=b"a long request")
    Traceback (most recent call last):
    botocore.exceptions.ClientError: An error occurred (ValidationError) when calling the InvokeEndpoint ...
    """

    def __init__(self, invoke: Callable[[bytes], bytes], max_bytes: int = MAX_BODY_BYTES) -> None:
        """Take the function that maps a request's body to a response."""
        self.calls, self.max_bytes = 0, max_bytes
        self.fault: Callable[[], object] = lambda: None
        self.invoke = invoke

    def invoke_endpoint(self, **arguments: Any) -> dict[str, Any]:  # noqa: ANN401 - AWS's names
        """Respond to a request."""
        self.calls += 1
        self.fault()
        if len(arguments["Body"]) > self.max_bytes:
            raise refusal("ValidationError", "InvokeEndpoint")
        response = self.invoke(arguments["Body"])
        if len(response) > self.max_bytes:
            raise refusal("ModelError", "InvokeEndpoint")
        return {"Body": _body(response)}


class FakeLog:
    r"""The log of the function: it takes lines of JSON and keeps them decoded.

    Unlike CloudWatch Logs, which cuts a line that is too long and leaves metrics out without a word, it
    refuses such a line, so that a test fails.

    >>> log = FakeLog()
    >>> log.write(b'{"type": "decision", "action": "review"}\n')
    >>> [line["action"] for line in log.lines]
    ['review']
    """

    def __init__(self) -> None:
        """Start empty."""
        self.lines: list[dict[str, Any]] = []

    def write(self, line: bytes) -> None:
        """Keep a line; refuse one that CloudWatch would cut, or make no metrics of."""
        if len(line) > MAX_LOG_LINE_BYTES:
            raise refusal("InvalidParameterException", "PutLogEvents")
        entry = json.loads(line)
        for directive in entry.get("_aws", {}).get("CloudWatchMetrics", []):
            values = [entry[metric["Name"]] for metric in directive["Metrics"]]
            longest = max((len(value) for value in values if isinstance(value, list)), default=0)
            if len(values) > MAX_METRICS or longest > MAX_METRIC_VALUES:
                raise refusal("InvalidParameterException", "PutLogEvents")
        self.lines.append(entry)


def _etag(content: bytes) -> str:
    return f'"{hashlib.md5(content, usedforsecurity=False).hexdigest()}"'


def _body(data: bytes) -> StreamingBody:
    return StreamingBody(BytesIO(data), len(data))
