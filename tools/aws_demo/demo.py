"""The demonstration on AWS's own protocols: deployed, streamed and removed, on services of this machine.

What is shown and summed up comes from CloudWatch Logs and DynamoDB, as it would on AWS.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from fraud_detection.adapters.aws.clients import clients_of
from fraud_detection.adapters.aws.cloudformation import Stack
from fraud_detection.adapters.aws.cloudwatch_logs import LogTail
from fraud_detection.adapters.aws.s3_objects import Objects
from fraud_detection.adapters.aws.state.dynamodb_decisions import HISTORY, DynamoDedupIndex
from fraud_detection.adapters.aws.state.dynamodb_profiles import DynamoProfiles
from fraud_detection.adapters.host.stopping import Stop, ending_on_signals
from fraud_detection.core.decoding import decode
from fraud_detection.core.events import Action
from fraud_detection.core.score.archive import read_bundle
from fraud_detection.core.score.bundle import Bundle
from fraud_detection.demo.decision_quality import DecidedPayment, Quality, quality
from fraud_detection.demo.demo import DemoSettings, demo_project, learn
from fraud_detection.deployment import apply as applying
from fraud_detection.deployment.backfill_profiles import backfill_profiles
from fraud_detection.deployment.logs import CloudTally, entries
from fraud_detection.deployment.package import package
from fraud_detection.deployment.release import Release, prepare
from fraud_detection.deployment.settings import LOCAL_IMAGE, Deployment, check
from fraud_detection.history.load import Progress
from tools.local_aws.local_deployment import LocalDeployment
from tools.local_aws.processes import Child
from tools.local_aws.services import LocalServices
from tools.local_aws.shard_poller import PollIntervals

ARCHITECTURES = {"x86_64": "x86_64", "aarch64": "arm64"}
POLL_S = 0.2
SHOW_EVERY_S = 0.5
DRAIN_S = 120.0
OVERLAP_MS = 1_000
NEWEST = 8
PAUSE_S = 0.05

Log = Callable[[str], object]


class AwsDemoReport(msgspec.Struct):
    """The honest summary.

    p50_ms, p99_ms: from a record's arrival in the stream to its decision; the stream is read every `poll_ms`,
    on AWS once a second.  stages_ms: mean times of a batch.
    """

    transactions: int
    decided: int
    quarantined: int
    duplicates: int
    labels: int
    degraded: int
    approve: int
    review: int
    decline: int
    p50_ms: float
    p99_ms: float
    max_ms: float
    poll_ms: float
    transactions_per_s: float
    batches: int
    decisions_per_batch: float
    stages_ms: dict[str, float]
    write_conflicts: int
    dead_lettered: int
    seconds_to_first_decision: float
    quality: Quality


class DemoLog(msgspec.Struct):
    """What is shown while payments stream in."""

    tally: CloudTally
    newest: deque[dict[str, Any]]
    first_s: float = 0.0
    last_s: float = 0.0

    def rate(self) -> float:
        """Return decisions a second from the first to the last that was read; 0 while that is too short."""
        seconds = self.last_s - self.first_s
        return self.tally.decided / seconds if seconds > SHOW_EVERY_S / 2 else 0.0

    def take(self, lines: list[str]) -> None:
        """Count lines of the log."""
        for entry in entries(lines):
            self.tally.add(entry)
            if entry["type"] == "decision":
                self.last_s = time.monotonic()
                self.first_s = self.first_s or self.last_s
                if entry["action"] == Action.DECLINE.label:
                    self.newest.append(entry)


class Running(msgspec.Struct, frozen=True):
    """A deployed system that was brought to life."""

    deployment: LocalDeployment
    clients: Callable[[str], Any]
    outputs: dict[str, str]
    environment: dict[str, str]


def demonstrate(
    settings: DemoSettings,
    tools: Path,
    stop: Stop,
    show: Callable[[DemoLog], object],
    progress: Progress,
    log: Log,
) -> AwsDemoReport:
    """Do all of it; nothing that was started is left behind, whatever happens."""
    began = time.monotonic()
    folder = settings.directory
    folder.mkdir(parents=True, exist_ok=True)
    learn(settings, demo_project(), progress)
    bundle = read_bundle(folder / "bundle")
    with deployed(bundle, local_settings("demo"), tools, folder / "services", log) as (
        cloud,
        release,
        services,
    ):
        outputs = cloud.stack.outputs()
        fill(bundle, outputs, clients_of(services.environment()), folder / "history.parquet", progress)
        with alive(services, outputs, release) as running:
            with ending_on_signals(stop):
                view = _stream(settings, running, stop, show)
            report = summarise(settings, running, view, began)
    return report


def local_settings(environment: str, **more: Any) -> Deployment:  # noqa: ANN401 - of the settings
    """Return settings whose function runs on this machine, with its Python; `more` are blocks of settings."""
    here = {
        "runtime": f"python3.{sys.version_info.minor}",
        "architecture": ARCHITECTURES.get(platform.machine()),
    }
    function = {**here, **more.pop("function", {})}
    return check(decode({"environment": environment, "function": function, **more}, Deployment, "settings"))


@contextmanager
def deployed(
    bundle: Bundle, settings: Deployment, tools: Path, folder: Path, log: Log
) -> Iterator[tuple[applying.Cloud, Release, LocalServices]]:
    """Start local services and deploy to them; remove the stack and end the services afterwards."""
    with LocalServices(tools, folder) as services:
        clients = clients_of(services.environment())
        stack = Stack(clients("cloudformation"), settings.name, PAUSE_S)
        cloud = applying.Cloud(stack, lambda name: Objects(clients("s3"), name), local=True)
        release, artefacts = prepare(bundle, package(bundle, settings.function), LOCAL_IMAGE)
        applying.apply(settings, release, artefacts, cloud, log)
        log(f"stack {settings.name} is deployed")
        try:
            yield cloud, release, services
        finally:
            log(f"removing stack {settings.name}")
            applying.destroy(settings, cloud, log)


def fill(
    bundle: Bundle, outputs: dict[str, str], clients: Callable[[str], Any], history: Path, progress: Progress
) -> None:
    """Let the profiles begin where history ends."""
    dynamodb = clients("dynamodb")
    profiles = DynamoProfiles(
        dynamodb, outputs["ProfilesTable"], list(bundle.contents.project.schema.entities)
    )
    dedup_index = DynamoDedupIndex(dynamodb, outputs["DecisionsTable"], outputs["LabelsTable"])
    profiles.shard = dedup_index.shard = HISTORY
    backfill_profiles(bundle, history, profiles, dedup_index, progress)


@contextmanager
def alive(services: LocalServices, outputs: dict[str, str], release: Release) -> Iterator[Running]:
    """Run the deployed function on its stream."""
    clients, intervals = (
        clients_of(services.environment()),
        PollIntervals(poll_s=POLL_S, lagging_poll_s=POLL_S),
    )
    with LocalDeployment(services, clients, outputs, release.model, intervals=intervals) as deployment:
        yield Running(deployment, clients, outputs, services.environment())


def _stream(
    settings: DemoSettings, running: Running, stop: Stop, show: Callable[[DemoLog], object]
) -> DemoLog:
    """Send payments to the stream and read the log until everything is decided."""
    view = DemoLog(CloudTally(), deque(maxlen=NEWEST))
    tail = LogTail(running.clients("logs"), running.outputs["LogGroup"], 0, OVERLAP_MS)
    command, environment = _sender(settings, running.outputs["Stream"]), os.environ | running.environment
    sender = Child(command, environment, Path.cwd(), subprocess.DEVNULL)
    try:
        while sender.running and not stop.requested:
            view.take(tail.news())
            show(view)
            time.sleep(SHOW_EVERY_S)
    finally:
        sender.stop(grace_s=5.0)
    running.deployment.mapping.drained(DRAIN_S)
    running.deployment.mapping.stop()
    running.deployment.flush_logs()
    view.take(tail.news())
    show(view)
    return view


def summarise(settings: DemoSettings, running: Running, view: DemoLog, began: float) -> AwsDemoReport:
    """Sum up what the log says, and compare the stored decisions with the ground truth."""
    tally, outputs = view.tally, running.outputs
    dedup_index = DynamoDedupIndex(
        running.clients("dynamodb"), outputs["DecisionsTable"], outputs["LabelsTable"]
    )
    decided = []
    for decision in dedup_index.decisions():
        logged = msgspec.json.decode(decision.line)
        decided.append(
            DecidedPayment(
                decision.transaction_id, logged["score"], Action[logged["action"].upper()], decision.event
            )
        )
    return AwsDemoReport(
        transactions=tally.decided + tally.quarantined + tally.conflicts,
        decided=tally.decided,
        quarantined=tally.quarantined,
        duplicates=tally.duplicates,
        labels=tally.labels,
        degraded=tally.degraded,
        approve=tally.actions["approve"],
        review=tally.actions["review"],
        decline=tally.actions["decline"],
        p50_ms=tally.put_ms.percentile_ms(50),
        p99_ms=tally.put_ms.percentile_ms(99),
        max_ms=1000 * tally.put_ms.longest_s,
        poll_ms=1000 * POLL_S,
        transactions_per_s=view.rate(),
        batches=tally.batches,
        decisions_per_batch=tally.decided / max(tally.batches, 1),
        stages_ms={stage: total / max(tally.batches, 1) for stage, total in tally.stages_ms.items()},
        write_conflicts=tally.write_conflicts,
        dead_lettered=sum(
            shard_progress.dead_lettered for shard_progress in running.deployment.mapping.progress.values()
        ),
        seconds_to_first_decision=view.first_s - began,
        quality=quality(demo_project(), settings.simulation, decided),
    )


def _sender(settings: DemoSettings, stream: str) -> list[str]:
    simulation = settings.simulation
    return [
        *(sys.executable, "-m", "fraud_detection.cli", "generate", "stream", "--plain"),
        f"--to=kinesis://{stream}",
        *(f"--rate={settings.rate}", f"--seconds={settings.seconds}"),
        *(f"--seed={simulation.seed}", f"--cards={simulation.cards}", f"--days={simulation.days}"),
        *(part for drift in settings.drift for part in ("--drift", drift)),
    ]
