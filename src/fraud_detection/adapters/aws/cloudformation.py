"""One CloudFormation stack: its state, change sets, and their progress event by event."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

from fraud_detection.core.errors import ConfigError, RetryError

WORKING = "_IN_PROGRESS"
GONE = "DELETE_COMPLETE"
NEVER_MADE = {"ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "CREATE_FAILED", "DELETE_FAILED"}
"""A stack in such a state cannot be updated, only removed."""
GOOD = {"CREATE_COMPLETE", "UPDATE_COMPLETE", "IMPORT_COMPLETE", "DELETE_COMPLETE"}
CAPABILITIES = ["CAPABILITY_NAMED_IAM"]
NOTHING = ("didn't contain changes", "No updates are to be performed", "no changes")
CHANGE_SET_S = 300.0
START_S = 60.0
EMPTY = "REVIEW_IN_PROGRESS"


class Event(msgspec.Struct, frozen=True):
    """What happened to one resource."""

    at: str
    name: str
    type: str
    status: str
    reason: str = ""

    @property
    def failed(self) -> bool:
        """Return whether it is a failure."""
        return self.status.endswith("FAILED")


class Stack:
    """A stack by its name, through boto3's client of CloudFormation."""

    def __init__(
        self,
        client: Any,  # noqa: ANN401 - boto3's client has no type
        name: str,
        pause_s: float = 2.0,
    ) -> None:
        """Take the client; pause_s: between two questions."""
        self.name = name
        self._client, self._pause_s = client, pause_s

    def describe(self) -> dict[str, Any] | None:
        """Return CloudFormation's description; None where there is no stack."""
        try:
            stacks = self._client.describe_stacks(StackName=self.name)["Stacks"]
        except (ClientError, BotoCoreError) as error:
            if "does not exist" in str(error):
                return None
            raise _refused(self.name, error) from None
        return next((stack for stack in stacks if stack["StackStatus"] != GONE), None)

    def status(self) -> str:
        """Return the stack's status; an empty text where there is none, or only a change set."""
        stack = self.describe()
        return "" if stack is None or stack["StackStatus"] == EMPTY else str(stack["StackStatus"])

    def outputs(self) -> dict[str, str]:
        """Return the outputs; empty where there is no stack."""
        stack = self.describe() or {}
        return {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", [])}

    def parameters(self) -> dict[str, str]:
        """Return the parameters as CloudFormation shows them; secret ones are stars."""
        stack = self.describe() or {}
        return {
            parameter["ParameterKey"]: parameter["ParameterValue"]
            for parameter in stack.get("Parameters", [])
        }

    def template(self) -> dict[str, Any]:
        """Return the template that was given last; empty where there is no stack."""
        if not self.status():
            return {}
        body = self._call("get_template", TemplateStage="Original")["TemplateBody"]
        return dict(msgspec.json.decode(body) if isinstance(body, str) else body)

    def change(
        self,
        template: str,
        parameters: Sequence[dict[str, Any]],
        change_set: str,
        rollback_alarms: Sequence[str] = (),
    ) -> bool:
        """Make a change set and start it; return False when it holds no change.

        rollback_alarms: ARNs of alarms that roll the change back.
        """
        status = self.status()
        if status.endswith(WORKING):
            raise RetryError(f"stack {self.name} is being changed ({status}); wait until it is done")
        self._drop(change_set)
        self._call(
            "create_change_set",
            ChangeSetName=change_set,
            ChangeSetType="UPDATE" if status else "CREATE",
            TemplateBody=template,
            Parameters=list(parameters),
            Capabilities=CAPABILITIES,
            **({"RollbackConfiguration": _rollback(rollback_alarms)} if rollback_alarms else {}),
        )
        if not self._ready(change_set):
            self._drop(change_set)
            return False
        seen_ids = self.seen()
        self._call("execute_change_set", ChangeSetName=change_set)
        self._wait_for_start(seen_ids)
        return True

    def _wait_for_start(self, seen_ids: set[str]) -> None:
        """Wait until the change shows: right after the request the stack still looks unchanged."""
        deadline = time.monotonic() + START_S
        while not self.status().endswith(WORKING) and not self.seen() - seen_ids:
            if time.monotonic() > deadline:
                raise RetryError(
                    f"stack {self.name}: nothing has happened for {START_S:.0f} s; look again later"
                )
            time.sleep(self._pause_s)

    def events(self, since: set[str]) -> Iterator[Event]:
        """Report events until the stack is stable; `since` are the ids of events reported before."""
        while True:
            status = self.status()
            yield from self._news(since)
            if not status.endswith(WORKING):
                return
            time.sleep(self._pause_s)

    def seen(self) -> set[str]:
        """Return the ids of all events so far."""
        known: set[str] = set()
        for _ in self._news(known):
            pass
        return known

    def delete(self) -> None:
        """Start to remove the stack."""
        self._call("delete_stack")

    def protect(self, *, protected: bool) -> None:
        """Let AWS refuse to remove the stack, or not."""
        self._call("update_termination_protection", EnableTerminationProtection=protected)

    def _ready(self, change_set: str) -> bool:
        deadline = time.monotonic() + CHANGE_SET_S
        while time.monotonic() < deadline:
            response = self._call("describe_change_set", ChangeSetName=change_set)
            status, reason = response["Status"], response.get("StatusReason", "")
            if status == "CREATE_COMPLETE":
                return True
            if status == "FAILED" and any(phrase in reason for phrase in NOTHING):
                return False
            if status == "FAILED":
                raise ConfigError(f"stack {self.name}: CloudFormation refuses the change: {reason}")
            time.sleep(self._pause_s)
        raise RetryError(f"stack {self.name}: no change set after {CHANGE_SET_S:.0f} s; try again")

    def _drop(self, change_set: str) -> None:
        """Remove an older change set of this name, if there is one."""
        if self.describe() is not None:
            try:
                self._client.delete_change_set(StackName=self.name, ChangeSetName=change_set)
            except ClientError as error:
                if "NotFound" not in error.response["Error"]["Code"] and "does not exist" not in str(error):
                    raise _refused(self.name, error) from None

    def _news(self, since: set[str]) -> Iterator[Event]:
        """Return the events that were not reported yet, the oldest first."""
        fresh: list[dict[str, Any]] = []
        request: dict[str, str] = {}
        while True:
            try:
                response = self._client.describe_stack_events(StackName=self.name, **request)
            except ClientError as error:
                if "does not exist" in str(error):
                    break
                raise _refused(self.name, error) from None
            page = [event for event in response["StackEvents"] if event["EventId"] not in since]
            fresh += page
            # The newest come first: a page without news ends the search.
            if not page or not response.get("NextToken"):
                break
            request = {"NextToken": response["NextToken"]}
        since |= {event["EventId"] for event in fresh}
        for event in reversed(fresh):
            yield Event(
                f"{event['Timestamp']:%H:%M:%S}",
                event.get("LogicalResourceId", ""),
                event.get("ResourceType", ""),
                event.get("ResourceStatus", ""),
                event.get("ResourceStatusReason", "") or "",
            )

    def _call(self, operation: str, **arguments: object) -> dict[str, Any]:
        try:
            response: dict[str, Any] = getattr(self._client, operation)(StackName=self.name, **arguments)
        except (ClientError, BotoCoreError) as error:
            raise _refused(self.name, error) from None
        return response


def _rollback(rollback_alarms: Sequence[str]) -> dict[str, Any]:
    triggers = [{"Arn": alarm, "Type": "AWS::CloudWatch::Alarm"} for alarm in rollback_alarms]
    return {"RollbackTriggers": triggers, "MonitoringTimeInMinutes": 5}


def _refused(name: str, error: Exception) -> ConfigError:
    if isinstance(error, NoCredentialsError):
        return ConfigError(
            f"stack {name}: who are you to AWS? Set a profile (AWS_PROFILE) or credentials in the environment"
        )
    if isinstance(error, BotoCoreError):
        return ConfigError(f"stack {name}: AWS cannot be asked: {error}")
    return ConfigError(f"stack {name}: AWS refuses: {error}")
