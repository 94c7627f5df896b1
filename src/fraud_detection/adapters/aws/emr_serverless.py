"""One application of EMR Serverless: its state, its job runs, and how one is started and ended."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
from botocore.exceptions import BotoCoreError, ClientError, ParamValidationError

from fraud_detection.core.errors import ConfigError, RetryError

ACTIVE = frozenset({"SUBMITTED", "PENDING", "SCHEDULED", "QUEUED", "RUNNING", "CANCELLING"})
SUCCESS = "SUCCESS"
AT_REST = frozenset({"CREATED", "STOPPED"})
MISTAKES = frozenset({"ValidationException", "ResourceNotFoundException", "AccessDeniedException"})
PAGE = 50
STOP_S = 300.0


class JobRun(msgspec.Struct, frozen=True):
    """A job run as the service knows it.

    details: why it is in its state, in the service's words.  created_at: text of the UTC time.
    vcpu_hours, memory_gb_hours, storage_gb_hours: what is paid for; 0 until the run has ended, and in a list.
    """

    id: str
    name: str
    state: str
    details: str
    created_at: str
    duration_s: int = 0
    vcpu_hours: float = 0.0
    memory_gb_hours: float = 0.0
    storage_gb_hours: float = 0.0

    @property
    def active(self) -> bool:
        """Return whether it has not ended."""
        return self.state in ACTIVE


class JobRequest(msgspec.Struct, frozen=True):
    """A job to start.

    name: shown by the service.  entry_point: URI of the Python file, which gets the arguments.
    configuration: of Spark.  logs: URI of the folder for logs.  token: the same one starts it only once.
    """

    name: str
    role: str
    entry_point: str
    arguments: tuple[str, ...]
    configuration: Mapping[str, str]
    logs: str
    timeout_minutes: int
    token: str


class EmrApplication:
    """An application by its id, through boto3's client of EMR Serverless."""

    def __init__(self, client: Any, application_id: str, pause_s: float = 5.0) -> None:  # noqa: ANN401 - boto3's client has no type
        """Take the client; pause_s: between two questions."""
        self.id = application_id
        self._client, self._pause_s = client, pause_s

    def state(self) -> str:
        """Return the application's state, such as STARTED."""
        return str(self._call("get_application")["application"]["state"])

    def start(self, request: JobRequest) -> str:
        """Start a job run; return its id, which is that of an earlier call with the same token."""
        parameters = " ".join(f"--conf {key}={value}" for key, value in request.configuration.items())
        answer = self._call(
            "start_job_run",
            clientToken=request.token,
            executionRoleArn=request.role,
            name=request.name,
            jobDriver={
                "sparkSubmit": {
                    "entryPoint": request.entry_point,
                    "entryPointArguments": list(request.arguments),
                    "sparkSubmitParameters": parameters,
                }
            },
            configurationOverrides={
                "monitoringConfiguration": {"s3MonitoringConfiguration": {"logUri": request.logs}}
            },
            executionTimeoutMinutes=request.timeout_minutes,
        )
        return str(answer["jobRunId"])

    def run(self, run_id: str) -> JobRun:
        """Return a job run as it is now."""
        answer = self._call("get_job_run", jobRunId=run_id)["jobRun"]
        billed = answer.get("billedResourceUtilization") or {}
        return JobRun(
            run_id,
            *_described(answer),
            duration_s=int(answer.get("totalExecutionDurationSeconds") or 0),
            vcpu_hours=float(billed.get("vCPUHour") or 0),
            memory_gb_hours=float(billed.get("memoryGBHour") or 0),
            storage_gb_hours=float(billed.get("storageGBHour") or 0),
        )

    def runs(self, states: Sequence[str] = ()) -> Iterator[JobRun]:
        """Yield the job runs, the newest first, as the service orders them; states: of these alone."""
        more: dict[str, Any] = {"states": list(states)} if states else {}
        while True:
            answer = self._call("list_job_runs", maxResults=PAGE, **more)
            for run in answer["jobRuns"]:
                yield JobRun(run["id"], *_described(run))
            if not answer.get("nextToken"):
                return
            more["nextToken"] = answer["nextToken"]

    def followed(self, run_id: str) -> Iterator[JobRun]:
        """Yield a job run again and again until it has ended."""
        while True:
            run = self.run(run_id)
            yield run
            if not run.active:
                return
            self.pause()

    def pause(self) -> None:
        """Wait before asking again."""
        time.sleep(self._pause_s)

    def cancel(self, run_id: str) -> None:
        """Ask for the end of a job run."""
        self._call("cancel_job_run", jobRunId=run_id)

    def stop(self) -> None:
        """Stop the application, which a change and a removal need; raise RetryError if it takes too long."""
        deadline = time.monotonic() + STOP_S
        while (state := self.state()) not in AT_REST:
            if state == "STARTED":
                self._call("stop_application")
            if time.monotonic() > deadline:
                raise RetryError(f"application {self.id} is still {state} after {STOP_S:.0f} s; try again")
            self.pause()

    def _call(self, operation: str, **arguments: object) -> dict[str, Any]:
        try:
            response: dict[str, Any] = getattr(self._client, operation)(applicationId=self.id, **arguments)
        except ClientError as error:
            code = error.response["Error"]["Code"]
            kind = ConfigError if code in MISTAKES else RetryError
            raise kind(f"application {self.id}: EMR Serverless refuses: {error}") from None
        except ParamValidationError:
            raise  # a mistake of ours, which must be seen
        except BotoCoreError as error:
            raise RetryError(f"application {self.id}: EMR Serverless cannot be asked: {error}") from None
        return response


def _described(answer: Mapping[str, Any]) -> tuple[str, str, str, str]:
    created = f"{answer['createdAt']:%Y-%m-%dT%H:%M:%SZ}"
    return str(answer.get("name") or ""), str(answer["state"]), str(answer.get("stateDetails") or ""), created
