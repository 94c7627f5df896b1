"""One suite for EMR Serverless through the adapter: on the fake, and on moto's server as far as it goes.

The local services do not have it.  Moto knows no token, has every run succeed at once, and refuses
the label of Spark 4.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import count
from typing import Any

import pytest
from botocore.exceptions import ParamValidationError
from msgspec.structs import replace

from fraud_detection.adapters.aws.emr_serverless import EmrApplication, JobRequest
from fraud_detection.core.errors import ConfigError, RetryError
from fraud_detection.testing.emr_serverless_fake import FakeEmrServerless

NUMBERS = count(1)
APPLICATION = "00f1abcdefgh"
REQUEST = JobRequest(
    name="history-0123",
    role="arn:aws:iam::123456789012:role/fraud-demo-history-eu-central-1",
    entry_point="s3://bucket/releases/main.py",
    arguments=("s3://bucket/history-runs/0123/job.json",),
    configuration={"spark.executor.cores": "4"},
    logs="s3://bucket/history-runs/0123/logs/",
    timeout_minutes=120,
    token="history-0123-0",  # noqa: S106 - no secret
)


@pytest.fixture(params=["fake", pytest.param("moto", marks=pytest.mark.long)])
def application(request: pytest.FixtureRequest) -> EmrApplication:
    if request.param == "fake":
        return EmrApplication(FakeEmrServerless({APPLICATION}), APPLICATION, pause_s=0.0)
    client = request.getfixturevalue("moto")("emr-serverless")
    made = client.create_application(
        name=f"history-{next(NUMBERS)}", releaseLabel="emr-7.9.0", type="SPARK", clientToken="t"
    )
    return EmrApplication(client, made["applicationId"], pause_s=0.0)


def fake_of(application: EmrApplication) -> FakeEmrServerless:
    fake = application._client
    assert isinstance(fake, FakeEmrServerless)
    return fake


def test_a_run_that_was_started_is_there_and_listed(application: EmrApplication) -> None:
    first = application.start(REQUEST)
    second = application.start(replace(REQUEST, token="history-0123-1"))  # noqa: S106 - no secret
    assert first != second
    run = application.run(first)
    assert (run.id, run.name) == (first, "history-0123")
    assert {listed.id for listed in application.runs()} == {first, second}
    assert {listed.name for listed in application.runs()} == {"history-0123"}


def test_a_run_that_was_cancelled_has_ended(application: EmrApplication) -> None:
    run_id = application.start(REQUEST)
    application.cancel(run_id)
    *_, last = application.followed(run_id)
    assert last.state == "CANCELLED"
    assert [run.id for run in application.runs(["CANCELLED"])] == [run_id]
    assert list(application.runs(["FAILED"])) == []


def test_what_is_not_there_is_a_mistake(application: EmrApplication) -> None:
    application.start(REQUEST)
    with pytest.raises(ConfigError, match="ResourceNotFound"):
        application.run("00nosuchrun")
    with pytest.raises(ConfigError, match="ResourceNotFound"):
        EmrApplication(application._client, "00nosuchapplication").state()


def test_an_application_is_stopped(application: EmrApplication) -> None:
    run_id = application.start(REQUEST)
    application.cancel(run_id)
    application.stop()
    assert application.state() in ("STOPPED", "CREATED")


@pytest.mark.parametrize("application", ["fake"], indirect=True)
def test_the_same_token_starts_one_run_and_another_request_with_it_is_refused(
    application: EmrApplication,
) -> None:
    assert application.start(REQUEST) == application.start(REQUEST)
    assert len(fake_of(application).runs) == 1
    with pytest.raises(RetryError, match="ConflictException"):
        application.start(replace(REQUEST, arguments=("another",)))


@pytest.mark.parametrize("application", ["fake"], indirect=True)
def test_a_run_goes_through_its_states_and_its_work_is_done_once(application: EmrApplication) -> None:
    fake, done = fake_of(application), list[Any]()

    def work(request: Mapping[str, Any]) -> str:
        done.append(request)
        return ""

    fake.work = work
    states = [run.state for run in application.followed(application.start(REQUEST))]
    assert states == ["SUBMITTED", "PENDING", "SCHEDULED", "RUNNING", "SUCCESS"]
    assert [request["name"] for request in done] == ["history-0123"]
    last = application.run(fake.runs[0]["jobRunId"])
    assert (last.duration_s, last.vcpu_hours, last.memory_gb_hours) == (60, 0.5, 2.0)


@pytest.mark.parametrize("application", ["fake"], indirect=True)
def test_lists_come_page_by_page_the_newest_first(application: EmrApplication) -> None:
    started = [application.start(replace(REQUEST, token=f"t{number}")) for number in range(120)]
    assert [run.id for run in application.runs()] == started[::-1]


@pytest.mark.parametrize("application", ["fake"], indirect=True)
@pytest.mark.parametrize(
    "wrong",
    [
        {"role": "no-arn"},
        {"token": "x" * 65},
        {"entry_point": ""},
        {"timeout_minutes": "60"},
    ],
)
def test_a_request_that_is_not_as_aws_describes_it_is_refused(
    application: EmrApplication, wrong: dict[str, Any]
) -> None:
    with pytest.raises(ParamValidationError, match="StartJobRun, input"):
        application.start(replace(REQUEST, **wrong))
