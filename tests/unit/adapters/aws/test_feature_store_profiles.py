"""Profiles in Feature Store: what is keys of AWS, what is keys again, and what the stand-in refuses."""

from __future__ import annotations

import base64
import os
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import botocore.session
import msgspec
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, ReadTimeoutError

from fraud_detection.adapters.aws.state.feature_store_profiles import FeatureStoreProfiles
from fraud_detection.adapters.aws.state.feature_store_schema import (
    EVENT_TIME,
    FEATURES,
    RECORD_IDENTIFIER,
    as_ms,
)
from fraud_detection.adapters.aws.state.versioned_profiles import NUMBER_BYTES
from fraud_detection.core.errors import ConfigError, RetryError
from fraud_detection.core.ports import ProfileKey
from fraud_detection.testing.aws_fakes import refusal
from fraud_detection.testing.feature_store_fake import MAX_RECORD_BYTES, FakeFeatureStore
from fraud_detection.testing.feature_store_model import service, wrongs
from fraud_detection.testing.feature_store_server import FeatureStoreServer

GROUP = "live-card"
KEY: ProfileKey = (0, "one")
DAY_S = 86_400


class Clock:
    def __init__(self) -> None:
        self.now = 1_785_542_400.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def fake(clock: Clock) -> FakeFeatureStore:
    return FakeFeatureStore([GROUP], clock)


def store(client: Any, clock: Callable[[], float], days: int = 0) -> FeatureStoreProfiles:  # noqa: ANN401 - AWS's client
    made = FeatureStoreProfiles(client, "live", ["card"], days=days, now=clock)
    made.shard = "shardId-000000000001"
    return made


def profile(number: int, content: object = "x") -> bytes:
    return msgspec.msgpack.encode([str(number), content])


def record(**changes: str) -> list[dict[str, str]]:
    plain = {
        "entity_id": "one",
        "event_time": "2026-08-01T00:00:00.000Z",
        "version": "1",
        "shard": "a",
        "sequence": "7",
        "profile": "eA==",
    }
    return [{"FeatureName": name, "ValueAsString": value} for name, value in (plain | changes).items()]


def code(error: pytest.ExceptionInfo[ClientError]) -> str:
    return str(error.value.response["Error"]["Code"])


class TestTheStore:
    def test_the_event_time_rises_with_each_save_also_when_the_clock_stands_or_goes_back(
        self, fake: FakeFeatureStore, clock: Clock
    ) -> None:
        for turn in range(6):
            clock.now -= 3 * (turn % 2)
            profile_store = store(fake, clock)  # another process each time
            profile_store.load([KEY])
            profile_store.save({KEY: profile(turn, turn)})
            profile_store.save({KEY: profile(turn, -turn)})
        times = [as_ms(features[EVENT_TIME]) for _, features in fake.offline]
        assert times == sorted(set(times))
        assert msgspec.msgpack.decode(store(fake, clock).load([KEY])[KEY])[1] == -5

    def test_a_save_takes_one_call_a_profile_and_a_load_one_call_a_hundred(
        self, fake: FakeFeatureStore, clock: Clock
    ) -> None:
        saved: dict[ProfileKey, bytes] = {(0, f"e{n}"): profile(n) for n in range(250)}
        profile_store = store(fake, clock)
        profile_store.save(saved)
        assert profile_store.load(list(saved)) == saved
        assert fake.calls == {"PutRecord": 250, "BatchGetRecord": 3}

    def test_what_was_left_out_or_failed_is_retried_and_nothing_else(
        self, fake: FakeFeatureStore, clock: Clock
    ) -> None:
        saved: dict[ProfileKey, bytes] = {(0, f"e{n}"): profile(n) for n in range(90)}
        store(fake, clock).save(saved)
        requested_sizes: list[int] = []
        batch_get = fake.batch_get_record

        def counted(**request: Any) -> dict[str, Any]:  # noqa: ANN401 - AWS's names
            ids = request["Identifiers"][0]["RecordIdentifiersValueAsString"]
            requested_sizes.append(len(ids))
            fake.left_out = lambda call: len(requested_sizes) < 3 and call.endswith("1")
            fake.failed = lambda call: len(requested_sizes) < 2 and call.endswith("2")
            return batch_get(**request)

        fake.batch_get_record = counted  # type: ignore[method-assign]
        assert store(fake, clock).load(list(saved)) == saved
        assert requested_sizes == [90, 18, 9]

    @pytest.mark.parametrize("operation", ["PutRecord", "BatchGetRecord"])
    @pytest.mark.parametrize("fault", ["ThrottlingException", "ServiceUnavailable", "lost answer"])
    def test_a_call_that_failed_is_made_again(
        self, fake: FakeFeatureStore, clock: Clock, operation: str, fault: str
    ) -> None:
        left = [2]

        def fail(called: str) -> None:
            if called == operation and left[0]:
                left[0] -= 1
                if fault == "lost answer":
                    raise ReadTimeoutError(endpoint_url="http://127.0.0.1:1")
                raise refusal(fault, operation)

        fake.after = fail
        profile_store = store(fake, clock)
        profile_store.save({KEY: profile(7)})
        assert profile_store.load([KEY]) == {KEY: profile(7)}
        assert left == [0]

    def test_a_service_that_stays_busy_is_named(self, fake: FakeFeatureStore, clock: Clock) -> None:
        fake.left_out = lambda _: True
        with pytest.raises(RetryError, match=r"live-card is busy or away"):
            store(fake, clock).load([KEY])

    def test_a_group_that_is_not_there_is_named_at_once(self, clock: Clock) -> None:
        empty = FakeFeatureStore([])
        with pytest.raises(ConfigError, match=GROUP):
            store(empty, clock).save({KEY: profile(1)})
        with pytest.raises(RetryError, match=r"live-card: ResourceNotFound.*does the group exist"):
            store(empty, clock).load([KEY])
        assert empty.calls == {"PutRecord": 1, "BatchGetRecord": 1}

    @pytest.mark.parametrize("before", [False, True])
    def test_a_process_never_takes_a_record_older_than_what_it_saved(
        self, fake: FakeFeatureStore, clock: Clock, *, before: bool
    ) -> None:
        if before:
            store(fake, clock).save({KEY: profile(1)})
        late, profile_store = dict(fake.groups[GROUP]), store(fake, clock)
        profile_store.load([KEY])
        profile_store.save({KEY: profile(2)})
        newest, reads = dict(fake.groups[GROUP]), [0]

        def lag(operation: str) -> None:
            reads[0] += operation == "BatchGetRecord"
            fake.groups[GROUP] = dict(late if reads[0] < 3 else newest)

        fake.before = lag
        profile_store.forget()
        assert profile_store.load([KEY]) == {KEY: profile(2)}
        assert reads == [3]

    def test_a_row_of_the_offline_store_reads_as_documented(
        self, fake: FakeFeatureStore, clock: Clock
    ) -> None:
        store(fake, clock).save({KEY: profile(10**55 + 7, ["memory", 1])})
        ((group, row),) = fake.offline
        seen, memory = msgspec.msgpack.decode(zlib.decompress(base64.b64decode(row["profile"])))
        assert (group, row["entity_id"], row["version"], row["event_time"]) == (
            GROUP,
            "one",
            "1",
            "2026-08-01T00:00:00.000Z",
        )
        assert {
            shard: int.from_bytes(position[:NUMBER_BYTES], "big") for shard, position in seen.items()
        } == {row["shard"]: int(row["sequence"])}
        assert (len(seen[row["shard"]]), memory) == (NUMBER_BYTES + 3, ["memory", 1])

    def test_a_profile_expires_after_the_given_days(self, fake: FakeFeatureStore, clock: Clock) -> None:
        store(fake, clock, days=30).save({KEY: profile(1)})
        clock.now += 30 * DAY_S - 1
        assert store(fake, clock).load([KEY]) == {KEY: profile(1)}
        clock.now += 1
        assert store(fake, clock).load([KEY]) == {}

    def test_a_profile_that_is_saved_again_lives_on(self, fake: FakeFeatureStore, clock: Clock) -> None:
        for turn in range(4):
            profile_store = store(fake, clock, days=30)
            assert bool(profile_store.load([KEY])) is (turn > 0)
            profile_store.save({KEY: profile(turn)})
            clock.now += 20 * DAY_S

    @pytest.mark.parametrize("prefix", ["", "-live", "live_/", "x" * 70])
    def test_a_prefix_that_makes_no_name_is_refused(self, clock: Clock, prefix: str) -> None:
        with pytest.raises(ConfigError, match="choose another prefix"):
            FeatureStoreProfiles(None, prefix, ["card"], now=clock)


class TestTheStandIn:
    def test_it_has_exactly_the_features_of_the_group(self) -> None:
        assert {RECORD_IDENTIFIER, EVENT_TIME} < FEATURES.keys()
        shape = service().shape_for("FeatureName")
        assert [wrongs(shape, name) for name in FEATURES] == [[]] * len(FEATURES)
        assert not FEATURES.keys() & {"is_deleted", "write_time", "api_invocation_time"}

    @pytest.mark.parametrize(
        "wrong",
        [
            {"Record": record(color="red")},
            {"Record": record()[1:]},
            {"Record": [*record(), record()[0]]},
            {"Record": []},
            {"Record": record(event_time="yesterday")},
            {"Record": record(event_time="1785542400.0")},
            {"Record": record(version="one")},
            {"Record": record(entity_id="")},
            {"Record": record(entity_id="x" * 2_049)},
            {"Record": record(entity_id="two\nlines")},
            {"Record": record(profile="x" * MAX_RECORD_BYTES)},
            {"Record": record(profile="x" * 358_401)},
            {"Record": record(), "TtlDuration": {"Unit": "Years", "Value": 1}},
            {"Record": record(), "TtlDuration": {"Unit": "Days", "Value": 0}},
            {"Record": record(), "TargetStores": ["NearlineStore"]},
            {"Record": record(), "Colour": "red"},
            {"Record": record(), "FeatureGroupName": "-live"},
        ],
    )
    def test_it_refuses_a_put_that_aws_refuses(self, fake: FakeFeatureStore, wrong: dict[str, Any]) -> None:
        with pytest.raises(ClientError) as refused:
            fake.put_record(**{"FeatureGroupName": GROUP, **wrong})
        assert code(refused) == "ValidationError"
        assert fake.groups == {GROUP: {}}
        assert fake.offline == []

    @pytest.mark.parametrize(
        "identifiers",
        [
            [],
            [{"FeatureGroupName": GROUP}],
            [{"FeatureGroupName": GROUP, "RecordIdentifiersValueAsString": []}],
            [{"FeatureGroupName": GROUP, "RecordIdentifiersValueAsString": [7]}],
            [{"FeatureGroupName": GROUP, "RecordIdentifiersValueAsString": [str(n) for n in range(101)]}],
            [
                {
                    "FeatureGroupName": GROUP,
                    "RecordIdentifiersValueAsString": [f"{part}-{n}" for n in range(60)],
                }
                for part in range(2)
            ],
            [{"FeatureGroupName": GROUP, "RecordIdentifiersValueAsString": ["a", "a"]}],
        ],
    )
    def test_it_refuses_a_get_that_aws_refuses(self, fake: FakeFeatureStore, identifiers: object) -> None:
        with pytest.raises(ClientError) as refused:
            fake.batch_get_record(Identifiers=identifiers)
        assert code(refused) == "ValidationError"

    def test_a_record_with_an_older_or_equal_time_goes_to_the_offline_store_alone(
        self, fake: FakeFeatureStore
    ) -> None:
        for version, time in [("1", "00:00:01Z"), ("2", "00:00:00.999Z"), ("3", "00:00:01.000Z")]:
            fake.put_record(
                FeatureGroupName=GROUP, Record=record(version=version, event_time=f"2026-08-01T{time}")
            )
        assert fake.groups[GROUP]["one"].features["version"] == "1"
        assert [features["version"] for _, features in fake.offline] == ["1", "2", "3"]

    def test_it_returns_when_a_record_expires_on_request(self, fake: FakeFeatureStore) -> None:
        hour = {"Unit": "Hours", "Value": 1}
        fake.put_record(FeatureGroupName=GROUP, Record=record(), TtlDuration=hour)
        requested_sizes = [{"FeatureGroupName": GROUP, "RecordIdentifiersValueAsString": ["one"]}]
        response = fake.batch_get_record(Identifiers=requested_sizes, ExpirationTimeResponse="Enabled")
        assert response["Records"][0]["ExpiresAt"] == "2026-08-01T01:00:00.000Z"
        assert "ExpiresAt" not in fake.batch_get_record(Identifiers=requested_sizes)["Records"][0]


class TestThroughAwsOwnClient:
    @pytest.fixture
    def client(self, fake: FakeFeatureStore, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
        with FeatureStoreServer(fake) as server:
            for name in [name for name in os.environ if name.startswith("AWS_")]:
                monkeypatch.delenv(name)
            monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
            monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
            monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
            monkeypatch.setenv("AWS_ENDPOINT_URL_SAGEMAKER_FEATURESTORE_RUNTIME", server.url)
            made = botocore.session.Session().create_client(
                "sagemaker-featurestore-runtime", config=Config(retries={"total_max_attempts": 1})
            )
            yield made
            made.close()

    def test_it_returns_the_same_as_the_stand_in_itself(
        self,
        client: Any,  # noqa: ANN401 - AWS's client
        fake: FakeFeatureStore,
        clock: Clock,
    ) -> None:
        saved: dict[ProfileKey, bytes] = {(0, f"ä/{n}#?"): profile(n, "x" * n) for n in range(130)}
        profile_store = store(client, clock, days=3)
        assert profile_store.save(saved) == set()
        profile_store.forget()
        assert profile_store.load([*saved, (0, "nobody")]) == saved == store(fake, clock).load(list(saved))
        assert profile_store.version((0, "ä/7#?")) == 1

    def test_refusals_arrive_as_errors_with_their_code(self, client: Any) -> None:  # noqa: ANN401 - AWS's client
        with pytest.raises(ClientError) as absent:
            client.put_record(FeatureGroupName="nobody", Record=record())
        with pytest.raises(ClientError) as wrong:
            client.put_record(FeatureGroupName=GROUP, Record=record(version="one"))
        assert (code(absent), code(wrong)) == ("ResourceNotFound", "ValidationError")
        assert absent.value.response["ResponseMetadata"]["HTTPStatusCode"] == 404

    def test_an_operation_that_is_not_served_reports_it(self, client: Any) -> None:  # noqa: ANN401 - AWS's client
        with pytest.raises(ClientError, match="no operation"):
            client.list_records(FeatureGroupName=GROUP)
