"""One suite for S3 through the adapters: on the fake, on local services, on moto's server."""

from __future__ import annotations

from itertools import count
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from fraud_detection.adapters.aws.s3_files import S3Files
from fraud_detection.adapters.aws.s3_objects import Objects
from fraud_detection.adapters.aws.s3_quarantine import QuarantinedEvent, S3Quarantine, read_quarantined
from fraud_detection.core.errors import ConfigError, RetryError
from fraud_detection.testing.aws_fakes import MAX_LISTED, MAX_OBJECT_KEY_BYTES, MIN_PART_BYTES, FakeS3

NUMBERS = count(1)
ON = ["fake", "local", pytest.param("moto", marks=pytest.mark.long)]


@pytest.fixture(params=ON)
def bucket(request: pytest.FixtureRequest) -> tuple[Any, str]:
    """Return a client and the name of a new bucket."""
    name = f"bucket-{next(NUMBERS)}"
    if request.param == "fake":
        return FakeS3({name}), name
    client = request.getfixturevalue(request.param)("s3")
    client.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
    return client, name


def test_what_was_put_is_read_to_the_byte_and_put_again_it_is_replaced(bucket: tuple[Any, str]) -> None:
    objects = Objects(*bucket)
    for content in (b"", bytes(range(256)), b"x" * 200_000):
        objects.put("a/b", content)
        assert objects.get("a/b") == content
    assert objects.put_once("a/b", b"new") is False
    assert objects.put_once("a/c", b"new") is True
    assert (objects.get("a/b"), objects.get("a/c")) == (b"x" * 200_000, b"new")


def test_keys_with_odd_characters_stay_apart(bucket: tuple[Any, str]) -> None:
    objects = Objects(*bucket)
    keys = ["q/a b", "q/a+b", "q/a%20b", "q/ä", "q/a\u0308", "q/😀", "q/a#b", "q/a?b&c=d", "q/A", "q/'\""]
    for index, key in enumerate(keys):
        objects.put(key, b"%d" % index)
    assert [objects.get(key) for key in keys] == [b"%d" % index for index in range(len(keys))]
    assert list(objects.keys("q/")) == sorted(keys, key=str.encode)


def test_pages_hold_each_key_once_in_the_order_of_their_bytes(bucket: tuple[Any, str]) -> None:
    client, name = bucket
    for key in ("a/3", "a/1", "b/1", "a/4", "a/2", "a/5"):
        client.put_object(Bucket=name, Key=key, Body=b"")
    keys: list[list[str]] = []
    more: dict[str, str] = {}
    while len(keys) < 9:
        response = client.list_objects_v2(Bucket=name, Prefix="a/", MaxKeys=2, **more)
        keys.append([entry["Key"] for entry in response["Contents"]])
        assert response["KeyCount"] == len(keys[-1])
        if not response["IsTruncated"]:
            break
        more = {"ContinuationToken": response["NextContinuationToken"]}
    assert keys == [["a/1", "a/2"], ["a/3", "a/4"], ["a/5"]]


@pytest.mark.parametrize("bucket", ["fake", pytest.param("moto", marks=pytest.mark.long)], indirect=True)
def test_a_page_has_at_most_a_thousand_keys_and_all_are_found(bucket: tuple[Any, str]) -> None:
    objects, number = Objects(*bucket), MAX_LISTED + 3
    for index in reversed(range(number)):
        objects.put(f"page/{index:05d}", b"")
    client, name = bucket
    first = client.list_objects_v2(Bucket=name, Prefix="page/")
    assert (len(first["Contents"]), first["IsTruncated"]) == (MAX_LISTED, True)
    assert list(objects.keys("page/")) == [f"page/{index:05d}" for index in range(number)]


def test_a_list_of_nothing_has_no_contents(bucket: tuple[Any, str]) -> None:
    client, name = bucket
    response = client.list_objects_v2(Bucket=name, Prefix="none/")
    assert ("Contents" in response, response["KeyCount"], response["IsTruncated"]) == (False, 0, False)
    assert list(Objects(client, name).keys()) == []


def test_what_is_set_aside_is_read_again(bucket: tuple[Any, str]) -> None:
    aside = [
        QuarantinedEvent("shardId-000000000001", str(n), f"c{n}", "no JSON", "$", "e30=") for n in range(3)
    ]
    S3Quarantine(*bucket).put(aside)
    objects = Objects(*bucket)
    (key,) = objects.keys("quarantine/")
    (read,) = read_quarantined(key, objects.get(key))
    assert [position.sequence_number for position in read.positions] == ["0", "1", "2"]


@pytest.mark.parametrize(
    ("operation", "more", "code"),
    [
        ("get_object", {"Key": "absent"}, "NoSuchKey"),
        ("get_object", {"Bucket": "no-such-bucket", "Key": "a"}, "NoSuchBucket"),
        ("put_object", {"Bucket": "no-such-bucket", "Key": "a", "Body": b""}, "NoSuchBucket"),
        ("list_objects_v2", {"Bucket": "no-such-bucket"}, "NoSuchBucket"),
    ],
)
def test_what_is_not_there_has_its_code(
    bucket: tuple[Any, str], operation: str, more: dict[str, Any], code: str
) -> None:
    client, name = bucket
    with pytest.raises(ClientError) as caught:
        getattr(client, operation)(**{"Bucket": name, **more})
    assert caught.value.response["Error"]["Code"] == code


def test_a_bucket_that_is_not_there_is_a_mistake_or_retried_as_the_adapter_promises(
    bucket: tuple[Any, str],
) -> None:
    client, _ = bucket
    with pytest.raises(ConfigError, match="no-such-bucket"):
        Objects(client, "no-such-bucket").put("a", b"")
    with pytest.raises(RetryError, match="no-such-bucket"):
        S3Quarantine(client, "no-such-bucket").put([QuarantinedEvent("s", "1", "c", "no JSON", "$", "e30=")])


def test_a_key_has_at_most_1024_bytes(bucket: tuple[Any, str]) -> None:
    client, name = bucket
    client.put_object(Bucket=name, Key="k" * MAX_OBJECT_KEY_BYTES, Body=b"")
    if not isinstance(client, FakeS3):
        pytest.skip("neither the local services nor moto's server refuse a longer one, as S3 does")
    with pytest.raises(ClientError, match="KeyTooLongError"):
        client.put_object(Bucket=name, Key="k" * (MAX_OBJECT_KEY_BYTES + 1), Body=b"")


@pytest.mark.parametrize("size", [0, 1, MIN_PART_BYTES, 2 * MIN_PART_BYTES, 2 * MIN_PART_BYTES + 1])
def test_a_file_is_stored_and_fetched_to_the_byte(bucket: tuple[Any, str], size: int, tmp_path: Path) -> None:
    client, name = bucket
    files, uri = S3Files(client, MIN_PART_BYTES), f"s3://{name}/a b/file.parquet"
    (tmp_path / "sent").write_bytes((bytes(range(251)) * (size // 251 + 1))[:size])
    files.store(tmp_path / "sent", uri)
    version = files.version(uri)
    files.fetch(version, tmp_path / "fetched")
    assert version.size == size
    assert (tmp_path / "fetched").read_bytes() == (tmp_path / "sent").read_bytes()


def test_a_file_is_fetched_once_a_machine_and_not_when_it_was_replaced(
    bucket: tuple[Any, str], tmp_path: Path
) -> None:
    client, name = bucket
    files, uri = S3Files(client), f"s3://{name}/payments.csv"
    files.put(uri, b"first")
    version = files.version(uri)
    path = files.fetch_once(version, tmp_path)
    files.put(uri, b"other")
    assert files.fetch_once(version, tmp_path) == path
    assert (path.name, path.read_bytes()) == ("payments.csv", b"first")
    with pytest.raises(ConfigError, match=r"payments\.csv: was replaced while it was read"):
        files.fetch_once(version, tmp_path / "another-machine")
    assert files.fetch_once(files.version(uri), tmp_path).read_bytes() == b"other"


@pytest.mark.parametrize("bucket", ["fake"], indirect=True)
def test_an_upload_that_fails_leaves_what_was_there_and_is_given_up(
    bucket: tuple[Any, str], tmp_path: Path
) -> None:
    """By parts that are too small, which neither the local services nor moto's server refuse."""
    client, name = bucket
    files, uri = S3Files(client, MIN_PART_BYTES - 1), f"s3://{name}/table.parquet"
    files.put(uri, b"the table of before")
    (tmp_path / "large").write_bytes(bytes(2 * MIN_PART_BYTES))
    with pytest.raises(RetryError, match="EntityTooSmall"):
        files.store(tmp_path / "large", uri)
    assert files.get(uri) == b"the table of before"
    assert client.uploads == {}


def test_an_object_that_is_not_there_is_said_so(bucket: tuple[Any, str]) -> None:
    client, name = bucket
    files = S3Files(client)
    with pytest.raises(ConfigError, match="no such object"):
        files.version(f"s3://{name}/absent")
    assert files.get(f"s3://{name}/absent") is None
    files.remove(f"s3://{name}/absent")
    with pytest.raises(ConfigError, match="expected an object in S3"):
        files.version("payments.csv")
