"""EMR Serverless in memory: applications, and job runs that a function does the work of."""

from __future__ import annotations

import datetime as dt
import itertools
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import cache
from typing import Any

import botocore.session
from botocore.exceptions import ParamValidationError
from botocore.validate import ParamValidator

from fraud_detection.testing.aws_fakes import refusal

SERVICE = "emr-serverless"
STEPS = ("SUBMITTED", "PENDING", "SCHEDULED", "RUNNING")
"""The states of a run before its end; each question sees the next one."""
ENDED = ("SUCCESS", "FAILED", "CANCELLED")
ACCOUNT = "123456789012"
MAX_DETAILS = 256
MIN_TIMEOUT_MINUTES = 5
WHEN = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)

Work = Callable[[Mapping[str, Any]], str]
"""Does the work of a run from its request; returns why it failed, an empty text where it did not."""


class FakeEmrServerless:
    """Applications by id; `requests` are those that started a run, `runs` what became of them.

    Requests and responses are checked against AWS's own description of each call, which comes with botocore.
    A run goes one state further with each `get_job_run`; its work is done when it begins to run.

    Unlike the service it prices nothing, starts an application at once and keeps tokens for ever.  Unlike
    moto's server it knows them at all, takes the release labels of Spark 4, and has runs that fail.

    >>> from fraud_detection.adapters.aws.emr_serverless import EmrApplication, JobRequest
    >>> fake = FakeEmrServerless({"00f1"}, lambda request: "no such object")
    >>> role = "arn:aws:iam::123456789012:role/fraud"
    >>> request = JobRequest("a", role, "s3://b/main.py", (), {"a": "b"}, "s3://b/logs/", 60, "token")
    >>> application = EmrApplication(fake, "00f1", pause_s=0.0)
    >>> application.start(request) == application.start(request)
    True
    >>> [run.state for run in application.followed(application.start(request))]
    ['SUBMITTED', 'PENDING', 'SCHEDULED', 'RUNNING', 'FAILED']
    """

    def __init__(self, applications: Collection[str], work: Work = lambda _: "") -> None:
        """Start without runs."""
        self.states = dict.fromkeys(applications, "CREATED")
        self.work = work
        self.requests: list[dict[str, Any]] = []
        self.runs: list[dict[str, Any]] = []
        self._tokens: dict[tuple[str, str], int] = {}

    def get_application(self, **request: object) -> dict[str, Any]:
        """Return an application's state."""
        name = self._checked("GetApplication", request)
        where = f"arn:aws:emr-serverless:eu-central-1:{ACCOUNT}:/applications/{name}"
        answer = {"applicationId": name, "arn": where, "releaseLabel": "emr-spark-8.0.0", "type": "Spark"}
        times = {"createdAt": WHEN, "updatedAt": WHEN}
        return _answer("GetApplication", {"application": {**answer, "state": self.states[name], **times}})

    def stop_application(self, **request: object) -> dict[str, Any]:
        """Stop an application; refuse while a run has not ended."""
        name = self._checked("StopApplication", request)
        if any(run["state"] not in ENDED for run in self.runs if run["applicationId"] == name):
            raise refusal("ValidationException", "StopApplication")
        self.states[name] = "STOPPED"
        return {}

    def start_job_run(self, **request: Any) -> dict[str, Any]:  # noqa: ANN401 - AWS's names
        """Start a run; one of the same token is the same run, unless it asks for something else."""
        name = self._checked("StartJobRun", request)
        if int(request.get("executionTimeoutMinutes", MIN_TIMEOUT_MINUTES)) < MIN_TIMEOUT_MINUTES:
            raise refusal("ValidationException", "StartJobRun")
        token = (name, str(request["clientToken"]))
        number = self._tokens.setdefault(token, len(self.runs))
        if number == len(self.runs):
            self.requests.append(request)
            self.runs.append(_new_run(name, number, request))
            self.states[name] = "STARTED"
        elif self.requests[number] != request:
            raise refusal("ConflictException", "StartJobRun")
        run = self.runs[number]
        return _answer("StartJobRun", {key: run[key] for key in ("applicationId", "jobRunId", "arn")})

    def get_job_run(self, **request: Any) -> dict[str, Any]:  # noqa: ANN401 - AWS's names
        """Return a run, and let it go on."""
        name = self._checked("GetJobRun", request)
        run = self._run(name, str(request["jobRunId"]), "GetJobRun")
        answer = _answer("GetJobRun", {"jobRun": dict(run)})
        self._go_on(run)
        return answer

    def cancel_job_run(self, **request: Any) -> dict[str, Any]:  # noqa: ANN401 - AWS's names
        """End a run."""
        name = self._checked("CancelJobRun", request)
        run = self._run(name, str(request["jobRunId"]), "CancelJobRun")
        if run["state"] not in ENDED:
            run.update(state="CANCELLED", stateDetails="cancelled by the user")
        return _answer("CancelJobRun", {key: run[key] for key in ("applicationId", "jobRunId")})

    def list_job_runs(self, **request: Any) -> dict[str, Any]:  # noqa: ANN401 - AWS's names
        """Return runs, the newest first, a page of them at once; the token of a page is its first number."""
        name = self._checked("ListJobRuns", request)
        states: Sequence[str] = request.get("states", ())
        own = [run for run in reversed(self.runs) if run["applicationId"] == name]
        chosen = [run for run in own if not states or run["state"] in states]
        start, size = int(request.get("nextToken", "0")), int(request.get("maxResults", 50))
        known = ("applicationId", "name", "arn", "createdBy", "createdAt", "updatedAt", "executionRole")
        listed = [
            {
                "id": run["jobRunId"],
                **{key: run[key] for key in (*known, "state", "stateDetails", "releaseLabel")},
            }
            for run in itertools.islice(chosen, start, start + size)
        ]
        more = {"nextToken": str(start + size)} if start + size < len(chosen) else {}
        return _answer("ListJobRuns", {"jobRuns": listed, **more})

    def _checked(self, operation: str, request: Mapping[str, Any]) -> str:
        _check(operation, request, "input")
        name = str(request["applicationId"])
        if name not in self.states:
            raise refusal("ResourceNotFoundException", operation)
        return name

    def _run(self, name: str, run_id: str, operation: str) -> dict[str, Any]:
        for run in self.runs:
            if (run["applicationId"], run["jobRunId"]) == (name, run_id):
                return run
        raise refusal("ResourceNotFoundException", operation)

    def _go_on(self, run: dict[str, Any]) -> None:
        if run["state"] in STEPS[:-1]:
            run["state"] = STEPS[STEPS.index(run["state"]) + 1]
        elif run["state"] == STEPS[-1]:
            failed = self.work(self.requests[self.runs.index(run)])
            run["state"] = "FAILED" if failed else "SUCCESS"
            run["stateDetails"] = (failed or "job run succeeded")[:MAX_DETAILS]
            run["totalExecutionDurationSeconds"] = 60
            run["billedResourceUtilization"] = {
                "vCPUHour": 0.5,
                "memoryGBHour": 2.0,
                "storageGBHour": 0.0,
            }


def _new_run(name: str, number: int, request: Mapping[str, Any]) -> dict[str, Any]:
    run_id = f"00run{number:06d}"
    return {
        "applicationId": name,
        "jobRunId": run_id,
        "name": request.get("name", run_id),
        "arn": f"arn:aws:emr-serverless:eu-central-1:{ACCOUNT}:/applications/{name}/jobruns/{run_id}",
        "createdBy": f"arn:aws:iam::{ACCOUNT}:user/on-call",
        "createdAt": WHEN,
        "updatedAt": WHEN,
        "executionRole": request["executionRoleArn"],
        "jobDriver": request["jobDriver"],
        "releaseLabel": "emr-spark-8.0.0",
        "state": STEPS[0],
        "stateDetails": "waits for capacity",
    }


@cache
def _service() -> Any:  # noqa: ANN401 - botocore's model
    return botocore.session.get_session().get_service_model(SERVICE)


def _check(operation: str, content: Mapping[str, Any], side: str) -> None:
    """Raise ParamValidationError where a request or a response is not as AWS describes the call."""
    shape = getattr(_service().operation_model(operation), f"{side}_shape")
    report = ParamValidator().validate(content, shape)
    wrong = [report.generate_report()] if report.has_errors() else list(_unlike(content, shape))
    if wrong:
        raise ParamValidationError(report=f"{operation}, {side}: {wrong[0]}")


def _unlike(value: Any, shape: Any) -> Iterator[str]:  # noqa: ANN401 - a value, and botocore's model of it
    """Say which texts are too long or of another pattern, which botocore leaves to the service."""
    if shape.type_name == "structure":
        for name, member in value.items():
            yield from _unlike(member, shape.members[name])
    elif shape.type_name == "list":
        for member in value:
            yield from _unlike(member, shape.member)
    elif shape.type_name == "string":
        if len(value) > shape.metadata.get("max", len(value)):
            yield f"{shape.name} has {len(value)} letters, at most {shape.metadata['max']}"
        if not re.fullmatch(shape.metadata.get("pattern", ".*"), value, re.DOTALL):
            yield f"{shape.name} {value!r} is not like {shape.metadata['pattern']}"


def _answer(operation: str, content: dict[str, Any]) -> dict[str, Any]:
    _check(operation, content, "output")
    return content
