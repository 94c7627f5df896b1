"""`fraud deploy`, `fraud logs`, `fraud status`: the way to AWS, and what one sees of it from here."""

from __future__ import annotations

import os
import sys
import time
from argparse import Namespace

import msgspec

from fraud_detection.adapters.aws.clients import client, is_local, patient_client
from fraud_detection.adapters.aws.cloudformation import Stack
from fraud_detection.adapters.aws.cloudwatch_logs import LogTail
from fraud_detection.adapters.aws.monitoring import CloudWatching
from fraud_detection.adapters.aws.s3_objects import Objects
from fraud_detection.adapters.aws.sqs_queue import SqsQueue
from fraud_detection.adapters.aws.state.dynamodb_decisions import HISTORY, DynamoLedger
from fraud_detection.adapters.xgboost.bundle_trial import try_bundle
from fraud_detection.cli.printing import print_line, terminal, write_figures
from fraud_detection.core.errors import ConfigError
from fraud_detection.core.score.archive import read_bundle
from fraud_detection.deployment import apply as applying
from fraud_detection.deployment.backfill_profiles import warm_up
from fraud_detection.deployment.logs import SHOWN, entries, message
from fraud_detection.deployment.package import package
from fraud_detection.deployment.plan import Plan
from fraud_detection.deployment.redrive import redrive as put_again
from fraud_detection.deployment.redrive_quarantine import redrive_quarantine
from fraud_detection.deployment.release import Artefact, Release, prepare
from fraud_detection.deployment.settings import LOCAL_IMAGE, Deployment, check, load_settings
from fraud_detection.deployment.status import CloudStatus, ask
from fraud_detection.serving.aws_lambda.profile_store import ProfilesChoice, profile_store

FOLLOW_EVERY_S = 1.0
LOCAL_OVERLAP_MS = 1_000


def plan(arguments: Namespace) -> None:
    """Print what `apply` would change, and why; change nothing."""
    settings, cloud = _open(arguments)
    wanted = applying.plan(settings, *_release(arguments, settings), cloud)
    print_line(str(wanted))
    write_figures(arguments, _figures(wanted))


def apply(arguments: Namespace) -> None:
    """Make AWS what the settings say, or leave it as it was."""
    settings, cloud = _open(arguments)
    release, artefacts = _release(arguments, settings)
    screen = terminal(arguments)
    try:
        done = applying.apply(settings, release, artefacts, cloud, screen.say)
    except KeyboardInterrupt:
        screen.say("CloudFormation goes on by itself: `fraud deploy status` tells how; then apply again")
        raise
    screen.say("\n".join([done.head, *(f"note: {note}" for note in done.notes)]))
    write_figures(arguments, _figures(done))


def destroy(arguments: Namespace) -> None:
    """Remove an environment with all its data, after the name was repeated or --yes given."""
    settings, cloud = _open(arguments)
    screen = terminal(arguments)
    if not arguments.yes:
        _confirm(settings)
    there = applying.destroy(settings, cloud, screen.say)
    screen.say(f"stack {settings.name}: {'removed' if there else 'there was none'}")
    write_figures(arguments, {"removed": there})


def warm(arguments: Namespace) -> None:
    """Fill the profiles of a deployment from past payments."""
    settings, cloud = _open(arguments)
    outputs = _outputs(cloud.stack)
    bundle, dynamodb = read_bundle(arguments.bundle), client("dynamodb", settings.region)
    if outputs["Bundle"] != bundle.name:
        raise ConfigError(
            f"{arguments.bundle} is bundle {bundle.name}, but {settings.name} runs {outputs['Bundle']}: "
            "apply it first"
        )
    entities = list(bundle.contents.project.schema.entities)
    choice = ProfilesChoice(settings.profiles, outputs["FeatureGroups"], settings.keep.profiles)
    profiles = profile_store(
        choice, outputs["ProfilesTable"], entities, lambda service: client(service, settings.region)
    )
    ledger = DynamoLedger(
        dynamodb, outputs["DecisionsTable"], outputs["LabelsTable"], settings.keep.decisions
    )
    profiles.lane = ledger.lane = HISTORY
    screen = terminal(arguments)
    warmed = warm_up(bundle, arguments.history, profiles, ledger, screen.progress)
    screen.finish()
    screen.say(
        f"{warmed.payments:,} past payments: {warmed.profiles:,} profiles written, "
        f"{warmed.noted:,} payments noted"
    )
    write_figures(arguments, msgspec.to_builtins(warmed))


def redrive(arguments: Namespace) -> None:
    """Put the batches that were given up into the stream again, or the events that were set aside."""
    settings, cloud = _open(arguments)
    outputs = _outputs(cloud.stack)
    if arguments.quarantine is not None:
        kinesis, bucket = patient_client("kinesis", settings.region), cloud.objects(outputs["Bucket"])
        again = redrive_quarantine(bucket, kinesis, outputs["Stream"], arguments.quarantine)
        for line in again.lines():
            print_line(line)
        write_figures(arguments, msgspec.to_builtins(again))
        return
    queue = SqsQueue(patient_client("sqs", settings.region), f"{settings.name}-failures")
    patience_s = 0 if cloud.local else 10
    done = put_again(queue, patient_client("kinesis", settings.region), outputs["Stream"], patience_s)
    print_line(f"{done.batches:,} batches with {done.records:,} records were put into the stream again")
    if done.lost:
        print_line(f"{done.lost:,} records had left the stream before: they cannot be brought back")
    write_figures(arguments, msgspec.to_builtins(done))


def status(arguments: Namespace) -> None:
    """Print how the running system does."""
    settings, cloud = _open(arguments)
    found = ask(
        settings,
        cloud.stack,
        CloudWatching(lambda service: patient_client(service, settings.region)),
        lambda group, since_ms: LogTail(patient_client("logs", settings.region), group, since_ms),
        local=cloud.local,
    )
    print_line(str(found))
    write_figures(arguments, _status_figures(found))


def logs(arguments: Namespace) -> None:
    """Print decisions as they were logged, and with --follow as they are."""
    settings, cloud = _open(arguments)
    group = _outputs(cloud.stack)["LogGroup"]
    since = round(1000 * (time.time() - arguments.since.ms / 1000))
    overlap = LOCAL_OVERLAP_MS if cloud.local else 10 * LOCAL_OVERLAP_MS
    tail = LogTail(patient_client("logs", settings.region), group, since, overlap)
    while True:
        for entry in entries(tail.news()):
            if entry["type"] in SHOWN and arguments.only in (None, entry.get("action"), entry["type"]):
                print_line(msgspec.json.encode(entry).decode() if arguments.raw else str(message(entry)))
        sys.stdout.flush()
        if not arguments.follow:
            return
        time.sleep(FOLLOW_EVERY_S)


def _open(arguments: Namespace) -> tuple[Deployment, applying.Cloud]:
    settings = load_settings(arguments.settings)
    region = settings.region
    local = is_local()
    stack = Stack(patient_client("cloudformation", region), settings.name, 0.1 if local else 2.0)
    return settings, applying.Cloud(
        stack, lambda name: Objects(patient_client("s3", region), name), local, os.environ
    )


def _release(arguments: Namespace, settings: Deployment) -> tuple[Release, list[Artefact]]:
    bundle = read_bundle(arguments.bundle)
    try_bundle(bundle)
    image = arguments.image or settings.image or (LOCAL_IMAGE if is_local() else None)
    if image is not None:
        check(msgspec.structs.replace(settings, image=image))
    if image is None:
        raise ConfigError(
            "which image? Give --image URI, or `image:` in the settings; docs/aws.md says how to build it"
        )
    return prepare(bundle, package(bundle, settings.function), image)


def _outputs(stack: Stack) -> dict[str, str]:
    outputs = stack.outputs()
    if "LogGroup" not in outputs:
        raise ConfigError(f"stack {stack.name} is not there, or not whole: `fraud deploy apply` makes it")
    return outputs


def _confirm(settings: Deployment) -> None:
    question = f"This removes {settings.name} with all its data. Type {settings.name} to go on: "
    if not sys.stdin.isatty():
        raise ConfigError(f"to remove {settings.name} with all its data without being asked, give --yes")
    if input(question) != settings.name:
        raise ConfigError("nothing was removed")


def _figures(wanted: Plan) -> dict[str, object]:
    return {"changes": len(wanted.changes), "resources": [change.name for change in wanted.changes]}


def _status_figures(found: CloudStatus) -> dict[str, object]:
    return dict(msgspec.to_builtins(found))
