"""Carry a plan out: files into the bucket, a change set, its progress; and the way back.  Decides nothing."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from fraud_detection.adapters.aws.cloudformation import EMPTY, GOOD, NEVER_MADE, WORKING, Stack
from fraud_detection.adapters.aws.emr_serverless import ACTIVE, EmrApplication
from fraud_detection.adapters.aws.s3_objects import Objects
from fraud_detection.core.errors import ConfigError
from fraud_detection.deployment.plan import Plan, Running, compare
from fraud_detection.deployment.preflight import try_out
from fraud_detection.deployment.release import Artefact, Release
from fraud_detection.deployment.secrets import values
from fraud_detection.deployment.settings import Deployment
from fraud_detection.deployment.template.template import build, render

CHANGE_SET = "fraud-deploy"
APPLICATION = "HistoryApplication"
"""The resource, and the output with its id."""
WATCHED = ("function-errors", "decline-rate")
"""Alarms that take back a change of the function for some minutes after it."""

Log = Callable[[str], object]


def no_application(application_id: str) -> EmrApplication:
    """Refuse: local services have no EMR Serverless, so that no stack there has an application."""
    raise ConfigError(f"application {application_id}: there is no EMR Serverless here")


class Cloud(msgspec.Struct, frozen=True):
    """Where a deployment goes.

    local: local services take AWS's place.  environment: of whoever deploys; may hold secrets of the project.
    """

    stack: Stack
    objects: Callable[[str], Objects]
    local: bool
    environment: Mapping[str, str] = {}
    application: Callable[[str], EmrApplication] = no_application


def running(stack: Stack) -> Running:
    """Return what the stack is made of now."""
    template = stack.template()
    return Running(template, stack.parameters()) if template else Running()


def plan(settings: Deployment, release: Release, artefacts: Sequence[Artefact], cloud: Cloud) -> Plan:
    """Return what `apply` would do; reads only.

    Raises ConfigError when the function would not start, or not decide, as it would be deployed.
    """
    template = build(settings, release)
    try_out(template, release, artefacts, cloud.environment, local=cloud.local)
    return compare(settings, running(cloud.stack), template, {"Local": _local(cloud)})


def apply(
    settings: Deployment, release: Release, artefacts: Sequence[Artefact], cloud: Cloud, log: Log
) -> Plan:
    """Make the stack what the settings and the release say; return what was done, nothing where nothing was.

    Raises ConfigError when the function would not start as it would be deployed, and nothing is changed; and
    when CloudFormation refuses or fails: then the whole change is rolled back.
    """
    stack = cloud.stack
    if (status := stack.status()) in NEVER_MADE:
        raise ConfigError(
            f"stack {stack.name} was never created completely ({status}): "
            "remove it with `fraud deploy destroy`, then apply"
        )
    wanted = plan(settings, release, artefacts, cloud)
    if not wanted.changes:
        # Somebody may have removed what the running system will need to start again.
        _upload(artefacts, cloud, log)
        _protect(stack, settings)
        return wanted
    outputs = stack.outputs()
    if APPLICATION in outputs and any(change.name == APPLICATION for change in wanted.changes):
        _rest(cloud.application(outputs[APPLICATION]))
    if "Bucket" not in outputs:
        log("making the bucket that the release has to lie in first")
        _change(stack, render(build(settings)), [], log)
    _upload(artefacts, cloud, log)
    _change(
        stack,
        render(build(settings, release)),
        _parameters(running(stack), release, cloud),
        log,
        _rollback_alarms(stack, settings, cloud),
    )
    _protect(stack, settings)
    return wanted


def destroy(settings: Deployment, cloud: Cloud, log: Log) -> bool:
    """Remove the stack with all its data; return False where there was none."""
    stack = cloud.stack
    if settings.protect:
        raise ConfigError(
            f"stack {stack.name} is protected: set `protect: false` in its settings and apply them first"
        )
    description = stack.describe()
    if description is None:
        return False
    # What the stack says counts, before anything of it is touched: the settings may be another file's.
    if description.get("EnableTerminationProtection"):
        raise ConfigError(f"stack {stack.name} is protected: apply settings with `protect: false` first")
    if description["StackStatus"] != EMPTY and description["StackStatus"].endswith(WORKING):
        raise ConfigError(
            f"stack {stack.name} is being changed ({description['StackStatus']}); wait until it is done"
        )
    outputs = stack.outputs()
    if APPLICATION in outputs:
        _end_runs(cloud.application(outputs[APPLICATION]), log)
    if (bucket := outputs.get("Bucket")) is not None:
        removed = cloud.objects(bucket).empty()
        log(f"removed {removed:,} objects from {bucket}")
    seen = stack.seen()
    stack.delete()
    _log_events(stack, seen, log)
    if bucket is not None and stack.status() == "DELETE_FAILED":
        # What was still at work may have written once more: now nothing is.
        cloud.objects(bucket).empty()
        seen = stack.seen()
        stack.delete()
        _log_events(stack, seen, log)
    if (left := stack.status()) != "":
        raise ConfigError(f"stack {stack.name} could not be removed ({left}); the events above say why")
    return True


def _rest(application: EmrApplication) -> None:
    """Stop the application, which AWS changes at rest alone; refuse while it replays a history."""
    if (run := next(application.runs(sorted(ACTIVE)), None)) is not None:
        raise ConfigError(
            f"the application for history would be changed while run {run.id} is {run.state.lower()}: apply "
            "again when it has ended, see `fraud deploy status`"
        )
    application.stop()


def _end_runs(application: EmrApplication, log: Log) -> None:
    """End what the application does, and stop it: AWS removes it at rest alone."""
    runs = [run for run in application.runs(sorted(ACTIVE)) if run.state != "CANCELLING"]
    for run in runs:
        log(f"cancelling run {run.id} of the application for history")
        application.cancel(run.id)
    while next(application.runs(sorted(ACTIVE)), None) is not None:
        application.pause()
    application.stop()


def _upload(artefacts: Sequence[Artefact], cloud: Cloud, log: Log) -> None:
    bucket = cloud.objects(cloud.stack.outputs()["Bucket"])
    for artefact in artefacts:
        if bucket.put_once(artefact.key, artefact.content):
            log(f"uploaded {artefact.key} ({len(artefact.content):,} bytes)")


def _protect(stack: Stack, settings: Deployment) -> None:
    """Let AWS refuse to remove the stack, or not, as the settings say."""
    if (stack.describe() or {}).get("EnableTerminationProtection", False) != settings.protect:
        stack.protect(protected=settings.protect)


def _change(
    stack: Stack,
    template: str,
    parameters: Sequence[dict[str, Any]],
    log: Log,
    rollback_alarms: Sequence[str] = (),
) -> None:
    seen = stack.seen()
    if not stack.change(template, parameters, CHANGE_SET, rollback_alarms):
        log("CloudFormation finds nothing to change")
        return
    failures = _log_events(stack, seen, log)
    if (status := stack.status()) not in GOOD or "ROLLBACK" in status:
        raise ConfigError(f"stack {stack.name}: the change failed and was rolled back ({status}): {failures}")


def _log_events(stack: Stack, seen: set[str], log: Log) -> str:
    """Report what happens until it is over; return the first failure."""
    first = ""
    for event in stack.events(seen):
        message = f": {event.reason}" if event.reason else ""
        log(f"{event.at} {event.status:<20} {event.name} ({event.type}){message}")
        if event.failed and not first and "cancelled" not in event.reason:
            first = f"{event.name} ({event.type}): {event.reason}"
    return first


def _parameters(now: Running, release: Release, cloud: Cloud) -> list[dict[str, Any]]:
    there = now.template.get("Parameters", {})
    return [
        {"ParameterKey": "Local", "ParameterValue": _local(cloud)},
        *values(release.secrets, there, cloud.environment),
    ]


def _rollback_alarms(stack: Stack, settings: Deployment, cloud: Cloud) -> list[str]:
    """Return the alarms that are there already: CloudFormation refuses others."""
    description = stack.describe() or {}
    where = re.match(r"arn:([^:]+):cloudformation:([^:]+):([^:]+):", str(description.get("StackId", "")))
    if (
        cloud.local
        or not settings.alarms.roll_back
        or where is None
        or "ProcessorAlias" not in stack.template().get("Resources", {})
    ):
        return []
    partition, region, account = where.groups()
    return [f"arn:{partition}:cloudwatch:{region}:{account}:alarm:{stack.name}-{name}" for name in WATCHED]


def _local(cloud: Cloud) -> str:
    return "true" if cloud.local else "false"
