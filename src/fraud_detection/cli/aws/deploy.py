"""`fraud deploy`: the way to AWS."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fraud_detection.cli import options
from fraud_detection.cli.aws.history import history
from fraud_detection.cli.aws.status import status
from fraud_detection.cli.command import group
from fraud_detection.cli.printing import Figures, Output, print_line
from fraud_detection.core.errors import ConfigError

if TYPE_CHECKING:
    from fraud_detection.deployment.plan import Plan
    from fraud_detection.deployment.settings import Deployment

image_option = click.option("--image", help="Image of the container, in ECR (`image` in the settings).")


@group("deploy")
def deploy() -> None:
    """Deploy, update and remove the system on AWS."""


@deploy.command("plan")
@options.settings
@options.bundle
@image_option
def plan(output: Output, *, settings: Path, bundle: Path, image: str | None) -> None:
    """Print what `apply` would change, and why."""
    from fraud_detection.cli.aws.cloud import open_cloud, release_of
    from fraud_detection.deployment import apply as applying

    deployment, cloud = open_cloud(settings)
    wanted = applying.plan(deployment, *release_of(deployment, bundle, image), cloud)
    print_line(str(wanted))
    output.write(_figures(wanted))


@deploy.command("apply")
@options.settings
@options.bundle
@image_option
def apply(output: Output, *, settings: Path, bundle: Path, image: str | None) -> None:
    """Apply the settings to AWS, or roll back."""
    from fraud_detection.cli.aws.cloud import open_cloud, release_of
    from fraud_detection.deployment import apply as applying

    deployment, cloud = open_cloud(settings)
    release, artefacts = release_of(deployment, bundle, image)
    screen = output.screen
    try:
        done = applying.apply(deployment, release, artefacts, cloud, screen.print)
    except KeyboardInterrupt:
        screen.print("CloudFormation continues: see `fraud deploy status`, then apply again")
        raise
    screen.print("\n".join([done.head, *(f"note: {note}" for note in done.notes)]))
    output.write(_figures(done))


@deploy.command("destroy")
@options.settings
@click.option("--yes", is_flag=True, help="Do not prompt.")
def destroy(output: Output, *, settings: Path, yes: bool) -> None:
    """Remove the environment with all its data.

    It prompts for the name of the environment, unless --yes is given.
    """
    from fraud_detection.cli.aws.cloud import open_cloud
    from fraud_detection.deployment import apply as applying

    deployment, cloud = open_cloud(settings)
    if not yes:
        _confirm(deployment)
    there = applying.destroy(deployment, cloud, output.screen.print)
    output.screen.print(f"stack {deployment.name}: {'removed' if there else 'there was none'}")
    output.write({"removed": there})


@deploy.command("backfill")
@options.settings
@options.bundle
@click.option("--history", type=options.PATH, required=True, help="File of historical payments.")
def backfill(output: Output, *, settings: Path, bundle: Path, history: Path) -> None:
    """Backfill the profiles from historical payments, before the stream starts."""
    import msgspec

    from fraud_detection.adapters.aws.clients import client
    from fraud_detection.adapters.aws.state.dynamodb_decisions import HISTORY, DynamoDedupIndex
    from fraud_detection.cli.aws.cloud import open_cloud, outputs_of
    from fraud_detection.core.score.archive import read_bundle
    from fraud_detection.deployment.backfill_profiles import backfill_profiles
    from fraud_detection.serving.aws_lambda.profile_store import ProfilesChoice, profile_store

    deployment, cloud = open_cloud(settings)
    outputs = outputs_of(cloud.stack)
    running_bundle, dynamodb = read_bundle(bundle), client("dynamodb", deployment.region)
    if outputs["Bundle"] != running_bundle.name:
        raise ConfigError(
            f"{bundle} is bundle {running_bundle.name}, but {deployment.name} runs {outputs['Bundle']}: "
            "apply it first"
        )
    entities = list(running_bundle.contents.project.schema.entities)
    choice = ProfilesChoice(deployment.profiles, outputs["FeatureGroups"], deployment.retention.profiles)
    profiles = profile_store(
        choice, outputs["ProfilesTable"], entities, lambda service: client(service, deployment.region)
    )
    dedup_index = DynamoDedupIndex(
        dynamodb, outputs["DecisionsTable"], outputs["LabelsTable"], deployment.retention.decisions
    )
    profiles.shard = dedup_index.shard = HISTORY
    result = backfill_profiles(running_bundle, history, profiles, dedup_index, output.screen.progress)
    output.screen.finish()
    output.screen.print(
        f"{result.payments:,} historical payments: {result.profiles:,} profiles written, "
        f"{result.pending:,} payments with pending labels"
    )
    output.write(msgspec.to_builtins(result))


@deploy.command("redrive")
@options.settings
@click.option(
    "--quarantine",
    is_flag=False,
    flag_value="",
    metavar="[PREFIX]",
    help="Put what was quarantined again instead: all of it, or what lies below quarantine/PREFIX.",
)
def redrive(output: Output, *, settings: Path, quarantine: str | None) -> None:
    """Put dead-lettered batches, or quarantined events, into the stream again."""
    import msgspec

    from fraud_detection.adapters.aws.clients import patient_client
    from fraud_detection.adapters.aws.sqs_queue import SqsQueue
    from fraud_detection.cli.aws.cloud import open_cloud, outputs_of
    from fraud_detection.deployment import redrive as putting
    from fraud_detection.deployment.redrive_quarantine import redrive_quarantine

    deployment, cloud = open_cloud(settings)
    outputs, kinesis = outputs_of(cloud.stack), patient_client("kinesis", deployment.region)
    if quarantine is not None:
        redriven = redrive_quarantine(
            cloud.objects(outputs["Bucket"]), kinesis, outputs["Stream"], quarantine
        )
        for line in redriven.lines():
            print_line(line)
        output.write(msgspec.to_builtins(redriven))
        return
    queue = SqsQueue(patient_client("sqs", deployment.region), f"{deployment.name}-failures")
    done = putting.redrive(queue, kinesis, outputs["Stream"], 0 if cloud.local else 10)
    print_line(f"{done.batches:,} batches with {done.records:,} records were put into the stream again")
    if done.lost:
        print_line(f"{done.lost:,} records had expired from the stream: they are lost")
    output.write(msgspec.to_builtins(done))


deploy.add_command(history)
deploy.add_command(status)


def _confirm(settings: Deployment) -> None:
    question = f"This removes {settings.name} with all its data. Type {settings.name} to confirm: "
    if not sys.stdin.isatty():
        raise ConfigError(f"to remove {settings.name} with all its data without a prompt, give --yes")
    if input(question) != settings.name:
        raise ConfigError("nothing was removed")


def _figures(wanted: Plan) -> Figures:
    return {"changes": len(wanted.changes), "resources": [change.name for change in wanted.changes]}
