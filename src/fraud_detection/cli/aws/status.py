"""`fraud status` and `fraud logs`: what one sees of the system on AWS from here."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import click

from fraud_detection.cli import options
from fraud_detection.cli.command import command
from fraud_detection.cli.printing import Output, print_line

FOLLOW_EVERY_S = 1.0
LOCAL_OVERLAP_MS = 1_000


@command("status")
@options.settings
def status(output: Output, *, settings: Path) -> None:
    """Print the status of the system on AWS."""
    import msgspec

    from fraud_detection.adapters.aws.clients import patient_client
    from fraud_detection.adapters.aws.cloudwatch_logs import LogTail
    from fraud_detection.adapters.aws.monitoring import StackMonitor
    from fraud_detection.cli.aws.cloud import open_cloud
    from fraud_detection.deployment.status import read_status

    deployment, cloud = open_cloud(settings)
    stack_status = read_status(
        deployment,
        cloud.stack,
        StackMonitor(lambda service: patient_client(service, deployment.region)),
        lambda group, since_ms: LogTail(patient_client("logs", deployment.region), group, since_ms),
        cloud.application,
        local=cloud.local,
    )
    print_line(str(stack_status))
    output.write(dict(msgspec.to_builtins(stack_status)))


@command("logs")
@options.settings
@click.option("--follow", is_flag=True, help="Follow the log until interrupted.")
@click.option(
    "--since",
    type=options.DURATION,
    default="10m",
    metavar="AGE",
    help="Age of the oldest line, such as 10m, 1h, 2d.",
)
@click.option(
    "--only",
    type=click.Choice(["approve", "review", "decline", "quarantined", "retry"]),
    help="Only lines of this kind.",
)
@click.option("--raw", is_flag=True, help="Print the JSON as it was logged.")
def logs(_output: Output, *, settings: Path, follow: bool, since: int, only: str | None, raw: bool) -> None:
    """Print the decisions of the system on AWS."""
    import msgspec

    from fraud_detection.adapters.aws.clients import patient_client
    from fraud_detection.adapters.aws.cloudwatch_logs import LogTail
    from fraud_detection.cli.aws.cloud import open_cloud, outputs_of
    from fraud_detection.deployment.logs import SHOWN, entries, message

    deployment, cloud = open_cloud(settings)
    group = outputs_of(cloud.stack)["LogGroup"]
    since_ms = round(1000 * time.time()) - since
    overlap = LOCAL_OVERLAP_MS if cloud.local else 10 * LOCAL_OVERLAP_MS
    tail = LogTail(patient_client("logs", deployment.region), group, since_ms, overlap)
    while True:
        for entry in entries(tail.news()):
            if entry["type"] in SHOWN and only in (None, entry.get("action"), entry["type"]):
                print_line(msgspec.json.encode(entry).decode() if raw else str(message(entry)))
        sys.stdout.flush()
        if not follow:
            return
        time.sleep(FOLLOW_EVERY_S)
